//! Copies in the memory of other processes: they learn of every change, whoever makes it, and however
//! the connection fares that tells them.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use buffetbot_db::Repositories;
use buffetbot_db::cache::Origin;
use buffetbot_db::market_cache::CacheSelector;

use super::*;
use crate::support::{eventually, raw};

/// A process that is told of changes by notifications, if at all: it looks by itself too seldom to
/// matter, and trusts its memory for as long.
fn told() -> CacheOptions {
    CacheOptions::default().poll_every(GENEROUS * 4).max_staleness(GENEROUS * 4)
}

/// A process that looks for itself.
fn looking() -> CacheOptions {
    CacheOptions::default().poll_every(MS * 50).max_staleness(GENEROUS * 4)
}

/// Takes the value into memory; the next lookup is answered from there.
async fn holds(handle: &Database, ticker: &str, expected: u32) {
    eventually("a copy in memory", async || {
        let found = handle.cache().get::<u32>(&key(ticker)).await.expect("get").expect("a value");
        assert_eq!(*found.value, expected);
        found.origin == Origin::Memory
    })
    .await;
}

async fn sees(handle: &Database, ticker: &str, expected: Option<u32>) {
    eventually("the change is seen", async || value(handle, ticker).await == expected).await;
}

/// Ends every connection that listens; how many there were.
async fn cut(observer: &tokio_postgres::Client) -> usize {
    let listeners = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()
            AND (query LIKE 'LISTEN%' OR query LIKE '%cache_changes%' OR query LIKE '%pg_current_snapshot%')";
    observer.query(listeners, &[]).await.expect("terminated").len()
}

/// C3: the reader of the log ends with the runtime on which a first call was made.
#[test]
fn c3_memory_serves_and_forgets_after_the_runtime_of_its_reader_has_ended() {
    let lasting = tokio::runtime::Runtime::new().expect("a runtime");
    let test = lasting.block_on(database());
    let brief = CacheOptions::default().poll_every(MS * 50).max_staleness(MS * 500);
    let db = Database::connect_lazy(test.config()).expect("a handle");
    let db = db.with_cache(brief).expect("a cache");
    let short = tokio::runtime::Runtime::new().expect("a runtime");
    short.block_on(async {
        put(&db, "AAPL", 1).await;
        holds(&db, "AAPL", 1).await;
    });
    drop(short);
    lasting.block_on(async {
        // The first calls elsewhere are those that have to hear of changes.
        let mut fastest = GENEROUS;
        for n in 2..7 {
            let began = Instant::now();
            let aapl = key("AAPL").ticker;
            db.cache().invalidate(&CacheSelector::ticker(&aapl)).await.expect("invalidated");
            fastest = fastest.min(began.elapsed());
            assert_eq!(value(&db, "AAPL").await, None, "{n}");
            put(&db, "AAPL", n).await;
        }
        assert!(fastest < MS * 900, "nobody reads the log: {fastest:?}");
        // Longer than what was read by the former reader is trusted.
        tokio::time::sleep(MS * 600).await;
        holds(&db, "AAPL", 6).await;
        let there = process(&test, told());
        put(&there, "AAPL", 7).await;
        sees(&db, "AAPL", Some(7)).await;
    });
}

#[tokio::test]
async fn what_another_process_does_is_told() {
    let db = database().await;
    let [here, there] = [(); 2].map(|()| process(&db, told()));
    put(&here, "AAPL", 1).await;
    holds(&here, "AAPL", 1).await;
    holds(&there, "AAPL", 1).await;
    put(&there, "AAPL", 2).await;
    sees(&here, "AAPL", Some(2)).await;
    // By a fetch.
    holds(&here, "AAPL", 2).await;
    let policy = Policy::ttl(HOUR).eager(0.0);
    done(ask(&there, "AAPL", &policy, gives(3))).await.expect("a value");
    sees(&here, "AAPL", Some(3)).await;
    // By the repository.
    holds(&here, "AAPL", 3).await;
    let aapl = key("AAPL").ticker;
    assert_eq!(
        there.market_cache().invalidate(&CacheSelector::ticker(&aapl)).await.expect("invalidated"),
        1
    );
    sees(&here, "AAPL", None).await;
    sees(&there, "AAPL", None).await;
    put(&there, "AAPL", 4).await;
    holds(&here, "AAPL", 4).await;
    assert!(there.market_cache().delete_key(&key("AAPL")).await.expect("deleted"));
    sees(&here, "AAPL", None).await;
    sees(&there, "AAPL", None).await;
    assert!(here.cache().counters().dropped >= 4, "{:?}", here.cache().counters());
}

#[tokio::test]
async fn what_plain_sql_does_is_seen() {
    let db = database().await;
    let here = process(&db, looking());
    for (statement, expected) in [
        ("UPDATE market_data_cache SET data = '2'", Some(2)),
        ("UPDATE market_data_cache SET expires_at = cached_at + INTERVAL '1 us'", None),
        ("UPDATE market_data_cache SET ticker = 'MSFT'", None),
        ("UPDATE market_data_cache SET parameters = '{}'", None),
        ("DELETE FROM market_data_cache", None),
        ("TRUNCATE market_data_cache", None),
    ] {
        put(&here, "AAPL", 1).await;
        holds(&here, "AAPL", 1).await;
        db.sql(statement).await;
        sees(&here, "AAPL", expected).await;
        db.sql("DELETE FROM market_data_cache").await;
        sees(&here, "AAPL", None).await;
    }
}

#[tokio::test]
async fn a_rollback_is_no_change() {
    let db = database().await;
    let here = process(&db, looking());
    put(&here, "AAPL", 1).await;
    put(&here, "MSFT", 1).await;
    holds(&here, "AAPL", 1).await;
    holds(&here, "MSFT", 1).await;
    let uow = db.begin().await.expect("a transaction");
    uow.sql("UPDATE market_data_cache SET data = '2' WHERE ticker = 'AAPL'").await;
    uow.rollback().await.expect("rolled back");
    // Later, so that what is seen of it says that the other was passed.
    db.sql("UPDATE market_data_cache SET data = '2' WHERE ticker = 'MSFT'").await;
    sees(&here, "MSFT", Some(2)).await;
    holds(&here, "AAPL", 1).await;
    assert_eq!(here.cache().counters().dropped, 1);
}

#[tokio::test]
async fn transactions_that_commit_out_of_order_are_all_seen() {
    let db = database().await;
    let here = process(&db, looking());
    for ticker in ["AAPL", "MSFT", "NVDA"] {
        put(&here, ticker, 1).await;
        holds(&here, ticker, 1).await;
    }
    // One that began long ago and has written, one that only holds an old snapshot.
    let reading = raw(db.url()).await;
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM market_data_cache";
    reading.batch_execute(begin).await.expect("a snapshot");
    let (first, second) = (db.begin().await.expect("one"), db.begin().await.expect("two"));
    first.sql("UPDATE market_data_cache SET data = '2' WHERE ticker = 'AAPL'").await;
    second.sql("UPDATE market_data_cache SET data = '2' WHERE ticker = 'MSFT'").await;
    db.sql("UPDATE market_data_cache SET data = '2' WHERE ticker = 'NVDA'").await;
    sees(&here, "NVDA", Some(2)).await;
    holds(&here, "AAPL", 1).await;
    holds(&here, "MSFT", 1).await;
    second.commit().await.expect("committed");
    sees(&here, "MSFT", Some(2)).await;
    holds(&here, "AAPL", 1).await;
    first.commit().await.expect("committed");
    sees(&here, "AAPL", Some(2)).await;
    assert_eq!(here.cache().counters().dropped, 3, "each once");
}

#[tokio::test]
async fn a_listener_that_was_cut_off_catches_up() {
    let db = database().await;
    let [here, there] = [(); 2].map(|()| process(&db, told()));
    let observer = raw(db.url()).await;
    for round in 0..5 {
        let (old, new) = (round * 2 + 1, round * 2 + 2);
        for ticker in ["AAPL", "MSFT"] {
            put(&there, ticker, old).await;
            sees(&here, ticker, Some(old)).await;
            holds(&here, ticker, old).await;
        }
        assert!(cut(&observer).await > 0);
        // Not announced: whoever sees it has looked when it came back.
        db.sql(&format!("UPDATE market_data_cache SET data = '{new}'")).await;
        for ticker in ["AAPL", "MSFT"] {
            sees(&here, ticker, Some(new)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_notifications_memory_is_trusted_for_its_bound_only() {
    let db = database().await;
    let bound = MS * 500;
    let options = || CacheOptions::default().poll_every(MS * 100).max_staleness(bound);
    let [here, there] = [(); 2].map(|()| process(&db, options()));
    put(&there, "AAPL", 0).await;
    holds(&here, "AAPL", 0).await;
    let observer = raw(db.url()).await;
    let over = Arc::new(AtomicBool::new(false));
    // Every listener is ended as soon as it is there.
    let cutting = {
        let over = over.clone();
        tokio::spawn(async move {
            while !over.load(Ordering::SeqCst) {
                cut(&observer).await;
                tokio::time::sleep(MS * 5).await;
            }
        })
    };
    for new in 1..=5 {
        put(&there, "AAPL", new).await;
        let written = Instant::now();
        // Reads that begin after the bound see it: those before may. The margin is for a reading that
        // began before the write and was slow.
        while written.elapsed() < bound {
            let seen = value(&here, "AAPL").await.expect("a value");
            assert!(seen == new || seen == new - 1, "{seen} instead of {new}");
            tokio::time::sleep(MS * 20).await;
        }
        assert_eq!(value(&here, "AAPL").await, Some(new));
    }
    over.store(true, Ordering::SeqCst);
    done(cutting).await;
    put(&there, "AAPL", 100).await;
    sees(&here, "AAPL", Some(100)).await;
    holds(&here, "AAPL", 100).await;
}
