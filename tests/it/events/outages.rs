//! Subscribers when nothing is told, and when the server goes away.

use std::time::Duration;

use buffetbot_db::testing::TestDatabase;
use buffetbot_db::*;

use super::{bar, is_silent, next};
use crate::catalog::connect;
use crate::support::server::TcpServer;
use crate::support::{active, eventually, raw};

/// Connections that listen for events.
const LISTENING: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND query = 'LISTEN buffetbot_events'";

#[tokio::test]
async fn what_is_written_past_the_crate_is_found_without_a_word() {
    let db = TestDatabase::new().await.expect("a database");
    let mut events = db.subscribe(EventFilter::new()).await.expect("subscribed");
    let insert =
        "INSERT INTO price_history (ticker, date, close_price) VALUES ('RAW', '2024-01-02Z', 1)";
    connect(&db).await.batch_execute(insert).await.expect("stored");
    assert_eq!(next(&mut events).await.ticker.as_str(), "RAW");
}

#[tokio::test]
async fn one_connection_listens_for_all_and_only_while_somebody_subscribes() {
    let db = TestDatabase::new().await.expect("a database");
    let client = connect(&db).await;
    let listening =
        async || -> i64 { client.query_one(LISTENING, &[]).await.expect("read").get(0) };
    assert_eq!(listening().await, 0);
    let first = db.subscribe(EventFilter::new()).await.expect("subscribed");
    let mut second = Database::clone(&db).subscribe(EventFilter::new()).await.expect("subscribed");
    eventually("somebody listens", async || listening().await == 1).await;
    // It is told: sooner than it would look by itself, on the whole.
    let mut told = 0;
    for n in 0..5 {
        let began = std::time::Instant::now();
        db.prices().create(&bar(&format!("T{n}"), "2024-01-02")).await.expect("stored");
        next(&mut second).await;
        told += u32::from(began.elapsed() < Duration::from_millis(900));
    }
    assert!(told >= 3, "{told} of 5");
    assert_eq!(listening().await, 1);
    drop((first, second));
    eventually("nobody listens", async || listening().await == 0).await;
    let mut again = db.subscribe(EventFilter::new()).await.expect("subscribed");
    eventually("somebody listens again", async || listening().await == 1).await;
    assert!(is_silent(&mut again).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_and_back_loses_no_event() {
    let mut server = TcpServer::start().await;
    let config = || Config::new(&server.url()).expect("a URL").pool_timeout(Duration::from_secs(2));
    let db = Database::connect(config()).await.expect("connected");
    db.migrate().await.expect("migrated");
    let mut events = db.subscribe(EventFilter::new()).await.expect("subscribed");
    let mut consumer = db.events().consumer("risk", EventFilter::new()).await.expect("known");
    db.prices().create(&bar("BEFORE", "2024-01-02")).await.expect("stored");
    assert_eq!(next(&mut events).await.ticker.as_str(), "BEFORE");
    let delivery = consumer.next().await.expect("a delivery");
    let reader = tokio::spawn(async move {
        let event = next(&mut events).await;
        (event, events)
    });
    server.kill();
    // The server's processes outlive it for a moment: it may still be done.
    let is_done = delivery.commit().await.is_ok();
    server.run().await;
    let client = raw(&server.url()).await;
    eventually("it accepts", async || active(&client).await >= 0).await;
    let stored = async || db.prices().upsert_many(&[bar("AFTER", "2024-01-02")]).await.is_ok();
    eventually("it is stored", stored).await;
    let (event, _events) = reader.await.expect("no panic");
    assert_eq!(event.ticker.as_str(), "AFTER", "the subscription went on");
    let mut tickers = Vec::new();
    while !tickers.contains(&"AFTER".to_owned()) {
        let delivery = consumer.next().await.expect("a delivery");
        tickers.extend(delivery.events().iter().map(|event| event.ticker.to_string()));
        delivery.commit().await.expect("moved on");
    }
    let expected: &[&str] = if is_done { &["AFTER"] } else { &["BEFORE", "AFTER"] };
    assert_eq!(tickers, expected, "what was not committed comes again");
}
