//! Positions: every verb, on the pool and in a unit of work.

use std::sync::Arc;

use bigdecimal::BigDecimal;
use buffetbot_db::testing::TestDatabase;
use buffetbot_db::{
    Activity, Error, NewPosition, PageRequest, Portfolio, PortfolioId, PortfolioRepository,
    Position, PositionId, PositionPatch, PositionRepository, Result, Shares, Ticker,
};
use serde_json::json;

use crate::support::handle::Handle;
use crate::support::{every_page, parsed, portfolio, user};

conformance! {
    what_is_written_is_read,
    decimals_are_exact,
    invalid_fields_are_refused_by_name,
    a_held_ticker_conflicts,
    a_removed_ticker_is_revived,
    an_upsert_adds_replaces_and_revives,
    a_patch_changes_what_it_says,
    an_empty_patch_changes_nothing,
    removal_is_soft_and_idempotent,
    another_portfolios_position_is_unknown,
    lists_reach_every_row_once,
    activity_selects,
    many_are_added_in_order,
    many_or_none,
    a_position_moves_inside_one_owner,
    a_move_replaces_a_removed_position,
    a_move_onto_a_held_ticker_conflicts,
}

async fn core(handle: &impl Handle) -> Portfolio {
    let ada = user(handle, "ada@example.com").await;
    portfolio(handle, &ada, "Core").await
}

fn new(portfolio: &Portfolio, ticker: &str, shares: &str) -> NewPosition {
    NewPosition::new(portfolio.id, parsed(ticker), parsed::<Shares>(shares))
}

async fn hold(handle: &impl Handle, portfolio: &Portfolio, ticker: &str) -> Position {
    handle.positions().create(&new(portfolio, ticker, "1")).await.expect("added")
}

fn assert_held(result: Result<Position>) {
    let error = result.expect_err("held");
    let Error::Conflict { entity, constraint } = error else { panic!("{error}") };
    assert_eq!(
        (entity.as_str(), constraint.as_str()),
        ("positions", "positions_portfolio_id_ticker_key")
    );
}

fn assert_not_found<T: std::fmt::Debug>(result: Result<T>, id: PositionId) {
    let error = result.expect_err("unknown");
    let Error::NotFound { entity, key } = error else { panic!("{error}") };
    assert_eq!((entity, key), ("position", id.to_string()));
}

async fn what_is_written_is_read(handle: &impl Handle) {
    let core = core(handle).await;
    let asked = new(&core, " reliance.ns ", "12.5")
        .average_cost(parsed("2450.75"))
        .allocation(parsed("33.33"))
        .notes("Bought on a dip 📉");
    let added = handle.positions().add(&asked).await.expect("added");
    let expected = Position {
        id: asked.id,
        portfolio_id: core.id,
        ticker: parsed("RELIANCE.NS"),
        shares: Some(parsed("12.5")),
        average_cost: Some(parsed("2450.75")),
        allocation_percentage: Some(parsed("33.33")),
        notes: Some("Bought on a dip 📉".into()),
        is_active: true,
        created_at: added.created_at,
        updated_at: added.updated_at,
    };
    assert_eq!(added, expected);
    let positions = handle.positions();
    assert_eq!(positions.find(core.id, added.id).await.expect("read"), Some(added.clone()));
    let by_ticker = positions.find_by_ticker(core.id, &parsed("Reliance.NS")).await.expect("read");
    assert_eq!(by_ticker, Some(added.clone()));
    assert!(positions.exists(core.id, added.id).await.expect("read"));
    let json = serde_json::to_string(&added).expect("JSON");
    assert_eq!(serde_json::from_str::<Position>(&json).expect("a position"), added);

    let bare = NewPosition::new(core.id, parsed("BTC-USD"), None);
    let bare = positions.create(&bare).await.expect("added");
    assert_eq!((&bare.shares, &bare.average_cost, &bare.notes), (&None, &None, &None));
    assert_eq!(bare.cost_basis(), None);
}

async fn decimals_are_exact(handle: &impl Handle) {
    let core = core(handle).await;
    for (ticker, shares, cost, basis) in [
        ("CRYPTO", "0.1234567891", "0.00001", "0.000001234567891"),
        ("SMALL", "0.0000000001", "0.0000000001", "0.00000000000000000001"),
        ("BIG", "9999999999.9999999999", "10", "99999999999.999999999"),
        ("ZERO", "0", "0", "0"),
    ] {
        let asked = new(&core, ticker, shares).average_cost(parsed(cost));
        let added = handle.positions().create(&asked).await.expect("added");
        assert_eq!(added.shares.as_ref().map(ToString::to_string).as_deref(), Some(shares));
        assert_eq!(added.average_cost.as_ref().map(ToString::to_string).as_deref(), Some(cost));
        assert_eq!(added.cost_basis(), Some(parsed::<BigDecimal>(basis)));
    }
}

async fn invalid_fields_are_refused_by_name(handle: &impl Handle) {
    let positions = handle.positions();
    let core = core(handle).await;
    let noted = new(&core, "AAPL", "1").notes("zero\0");
    for refused in [
        handle.attempt(positions.create(&noted)).await,
        handle.attempt(positions.upsert(&noted)).await,
    ] {
        assert!(matches!(&refused, Err(Error::Invalid { field, .. }) if field == "notes"));
    }
    let homeless = NewPosition::new(PortfolioId::generate(), parsed("AAPL"), None);
    for refused in [
        handle.attempt(positions.create(&homeless)).await,
        handle.attempt(positions.upsert(&homeless)).await,
    ] {
        let error = refused.expect_err("no portfolio");
        let Error::InvalidReference { constraint } = error else { panic!("{error}") };
        assert_eq!(constraint, "positions_portfolio_id_fkey");
    }
    assert_eq!(positions.count(core.id, Activity::Any).await.expect("read"), 0);
}

async fn a_held_ticker_conflicts(handle: &impl Handle) {
    let positions = handle.positions();
    let core = core(handle).await;
    let held = positions.create(&new(&core, "AAPL", "1")).await.expect("added");
    // Not the server refuses it: a unit of work goes on without a savepoint.
    assert_held(positions.create(&new(&core, "aapl", "2")).await);
    assert_held(positions.add(&new(&core, "AAPL", "3")).await);
    assert_eq!(positions.find(core.id, held.id).await.expect("read"), Some(held));
    // Another portfolio holds its own.
    let ada = user(handle, "grace@example.com").await;
    let other = portfolio(handle, &ada, "Other").await;
    positions.create(&new(&other, "AAPL", "4")).await.expect("added");
}

async fn a_removed_ticker_is_revived(handle: &impl Handle) {
    let positions = handle.positions();
    let core = core(handle).await;
    let first = new(&core, "AAPL", "1").average_cost(parsed("150")).notes("First");
    let first = positions.create(&first).await.expect("added");
    positions.remove(core.id, first.id).await.expect("removed");
    let again = new(&core, "AAPL", "7.5").allocation(parsed("20"));
    let revived = positions.create(&again).await.expect("revived");
    assert!(revived.updated_at > first.updated_at);
    let expected = Position {
        shares: Some(parsed("7.5")),
        average_cost: None,
        allocation_percentage: Some(parsed("20")),
        notes: None,
        updated_at: revived.updated_at,
        ..first
    };
    assert_eq!(revived, expected);
    assert_eq!(positions.find(core.id, revived.id).await.expect("read"), Some(revived.clone()));
    assert_eq!(positions.count(core.id, Activity::Any).await.expect("read"), 1);
    // A batch revives, too.
    positions.remove(core.id, revived.id).await.expect("removed");
    let batch = [new(&core, "MSFT", "1"), new(&core, "AAPL", "2")];
    let added = positions.create_many(&batch).await.expect("added");
    assert_eq!((added[0].id, added[1].id), (batch[0].id, revived.id));
    assert!(added[1].is_active);
    assert_held(positions.create(&new(&core, "AAPL", "3")).await);
}

async fn an_upsert_adds_replaces_and_revives(handle: &impl Handle) {
    let positions = handle.positions();
    let core = core(handle).await;
    let asked = new(&core, "AAPL", "1").notes("First");
    let added = positions.upsert(&asked).await.expect("added");
    assert_eq!((added.id, added.notes.as_deref()), (asked.id, Some("First")));
    let replaced = positions.upsert(&new(&core, "AAPL", "2")).await.expect("replaced");
    assert_eq!((replaced.id, replaced.created_at), (added.id, added.created_at));
    assert_eq!((&replaced.shares, &replaced.notes), (&Some(parsed("2")), &None));
    assert!(replaced.updated_at > added.updated_at);
    // The same again changes nothing.
    assert_eq!(positions.upsert(&new(&core, "AAPL", "2.0")).await.expect("no error"), replaced);
    positions.remove(core.id, added.id).await.expect("removed");
    let revived = positions.upsert(&new(&core, "AAPL", "3")).await.expect("revived");
    assert_eq!((revived.id, revived.is_active), (added.id, true));
    assert_eq!(positions.count(core.id, Activity::Any).await.expect("read"), 1);
}

async fn a_patch_changes_what_it_says(handle: &impl Handle) {
    let positions = handle.positions();
    let core = core(handle).await;
    let asked = new(&core, "FB", "10").average_cost(parsed("150")).notes("Old");
    let before = positions.create(&asked).await.expect("added");
    let patch: PositionPatch = serde_json::from_value(
        json!({"ticker": "meta", "shares": "12.5", "notes": null, "allocation_percentage": 10.5}),
    )
    .expect("a patch");
    let after = positions.update(core.id, before.id, &patch).await.expect("changed");
    assert!(after.updated_at > before.updated_at);
    let expected = Position {
        ticker: parsed("META"),
        shares: Some(parsed("12.5")),
        allocation_percentage: Some(parsed("10.5")),
        notes: None,
        updated_at: after.updated_at,
        ..before
    };
    assert_eq!(after, expected);
    assert_eq!(positions.find(core.id, after.id).await.expect("read"), Some(after.clone()));

    let patch: PositionPatch =
        serde_json::from_value(json!({"shares": null, "average_cost": null})).expect("a patch");
    let cleared = positions.update(core.id, after.id, &patch).await.expect("changed");
    assert_eq!((&cleared.shares, &cleared.average_cost), (&None, &None));

    hold(handle, &core, "AAPL").await;
    let renamed = PositionPatch { ticker: Some(parsed("AAPL")), ..PositionPatch::default() };
    assert_held(handle.attempt(positions.update(core.id, after.id, &renamed)).await);
    let noted = PositionPatch { notes: Some(Some("\0".into())), ..PositionPatch::default() };
    let refused = positions.update(core.id, after.id, &noted).await;
    assert!(matches!(&refused, Err(Error::Invalid { field, .. }) if field == "notes"));
}

async fn an_empty_patch_changes_nothing(handle: &impl Handle) {
    let core = core(handle).await;
    let before = hold(handle, &core, "AAPL").await;
    let patch: PositionPatch = serde_json::from_value(json!({})).expect("a patch");
    let after = handle.positions().update(core.id, before.id, &patch).await.expect("no error");
    assert_eq!(after, before);
    let unknown = PositionId::generate();
    assert_not_found(handle.positions().update(core.id, unknown, &patch).await, unknown);
}

async fn removal_is_soft_and_idempotent(handle: &impl Handle) {
    let positions = handle.positions();
    let core = core(handle).await;
    let held = hold(handle, &core, "AAPL").await;
    let removed = positions.remove(core.id, held.id).await.expect("removed");
    let expected = Position { is_active: false, updated_at: removed.updated_at, ..held };
    assert_eq!(removed, expected);
    assert_eq!(positions.remove(core.id, removed.id).await.expect("no error"), removed);
    assert_eq!(positions.find(core.id, removed.id).await.expect("read"), Some(removed.clone()));
    assert!(positions.exists(core.id, removed.id).await.expect("read"));

    assert!(positions.delete(core.id, removed.id).await.expect("deleted"));
    assert!(!positions.delete(core.id, removed.id).await.expect("ran"));
    assert!(!positions.exists(core.id, removed.id).await.expect("read"));
    assert_not_found(positions.remove(core.id, removed.id).await, removed.id);
    let again = hold(handle, &core, "AAPL").await;
    assert_ne!(again.id, removed.id);
}

async fn another_portfolios_position_is_unknown(handle: &impl Handle) {
    let positions = handle.positions();
    let ada = user(handle, "ada@example.com").await;
    let core = portfolio(handle, &ada, "Core").await;
    let other = portfolio(handle, &ada, "Other").await;
    let held = hold(handle, &core, "AAPL").await;
    assert_eq!(positions.find(other.id, held.id).await.expect("read"), None);
    assert_eq!(positions.find_by_ticker(other.id, &held.ticker).await.expect("read"), None);
    assert!(!positions.exists(other.id, held.id).await.expect("read"));
    assert!(!positions.delete(other.id, held.id).await.expect("ran"));
    let patch = PositionPatch { is_active: Some(false), ..PositionPatch::default() };
    assert_not_found(positions.update(other.id, held.id, &patch).await, held.id);
    assert_not_found(positions.update(other.id, held.id, &PositionPatch::default()).await, held.id);
    assert_not_found(positions.remove(other.id, held.id).await, held.id);
    assert_not_found(positions.move_to(other.id, held.id, other.id).await, held.id);
    assert_not_found(positions.move_to(other.id, held.id, core.id).await, held.id);
    let page = PageRequest::default();
    assert!(positions.list(other.id, Activity::Any, &page).await.expect("read").items.is_empty());
    assert_eq!(positions.find(core.id, held.id).await.expect("read"), Some(held));
}

async fn lists_reach_every_row_once(handle: &impl Handle) {
    let positions = handle.positions();
    let core = core(handle).await;
    let batch: Vec<_> = (0..25).map(|i| new(&core, &format!("T{i}"), "1")).collect();
    positions.create_many(&batch).await.expect("added");
    // Two moments only, so that pages end among equal ones.
    handle
        .sql("UPDATE positions SET created_at = '2024-01-01Z'::timestamptz + (length(ticker) % 2) * interval '1 day'")
        .await;
    for size in [1, 6, 24, 25, 10_000] {
        let rows =
            every_page(size, async |page| positions.list(core.id, Activity::Active, &page).await)
                .await;
        assert_eq!(rows.len(), 25, "pages of {size}");
        let keys: Vec<_> = rows.iter().map(|p| (p.created_at, p.id)).collect();
        assert!(keys.is_sorted_by(|a, b| a > b), "pages of {size}");
    }
}

async fn activity_selects(handle: &impl Handle) {
    let positions = handle.positions();
    let core = core(handle).await;
    for (ticker, stays) in [("AAPL", true), ("MSFT", false), ("TSLA", true)] {
        let held = hold(handle, &core, ticker).await;
        if !stays {
            positions.remove(core.id, held.id).await.expect("removed");
        }
    }
    for (activity, expected) in [
        (Activity::default(), &["AAPL", "TSLA"][..]),
        (Activity::Inactive, &["MSFT"]),
        (Activity::Any, &["AAPL", "MSFT", "TSLA"]),
    ] {
        let page = positions.list(core.id, activity, &PageRequest::default()).await.expect("read");
        let mut tickers: Vec<_> = page.items.iter().map(|p| p.ticker.as_str()).collect();
        tickers.sort_unstable();
        assert_eq!(tickers, expected);
        let count = positions.count(core.id, activity).await.expect("read");
        assert_eq!(count, expected.len() as u64);
    }
}

async fn many_are_added_in_order(handle: &impl Handle) {
    let positions = handle.positions();
    assert_eq!(positions.create_many(&[]).await.expect("none is fine"), []);
    let core = core(handle).await;
    let batch: Vec<_> = (0..1300).map(|i| new(&core, &format!("T{i}"), "1.25")).collect();
    let added = positions.create_many(&batch).await.expect("added");
    assert!(added.iter().map(|p| (p.id, &p.ticker)).eq(batch.iter().map(|p| (p.id, &p.ticker))));
    assert_eq!(positions.count(core.id, Activity::Active).await.expect("read"), 1300);
}

async fn many_or_none(handle: &impl Handle) {
    let positions = handle.positions();
    let core = core(handle).await;
    hold(handle, &core, "HELD").await;
    let of = |tickers: &[&str]| tickers.iter().map(|t| new(&core, t, "1")).collect::<Vec<_>>();
    let mut large: Vec<_> = (0..1100).map(|i| new(&core, &format!("T{i}"), "1")).collect();
    large.push(new(&core, "held", "2"));
    let mut homeless = of(&["A", "B", "C"]);
    homeless[1].portfolio_id = PortfolioId::generate();
    let mut noted = of(&["A", "B", "C"]);
    noted[2].notes = Some("\0".into());
    for (culprit, batch) in [
        (1, of(&["A", "HELD", "B"])),
        (3, of(&["A", "B", "C", "a"])),
        (1100, large),
        (1, homeless),
        (2, noted),
    ] {
        let error = handle.attempt(positions.create_many(&batch)).await.expect_err("refused");
        let Error::Item { index, .. } = error else { panic!("{error}") };
        assert_eq!(index, culprit);
        assert_eq!(positions.count(core.id, Activity::Any).await.expect("read"), 1);
    }
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

#[tokio::test(flavor = "multi_thread")]
async fn of_eight_adds_of_one_ticker_one_succeeds() {
    let db = TestDatabase::new().await.expect("a database");
    let core = core(&*db).await;
    let removed = hold(&*db, &core, "MSFT").await;
    db.positions().remove(core.id, removed.id).await.expect("removed");
    // The same race for a new row and for one that is to be revived.
    for ticker in ["AAPL", "MSFT"] {
        let tasks: Vec<_> = (1..=8)
            .map(|shares| {
                let (db, new) = ((*db).clone(), new(&core, ticker, &shares.to_string()));
                tokio::spawn(async move { db.positions().create(&new).await })
            })
            .collect();
        let mut added = Vec::new();
        for task in tasks {
            match task.await.expect("no panic") {
                Ok(position) => added.push(position),
                refused => assert_held(refused),
            }
        }
        assert_eq!(added.len(), 1, "{ticker}");
        let stored = db.positions().find_by_ticker(core.id, &parsed(ticker)).await.expect("read");
        assert_eq!(stored.as_ref(), added.first());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_eight_upserts_of_one_ticker_all_succeed() {
    let db = TestDatabase::new().await.expect("a database");
    let core = core(&*db).await;
    let tasks: Vec<_> = (1..=8)
        .map(|shares| {
            let (db, new) = ((*db).clone(), new(&core, "AAPL", &shares.to_string()));
            tokio::spawn(async move { db.positions().upsert(&new).await })
        })
        .collect();
    let mut ids = std::collections::HashSet::new();
    for task in tasks {
        ids.insert(task.await.expect("no panic").expect("upserted").id);
    }
    assert_eq!(ids.len(), 1);
    assert_eq!(db.positions().count(core.id, Activity::Any).await.expect("read"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_over_the_same_tickers_do_not_deadlock() {
    let db = TestDatabase::new().await.expect("a database");
    let core = core(&*db).await;
    let mut batch: Vec<_> = (0..800).map(|i| new(&core, &format!("T{i}"), "1")).collect();
    let mut tasks = Vec::new();
    for turn in 0..4 {
        batch.rotate_left(turn * 137);
        if turn % 2 == 1 {
            batch.reverse();
        }
        let (db, batch) = ((*db).clone(), batch.clone());
        tasks.push(tokio::spawn(async move { db.positions().create_many(&batch).await }));
    }
    let mut added = 0;
    for task in tasks {
        match task.await.expect("no panic") {
            Ok(positions) => added += positions.len(),
            Err(Error::Item { source, .. }) => {
                assert!(matches!(*source, Error::Conflict { .. }), "{source}");
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(added, 800);
}

#[tokio::test]
async fn the_trait_is_dyn_compatible() {
    let db = TestDatabase::new().await.expect("a database");
    let core = core(&*db).await;
    let positions: Arc<dyn PositionRepository> = Arc::new(db.positions().clone());
    let added = positions.add(&new(&core, "AAPL", "1")).await.expect("added");
    assert_eq!(positions.find(core.id, added.id).await.expect("read"), Some(added));
}

mod plans {
    use buffetbot_db::PortfolioFilter;
    use diesel_async::SimpleAsyncConnection;

    use super::*;
    use crate::support::plan::{Recorder, assert_index};

    /// 2,000 portfolios with 20 positions each, one in five removed.
    const SEED: &str = "
        INSERT INTO users (email, hashed_password)
        SELECT 'u' || u || '@example.com', '-' FROM generate_series(1, 20) u;
        INSERT INTO portfolios (user_id, name, risk_tolerance)
        SELECT id, 'P' || p, 'moderate' FROM users CROSS JOIN generate_series(1, 100) p;
        INSERT INTO positions (portfolio_id, ticker, shares, is_active)
        SELECT id, 'T' || t, t, t % 5 > 0 FROM portfolios CROSS JOIN generate_series(1, 20) t;
        ANALYZE";

    #[tokio::test]
    async fn every_hot_statement_is_one_and_has_its_index() {
        let (db, recorder) = Recorder::database().await;
        let connection = db.connection().await.expect("a connection");
        connection.as_diesel().batch_execute(SEED).await.expect("seeded");
        drop(connection);
        let page = PageRequest::first(1);
        let some = db.portfolios().list(&PortfolioFilter::default(), &page).await.expect("read");
        let core = &some.items[0];
        let filter = PortfolioFilter { user_id: Some(core.user_id), ..PortfolioFilter::default() };
        let page = PageRequest::first(2);
        let hers = db.portfolios().list(&filter, &page).await.expect("read").items;
        let other = hers.iter().find(|p| p.id != core.id).expect("another one");
        let (id, other_id) = (format!("'{}'", core.id), format!("'{}'", other.id));
        let positions = db.positions();
        recorder.take();

        let ticker: Ticker = parsed("T3");
        let held = positions.find_by_ticker(core.id, &ticker).await.expect("read").expect("there");
        let index = "positions_portfolio_id_ticker_key";
        assert_index(&db, &recorder.only(), &[&id, "'T3'"], "positions", index).await;

        recorder.take();
        positions.list(core.id, Activity::Active, &PageRequest::first(10)).await.expect("read");
        let index = "positions_portfolio_active_idx";
        assert_index(&db, &recorder.only(), &[&id, "11"], "positions", index).await;

        recorder.take();
        assert_eq!(positions.count(core.id, Activity::Active).await.expect("read"), 16);
        assert_index(&db, &recorder.only(), &[&id], "positions", index).await;

        let held_id = format!("'{}'", held.id);
        recorder.take();
        positions.find(core.id, held.id).await.expect("read").expect("there");
        let arguments = [&*held_id, &*id];
        assert_index(&db, &recorder.only(), &arguments, "positions", "positions_pkey").await;

        recorder.take();
        positions.remove(core.id, held.id).await.expect("removed");
        let arguments = ["FALSE", &*held_id, &*id];
        assert_index(&db, &recorder.only(), &arguments, "positions", "positions_pkey").await;

        recorder.take();
        positions.create(&new(core, "T3", "5")).await.expect("revived");
        recorder.only();
        positions.upsert(&new(core, "T4", "5")).await.expect("replaced");
        recorder.only();
        positions.delete(core.id, held.id).await.expect("deleted");
        recorder.only();

        let held = positions.find_by_ticker(core.id, &parsed("T10")).await.expect("read");
        let gone = positions.find_by_ticker(other.id, &parsed("T10")).await.expect("read");
        let (held, gone) = (held.expect("there"), gone.expect("there"));
        positions.remove(other.id, gone.id).await.expect("removed");
        recorder.take();
        positions.move_to(core.id, held.id, other.id).await.expect("moved");
        let held_id = format!("'{}'", held.id);
        let arguments = [&*id, &*held_id, &*other_id];
        let sql = recorder.only();
        for index in ["positions_pkey", "positions_portfolio_id_ticker_key"] {
            assert_index(&db, &sql, &arguments, "positions", index).await;
        }
    }
}
