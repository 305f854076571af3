//! The indexes that the statements use.

use buffetbot_db::options::ChainFilter;
use buffetbot_db::store::Retention;
use diesel_async::SimpleAsyncConnection;

use super::{contract, day, noon, parsed};
use crate::support::plan::{Recorder, assert_index, assert_not_read_whole};

/// 40 underlyings with 80 contracts each, in a snapshot on each of 15 days of 2024.
const SEED: &str = "
    INSERT INTO options_data (ticker, option_type, strike_price, expiration_date, fetch_timestamp)
    SELECT 'T' || t, kind, 100 + s, '2025-01-17Z'::timestamptz + e * interval '28 days',
        '2024-01-01 12:00Z'::timestamptz + d * interval '1 day'
    FROM generate_series(0, 14) d CROSS JOIN generate_series(1, 40) t
        CROSS JOIN unnest('{call,put}'::text[]) kind CROSS JOIN generate_series(1, 10) s
        CROSS JOIN generate_series(0, 3) e;
    ANALYZE";

#[tokio::test]
async fn every_hot_statement_is_one_and_has_its_index() {
    let (db, recorder) = Recorder::database().await;
    let connection = db.connection().await.expect("a connection");
    connection.as_diesel().batch_execute(SEED).await.expect("seeded");
    drop(connection);
    let options = db.options();
    let ticker = parsed("T7");
    let (table, snapshots) = ("options_data", "options_data_ticker_fetched_idx");
    recorder.take();
    let chain = options.latest_chain(&ticker, &ChainFilter::default()).await.expect("read");
    assert_eq!(chain.len(), 80);
    assert_index(&db, &recorder.only(), &["'T7'", "'T7'", "1"], table, snapshots).await;

    recorder.take();
    let known = options.chain(&ticker, noon("01-05"), &ChainFilter::default()).await;
    assert_eq!(known.expect("read").len(), 80);
    let arguments = ["'T7'", "'T7'", "'2024-01-05 12:00Z'", "1"];
    assert_index(&db, &recorder.only(), &arguments, table, snapshots).await;

    recorder.take();
    let january = ChainFilter::default().expiration(day("2025-01-17"));
    assert_eq!(options.latest_chain(&ticker, &january).await.expect("read").len(), 20);
    let (from, to) = ("'2025-01-17Z'", "'2025-01-18Z'");
    let arguments = ["'T7'", "'T7'", from, to, "1", from, to];
    assert_not_read_whole(&db, &recorder.only(), &arguments, table).await;

    recorder.take();
    assert_eq!(options.expirations(&ticker, noon("01-05")).await.expect("read").len(), 4);
    let arguments = ["'T7'", "'T7'", "'2024-01-05 12:00Z'", "1"];
    assert_index(&db, &recorder.only(), &arguments, table, snapshots).await;

    recorder.take();
    let of = contract("T7250117C00101000");
    let history = options.contract_history(&of, noon("01-01"), noon("01-08")).await;
    assert_eq!(history.expect("read").len(), 8);
    let arguments =
        ["'T7'", "'call'", "101", "'2025-01-17Z'", "'2024-01-01 12:00Z'", "'2024-01-08 12:00Z'"];
    let key = "options_data_contract_snapshot_key";
    assert_index(&db, &recorder.only(), &arguments, table, key).await;

    recorder.take();
    let age = std::time::Duration::from_secs(60 * 60);
    let retention = Retention::older_than(age);
    assert_eq!(options.sweep(10, &retention).await.expect("swept").deleted, 10);
    let sql = recorder.only();
    let index = "idx_options_fetch_timestamp";
    assert_index(&db, &sql, &["'1 hour'"], table, index).await;
    assert_index(&db, &sql, &["'1 hour'"], table, "options_data_pkey").await;

    // Nothing goes, and of 600 snapshots as many index entries are read.
    recorder.take();
    let retention = retention.keep_last_of_day();
    assert_eq!(options.sweep(10, &retention).await.expect("swept").deleted, 0);
    let sql = recorder.only();
    assert_index(&db, &sql, &["'1 hour'"], table, snapshots).await;
    assert_not_read_whole(&db, &sql, &["'1 hour'"], table).await;
}
