//! Subscribers when nothing is told, and when the server goes away.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::api::*;
use buffetbot_db::testing::TestDatabase;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};

use super::{bar, is_silent, next};
use crate::catalog::connect;
use crate::support::server::TcpServer;
use crate::support::{GENEROUS, active, eventually, parsed, portfolio, raw, user};

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
async fn whoever_writes_by_the_crate_gives_the_word() {
    let given = Arc::new(AtomicUsize::new(0));
    let counted = given.clone();
    let observer: QueryObserver = Arc::new(move |report| {
        if report.sql == "NOTIFY buffetbot_events" && report.sqlstate.is_none() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let db = TestDatabase::with(|config| config.observer(observer)).await.expect("a database");
    let ada = user(&*db, "ada@example.com").await;
    let core = portfolio(&*db, &ada, "Core").await;
    let (scope, key) = (db.as_user(ada.id), CacheKey::new(&parsed("AAPL"), DataType::NEWS));
    let bars = |ticker: &str| [bar(ticker, "2024-01-02"), bar(ticker, "2024-01-03")];
    let position = |ticker| NewPosition::new(core.id, parsed(ticker), parsed::<Shares>("1"));
    let selector = CacheSelector::key(&key);
    assert_eq!(given.load(Ordering::Relaxed), 0, "accounts are no events");
    let writes: [(&str, BoxFuture<'_, Result<()>>); 8] = [
        ("one row", async { db.prices().create(&bar("A", "2024-01-02")).await.map(drop) }.boxed()),
        ("few bars", async { db.prices().upsert_many(&bars("B")).await.map(drop) }.boxed()),
        ("one batch", async { db.prices().create_many(&bars("C")).await.map(drop) }.boxed()),
        ("in a name", async { scope.positions().create(&position("A")).await.map(drop) }.boxed()),
        (
            "a batch in a name",
            async { scope.positions().create_many(&[position("B")]).await.map(drop) }.boxed(),
        ),
        (
            "an analysis",
            async {
                db.analyses()
                    .create(&NewAnalysis::new(parsed("A"), AnalysisType::Risk))
                    .await
                    .map(drop)
            }
            .boxed(),
        ),
        (
            "an invalidation",
            async { db.market_cache().invalidate(&selector).await.map(drop) }.boxed(),
        ),
        (
            "a transaction",
            async {
                db.transaction(async |uow| {
                    uow.prices().create(&bar("D", "2024-01-02")).await.map(drop)
                })
                .await
            }
            .boxed(),
        ),
    ];
    for (what, write) in writes {
        let before = given.load(Ordering::Relaxed);
        write.await.expect(what);
        let is_given = async || given.load(Ordering::Relaxed) > before;
        eventually(what, is_given).await;
    }
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
    db.prices().create(&bar("T", "2024-01-02")).await.expect("stored");
    assert_eq!(next(&mut second).await.ticker.as_str(), "T");
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
        let event = events.next().await.expect("no end").expect("an event");
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
    // The server's way back is not its time.
    let read = tokio::time::timeout(GENEROUS, reader).await.expect("an event in time");
    let (event, _events) = read.expect("no panic");
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
