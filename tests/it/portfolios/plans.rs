//! Plans of the statements on portfolios.

use diesel_async::SimpleAsyncConnection;

use super::*;
use crate::support::plan::{Recorder, assert_index, assert_not_read_whole};

/// 200 users with 20 portfolios each, one of them deactivated, each with 5 positions; bars of
/// 50 tickers over 400 days.
const SEED: &str = "
    INSERT INTO users (email, hashed_password)
    SELECT 'u' || u || '@example.com', '-' FROM generate_series(1, 200) u;
    INSERT INTO portfolios (user_id, name, risk_tolerance, is_active, created_at)
    SELECT id, 'P' || p, 'moderate', p > 1, '2024-01-01Z'::timestamptz + p * interval '1 hour'
    FROM users CROSS JOIN generate_series(1, 20) p;
    INSERT INTO positions (portfolio_id, ticker, shares, is_active)
    SELECT id, 'T' || t, t, t > 1 FROM portfolios CROSS JOIN generate_series(1, 5) t;
    INSERT INTO analysis_results (portfolio_id, ticker, analysis_type)
    SELECT id, 'T' || t, 'risk_analysis' FROM portfolios CROSS JOIN generate_series(1, 5) t;
    INSERT INTO price_history (ticker, date, close_price)
    SELECT 'T' || t, '2024-01-01Z'::timestamptz + d * interval '1 day', 10 + t
    FROM generate_series(1, 50) t CROSS JOIN generate_series(0, 399) d;
    ANALYZE";

#[tokio::test]
async fn every_hot_statement_is_one_and_has_its_index() {
    let (db, recorder) = Recorder::database().await;
    let connection = db.connection().await.expect("a connection");
    connection.as_diesel().batch_execute(SEED).await.expect("seeded");
    drop(connection);
    let some = PortfolioFilter::default();
    let some = db.portfolios().list(&some, &PageRequest::first(1)).await.expect("read");
    let cursor = some.next.expect("there are more");
    let (id, user) = (some.items[0].id, some.items[0].user_id);
    let (id_text, user_text) = (format!("'{id}'"), format!("'{user}'"));
    let portfolios = db.portfolios();
    recorder.take();

    let page = PageRequest::first(10);
    let rows = portfolios.list_for_user(user, Activity::Active, &page).await.expect("read");
    assert_eq!(rows.items.len(), 10);
    let index = "portfolios_user_active_newest_idx";
    assert_index(&db, &recorder.only(), &[&user_text, "11"], "portfolios", index).await;

    recorder.take();
    let page = PageRequest::after(10, cursor);
    portfolios.list_for_user(user, Activity::Active, &page).await.expect("read");
    let arguments = [&*user_text, "'2024-01-01 12:00Z'", "'2024-01-01 12:00Z'", &*id_text, "11"];
    assert_index(&db, &recorder.only(), &arguments, "portfolios", index).await;

    recorder.take();
    let count = PortfolioFilter::default().user_id(user);
    assert_eq!(portfolios.count(&count).await.expect("read"), 19);
    assert_index(&db, &recorder.only(), &[&user_text], "portfolios", index).await;

    recorder.take();
    portfolios.find_by_name(user, "P3").await.expect("read").expect("there");
    let arguments = [&*user_text, "'P3'", "1"];
    let index = "idx_portfolios_user_id";
    assert_index(&db, &recorder.only(), &arguments, "portfolios", index).await;

    recorder.take();
    let read = portfolios.with_positions(id, Activity::Active).await.expect("read");
    assert_eq!(read.expect("there").positions.len(), 4);
    let sql = recorder.only();
    assert_index(&db, &sql, &[&id_text], "portfolios", "portfolios_pkey").await;
    let index = "positions_portfolio_active_idx";
    assert_index(&db, &sql, &[&id_text], "positions", index).await;

    recorder.take();
    portfolios.summary(id).await.expect("read").expect("there");
    let sql = recorder.only();
    let index = "positions_portfolio_id_ticker_key";
    assert_index(&db, &sql, &[&id_text], "positions", index).await;
    // Two indexes start with the portfolio's id.
    assert_not_read_whole(&db, &sql, &[&id_text], "analysis_results").await;

    recorder.take();
    let valued = portfolios.valuation(id, None).await.expect("read").expect("there");
    assert_eq!(valued.market_value, parsed::<bigdecimal::BigDecimal>("194"));
    let sql = recorder.only();
    for moment in ["NULL", "'2024-06-01Z'"] {
        let arguments = [&*id_text, moment];
        let index = "price_history_ticker_date_key";
        assert_index(&db, &sql, &arguments, "price_history", index).await;
        let index = "positions_portfolio_active_idx";
        assert_index(&db, &sql, &arguments, "positions", index).await;
    }

    recorder.take();
    portfolios.duplicate(id, "Copy").await.expect("copied");
    let sent = recorder.take();
    let copying = sent.iter().find(|sql| sql.contains("INSERT INTO positions")).expect("a copy");
    let arguments = [&*id_text, &*id_text];
    let index = "positions_portfolio_active_idx";
    assert_index(&db, copying, &arguments, "positions", index).await;
}
