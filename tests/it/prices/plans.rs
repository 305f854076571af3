//! The indexes that the statements use.

use buffetbot_db::Database;
use buffetbot_db::prices::PriceBarFilter;
use buffetbot_db::types::PageRequest;
use diesel::QueryableByName;
use diesel::sql_types::Text;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};

use super::{day, parsed};
use crate::support::plan::{MOST, Recorder, assert_index, assert_not_read_whole};

/// 100 tickers over 400 days of 2024 and 2025.
const SEED: &str = "
    INSERT INTO price_history (ticker, date, close_price)
    SELECT 'T' || t, '2024-01-01Z'::timestamptz + d * interval '1 day', 10 + t
    FROM generate_series(1, 100) t CROSS JOIN generate_series(0, 399) d;
    ANALYZE";
const KEY: &str = "price_history_ticker_date_key";

/// The statement that a function of the database runs.
async fn body_of(db: &Database, function: &str) -> String {
    #[derive(QueryableByName)]
    struct Body {
        #[diesel(sql_type = Text)]
        body: String,
    }
    let connection = db.connection().await.expect("a connection");
    let query = diesel::sql_query("SELECT prosrc AS body FROM pg_proc WHERE proname = $1");
    let query = query.bind::<Text, _>(function);
    let Body { body } = query.get_result(&mut connection.as_diesel()).await.expect("a function");
    body
}

#[tokio::test]
async fn every_hot_statement_is_one_and_has_its_index() {
    let (db, recorder) = Recorder::database().await;
    let connection = db.connection().await.expect("a connection");
    connection.as_diesel().batch_execute(SEED).await.expect("seeded");
    drop(connection);
    let prices = db.prices();
    let ticker = parsed("T7");
    let (from, to) = (day("2024-03-01"), day("2024-03-31"));
    let range = ["'T7'", "'2024-03-01Z'", "'2024-04-01Z'", MOST];
    let table = "price_history";
    recorder.take();
    assert_eq!(prices.range(&ticker, from, to).await.expect("read").len(), 31);
    assert_index(&db, &recorder.only(), &range, table, KEY).await;

    recorder.take();
    let tickers = [parsed("T7"), parsed("T8")];
    assert_eq!(prices.range_many(&tickers, from, to).await.expect("read").len(), 62);
    let several = ["'{T7,T8}'", range[1], range[2]];
    assert_index(&db, &recorder.only(), &several, table, KEY).await;

    recorder.take();
    let latest = prices.latest(&tickers).await.expect("read");
    assert!(latest.len() == 2 && latest[1].previous_close.is_some());
    assert_index(&db, &recorder.only(), &["'{T7,T8}'"], table, KEY).await;

    recorder.take();
    prices.digest(&ticker).await.expect("read");
    assert!(recorder.only().contains("bars_digest"));
    let digest = body_of(&db, "bars_digest").await.replace("of_ticker", "$1::TEXT");
    assert_index(&db, &digest, &["'T7'"], table, KEY).await;

    recorder.take();
    prices.find_by_day(&ticker, from).await.expect("read").expect("there");
    let one_day = ["'T7'", "'2024-03-01Z'", "'2024-03-02Z'", "1"];
    assert_index(&db, &recorder.only(), &one_day, table, KEY).await;

    recorder.take();
    let all = PriceBarFilter::default();
    let first = prices.list(&all, &PageRequest::first(10)).await.expect("read");
    assert_index(&db, &recorder.only(), &["11"], table, "idx_price_date_ticker").await;
    recorder.take();
    let cursor = first.next.expect("there are more");
    prices.list(&all, &PageRequest::after(10, cursor)).await.expect("read");
    let id = format!("'{}'", first.items[9].id);
    let date = "'2025-02-03Z'";
    let next = [date, date, &*id, "11"];
    assert_index(&db, &recorder.only(), &next, table, "idx_price_date_ticker").await;

    let of_one = all.tickers(vec![ticker.clone()]);
    recorder.take();
    prices.list(&of_one, &PageRequest::first(10)).await.expect("read");
    assert_not_read_whole(&db, &recorder.only(), &["'T7'", "11"], table).await;
    recorder.take();
    prices.count(&of_one).await.expect("read");
    assert_not_read_whole(&db, &recorder.only(), &["'T7'"], table).await;

    recorder.take();
    let id = first.items[0].id;
    prices.find(id).await.expect("read").expect("there");
    let id = format!("'{id}'");
    assert_index(&db, &recorder.only(), &[&id], table, "price_history_pkey").await;

    recorder.take();
    assert_eq!(prices.delete_range(&ticker, from, to).await.expect("deleted"), 31);
    assert_index(&db, &recorder.only(), &range[..3], table, KEY).await;
}
