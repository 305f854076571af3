//! Plans of the statements on positions.

use buffetbot_db::portfolios::PortfolioFilter;
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
    let filter = PortfolioFilter::default().user_id(core.user_id);
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
