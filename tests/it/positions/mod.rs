//! Positions: every verb, on the pool and in a unit of work.

use std::sync::Arc;

use bigdecimal::BigDecimal;
use buffetbot_db::error::{Entity, constraints};
use buffetbot_db::portfolios::{
    NewPosition, Portfolio, Position, PositionPatch, PositionRepository,
};
use buffetbot_db::testing::TestDatabase;
use buffetbot_db::types::{Activity, PageRequest, PortfolioId, PositionId, Shares, Ticker};
use buffetbot_db::{Error, Result};
use futures_util::TryStreamExt;
use serde_json::json;

use crate::support::handle::Handle;
use crate::support::{every_page, parsed, portfolio, user};

mod concurrent;
mod moves;
mod plans;

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
    holders_of_a_ticker_are_found_in_all_portfolios,
    many_are_added_in_order,
    many_or_none,
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
    assert!(error.is_conflict_of(constraints::POSITIONS_TICKER), "{error:?}");
    assert!(matches!(error, Error::Conflict { entity: Entity::Position, .. }), "{error:?}");
}

fn assert_not_found<T: std::fmt::Debug>(result: Result<T>, id: PositionId) {
    let error = result.expect_err("unknown");
    let Error::NotFound { entity, key } = error else { panic!("{error}") };
    assert_eq!((entity, key), (Entity::Position, id.to_string()));
}

async fn what_is_written_is_read(handle: &impl Handle) {
    let core = core(handle).await;
    let asked = new(&core, " reliance.ns ", "12.5")
        .average_cost(parsed("2450.75"))
        .allocation(parsed("33.33"))
        .notes("Bought on a dip 📉");
    let added = handle.positions().create(&asked).await.expect("added");
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
    assert_held(positions.create(&new(&core, "AAPL", "3")).await);
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
    let renamed = PositionPatch::default().ticker(parsed("AAPL"));
    assert_held(handle.attempt(positions.update(core.id, after.id, &renamed)).await);
    let noted = PositionPatch::default().notes("\0");
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
    let patch = PositionPatch::default().is_active(false);
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

async fn holders_of_a_ticker_are_found_in_all_portfolios(handle: &impl Handle) {
    let positions = handle.positions();
    let mut holders = Vec::new();
    for name in ["ada", "grace", "mary"] {
        let owner = user(handle, &format!("{name}@example.com")).await;
        let portfolio = portfolio(handle, &owner, "Core").await;
        for symbol in ["AAPL", "MSFT"] {
            let new = NewPosition::new(portfolio.id, parsed(symbol), parsed::<Shares>("1"));
            let position = positions.create(&new).await.expect("added");
            if symbol == "AAPL" {
                holders.push(position);
            }
        }
    }
    let gone = holders.remove(1);
    positions.remove(gone.portfolio_id, gone.id).await.expect("removed");
    let ticker: Ticker = parsed("AAPL");
    let found = async |activity, page: &PageRequest| {
        positions.holders_of(&ticker, activity, page).await.expect("read")
    };
    let all = found(Activity::Active, &PageRequest::default()).await.items;
    let mut ids = [all[0].portfolio_id, all[1].portfolio_id];
    let mut expected = [holders[0].portfolio_id, holders[1].portfolio_id];
    ids.sort_by_key(|id| id.0);
    expected.sort_by_key(|id| id.0);
    assert_eq!((all.len(), ids), (2, expected));
    let removed = found(Activity::Inactive, &PageRequest::default()).await.items;
    assert_eq!(removed.iter().map(|position| position.id).collect::<Vec<_>>(), [gone.id]);
    let first = found(Activity::Any, &PageRequest::first(2)).await;
    let rest = PageRequest::after(2, first.next.expect("a next page"));
    assert_eq!((first.items.len(), found(Activity::Any, &rest).await.items.len()), (2, 1));
    let of_one: Vec<Position> =
        positions.stream(gone.portfolio_id, Activity::Any).try_collect().await.expect("read");
    assert_eq!(of_one.len(), 2);
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

#[tokio::test]
async fn the_trait_is_dyn_compatible() {
    let db = TestDatabase::new().await.expect("a database");
    let core = core(&*db).await;
    let positions: Arc<dyn PositionRepository> = db.positions_arc();
    let added = positions.create(&new(&core, "AAPL", "1")).await.expect("added");
    assert_eq!(positions.find(core.id, added.id).await.expect("read"), Some(added));
}
