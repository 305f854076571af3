//! Moves between portfolios.

use super::*;

conformance! {
    a_position_moves_inside_one_owner,
    a_move_replaces_a_removed_position,
    a_move_onto_a_held_ticker_conflicts,
}

async fn a_position_moves_inside_one_owner(handle: &impl Handle) {
    let positions = handle.positions();
    let ada = user(handle, "ada@example.com").await;
    let grace = user(handle, "grace@example.com").await;
    let core = portfolio(handle, &ada, "Core").await;
    let other = portfolio(handle, &ada, "Other").await;
    let hers = portfolio(handle, &grace, "Hers").await;
    let held = hold(handle, &core, "AAPL").await;

    assert_not_found(positions.move_to(core.id, held.id, hers.id).await, held.id);
    assert_not_found(positions.move_to(core.id, held.id, PortfolioId::generate()).await, held.id);
    let unknown = PositionId::generate();
    assert_not_found(positions.move_to(core.id, unknown, other.id).await, unknown);
    assert_eq!(positions.find(core.id, held.id).await.expect("read"), Some(held.clone()));

    let moved = positions.move_to(core.id, held.id, other.id).await.expect("moved");
    assert!(moved.updated_at > held.updated_at);
    let expected = Position { portfolio_id: other.id, updated_at: moved.updated_at, ..held };
    assert_eq!(moved, expected);
    assert_eq!(positions.find(core.id, moved.id).await.expect("read"), None);
    assert_eq!(positions.find(other.id, moved.id).await.expect("read"), Some(moved.clone()));
    // To where it is already: nothing happens.
    let stayed = positions.move_to(other.id, moved.id, other.id).await.expect("no error");
    assert_eq!(stayed, moved);
}

async fn a_move_replaces_a_removed_position(handle: &impl Handle) {
    let positions = handle.positions();
    let ada = user(handle, "ada@example.com").await;
    let core = portfolio(handle, &ada, "Core").await;
    let other = portfolio(handle, &ada, "Other").await;
    let held = hold(handle, &core, "AAPL").await;
    let old = hold(handle, &other, "AAPL").await;
    let bystander = hold(handle, &other, "MSFT").await;
    positions.remove(other.id, old.id).await.expect("removed");
    positions.remove(other.id, bystander.id).await.expect("removed");
    let moved = positions.move_to(core.id, held.id, other.id).await.expect("moved");
    assert_eq!((moved.id, moved.portfolio_id, moved.is_active), (held.id, other.id, true));
    assert_eq!(positions.find(other.id, old.id).await.expect("read"), None);
    assert!(positions.exists(other.id, bystander.id).await.expect("read"));
    assert_eq!(positions.count(core.id, Activity::Any).await.expect("read"), 0);
    // A refused move removes nothing.
    let grace = user(handle, "grace@example.com").await;
    let hers = portfolio(handle, &grace, "Hers").await;
    let gone = hold(handle, &hers, "AAPL").await;
    positions.remove(hers.id, gone.id).await.expect("removed");
    assert_not_found(positions.move_to(other.id, moved.id, hers.id).await, moved.id);
    assert!(positions.exists(hers.id, gone.id).await.expect("read"));
}

async fn a_move_onto_a_held_ticker_conflicts(handle: &impl Handle) {
    let positions = handle.positions();
    let ada = user(handle, "ada@example.com").await;
    let core = portfolio(handle, &ada, "Core").await;
    let other = portfolio(handle, &ada, "Other").await;
    let held = hold(handle, &core, "AAPL").await;
    let there = hold(handle, &other, "AAPL").await;
    assert_held(handle.attempt(positions.move_to(core.id, held.id, other.id)).await);
    assert_eq!(positions.find(core.id, held.id).await.expect("read"), Some(held));
    assert_eq!(positions.find(other.id, there.id).await.expect("read"), Some(there));
}
