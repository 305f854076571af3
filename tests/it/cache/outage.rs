//! A database that is down, or whose connections others use.

use buffetbot_db::Config;
use buffetbot_db::cache::Origin;

use super::*;
use crate::support::log::Log;
use crate::support::server::TcpServer;
use crate::support::{database_with, eventually};

/// Keys that have a row.
async fn rows(db: &Database) -> i64 {
    let connection = db.connection().await.expect("a connection");
    let sql = "SELECT count(*) AS n FROM market_data_cache";
    number(&connection, sql).await.expect("a number")
}

#[tokio::test]
async fn while_the_database_is_down_lookups_go_on() {
    let (log, _guard) = Log::start();
    let warnings = || log.text().matches("cache level is down").count();
    let mut server = TcpServer::start().await;
    let config = Config::new(&server.url()).expect("a URL").pool_size(2).pool_max_overflow(0);
    let db = Database::connect(config).await.expect("the database");
    db.migrate().await.expect("the tables");
    let options = CacheOptions::default().max_staleness(MS * 300).poll_every(MS * 100);
    let db = db.with_cache(options).expect("a cache");
    put(&db, "AAPL", 1).await;
    assert_eq!(value(&db, "AAPL").await, Some(1));
    server.kill();
    eventually("the failure is counted", async || {
        // From memory all the while: trusted at first, then standing in.
        let kept = done(ask(&db, "AAPL", &Policy::ttl(HOUR), never())).await.expect("the copy");
        assert_eq!((*kept.value, kept.origin), (1, Origin::Memory));
        db.cache().counters().database_errors > 0
    })
    .await;
    let provider = Provider::default();
    let fetched = provider.next(db.cache(), &key("MSFT"), &Policy::ttl(HOUR)).await;
    let fetched = fetched.expect("fetched all the same");
    assert_eq!((*fetched.value, fetched.origin, fetched.revision()), (1, Origin::Fetched, None));
    let again = provider.next(db.cache(), &key("MSFT"), &Policy::ttl(HOUR)).await;
    assert_eq!((*again.expect("kept here").value, provider.asked()), (1, 1));
    let put = db.cache().put(&key("NVDA"), 5_u32, &Policy::ttl(HOUR)).await;
    assert!(matches!(put, Err(Error::Unavailable { .. })), "{put:?}");
    assert_eq!(warnings(), 1, "however many have failed");
    server.run().await;
    eventually("it is used again", async || {
        // What was fetched meanwhile is unknown to others and so does not stay.
        provider.next(db.cache(), &key("MSFT"), &Policy::ttl(HOUR)).await.expect("a value");
        rows(&db).await == 2
    })
    .await;
    assert_eq!(warnings(), 1);
    assert!(log.text().contains("cache level is back"), "{}", log.text());
    assert_eq!(value(&db, "AAPL").await, Some(1));
}

#[tokio::test]
async fn a_pool_that_others_exhaust_is_left_out() {
    let limit = MS * 200;
    let db = database_with(|config| config.pool_size(1).pool_timeout(limit)).await;
    let here = process(&db, CacheOptions::default());
    put(&here, "AAPL", 1).await;
    let all = db.connection().await.expect("the only connection");
    let found = done(ask(&here, "AAPL", &Policy::ttl(HOUR), never())).await.expect("the copy");
    assert_eq!(found.origin, Origin::Memory);
    let fetched = done(ask(&here, "MSFT", &Policy::ttl(HOUR), gives(2))).await.expect("fetched");
    assert_eq!((*fetched.value, fetched.origin, fetched.revision()), (2, Origin::Fetched, None));
    assert!(here.cache().counters().database_errors > 0);
    drop(all);
    eventually("it is used again", async || {
        done(ask(&here, "MSFT", &Policy::ttl(HOUR), gives(3))).await.expect("a value");
        rows(&db).await == 2
    })
    .await;
}
