//! Writers and readers at once, and memory that is too small.

use std::sync::{Mutex, mpsc};

use buffetbot_db::cache::Origin;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use super::*;
use crate::support::eventually;

/// How many times each of the writers writes.
const ROUNDS: u32 = 150;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_never_keep_what_was_overwritten() {
    let db = database().await;
    // Memory that is told, and would keep what it has if it were not told.
    let options = || CacheOptions::default().max_staleness(GENEROUS * 4).poll_every(MS * 200);
    let handles = [(); 3].map(|()| process(&db, options()));
    db.sql("CREATE SEQUENCE written").await;
    put(&handles[0], "AAPL", 0).await;
    let over = Arc::new(AtomicU32::new(0));
    let mut tasks = Vec::new();
    for handle in &handles {
        for _ in 0..2 {
            let (handle, over) = (handle.clone(), over.clone());
            tasks.push(tokio::spawn(async move {
                while over.load(Ordering::SeqCst) < 2 {
                    let read = handle.cache().get::<u32>(&key("AAPL")).await.expect("get");
                    assert!(read.is_some());
                    tokio::task::yield_now().await;
                }
            }));
        }
    }
    // One writes by the cache, one by plain SQL, each a number that grows with the row's lock held.
    let writer = {
        let (handle, over) = (handles[1].clone(), over.clone());
        tokio::spawn(async move {
            for i in 0..ROUNDS {
                put(&handle, "AAPL", i).await;
            }
            over.fetch_add(1, Ordering::SeqCst);
        })
    };
    for _ in 0..ROUNDS {
        db.sql("UPDATE market_data_cache SET data = to_jsonb(1000 + nextval('written'))").await;
    }
    over.fetch_add(1, Ordering::SeqCst);
    done(writer).await;
    for task in tasks {
        done(task).await;
    }
    let last = "SELECT data::BIGINT AS n FROM market_data_cache";
    let last = u32::try_from(count(&db, last).await).expect("a small number");
    for handle in &handles {
        eventually("the last value", async || value(handle, "AAPL").await == Some(last)).await;
        let settled = handle.cache().get::<u32>(&key("AAPL")).await.expect("get").expect("a value");
        assert_eq!(*settled.value, last);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn after_every_write_each_process_comes_to_the_new_value_and_never_back() {
    let db = database().await;
    let options = || CacheOptions::default().max_staleness(GENEROUS * 4).poll_every(GENEROUS);
    let handles = [(); 2].map(|()| process(&db, options()));
    for round in 0..ROUNDS {
        // The read of the old value is under way while the new one is written.
        let reading = {
            let handle = handles[0].clone();
            tokio::spawn(async move { value(&handle, "AAPL").await })
        };
        put(&handles[1], "AAPL", round).await;
        done(reading).await;
        eventually("the new value", async || value(&handles[0], "AAPL").await == Some(round)).await;
        for handle in &handles {
            assert_eq!(value(handle, "AAPL").await, Some(round), "it has gone back");
        }
    }
}

#[tokio::test]
async fn memory_stays_within_its_bound_and_survivors_are_still_told() {
    let db = database().await;
    let [here, there] =
        [(); 2].map(|()| process(&db, CacheOptions::default().memory(100_000).poll_every(MS * 50)));
    let policy = Policy::ttl(HOUR);
    let document = |n: usize| json!({"n": n, "text": "x".repeat(800)});
    let key = |n: usize| key(&format!("T{n}"));
    for n in 0..1_000 {
        here.cache().put(&key(n), document(n), &policy).await.expect("put");
    }
    let report = here.cache().report(0).await.expect("a report");
    assert!(report.memory_bytes <= 100_000, "{report:?}");
    // A value weighs 1 kB or so.
    assert!((20..=100).contains(&report.memory_entries), "{report:?}");
    assert!(report.counters.evictions + report.memory_entries >= 1_000, "{report:?}");
    // Which ones are left is the cache's own business.
    let mut survivors = Vec::new();
    for n in 0..1_000 {
        let found = here.cache().get::<Value>(&key(n)).await.expect("get").expect("a value");
        assert_eq!(found.value["n"], n);
        if found.origin == Origin::Memory {
            survivors.push(n);
        }
    }
    assert!(!survivors.is_empty());
    // A last round, so that something is certain to be in memory.
    let last = *survivors.last().expect("one");
    here.cache().get::<Value>(&key(last)).await.expect("get");
    db.sql("UPDATE market_data_cache SET data = '{\"n\": -1}'").await;
    for &n in &survivors {
        eventually("the survivor is told", async || {
            let found = here.cache().get::<Value>(&key(n)).await.expect("get").expect("a value");
            found.value["n"] == -1
        })
        .await;
    }
    assert_eq!(there.cache().counters().evictions, 0);
}

/// What the reading of a [`Slow`] says when it begins, and waits for before it ends.
static SLOW: Mutex<Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>> = Mutex::new(None);

/// A number whose reading takes as long as the test says.
#[derive(Serialize)]
struct Slow(u32);

impl<'de> Deserialize<'de> for Slow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u32::deserialize(deserializer)?;
        let slow = SLOW.lock().expect("no panic").take();
        if let Some((begun, go_on)) = slow {
            // Said to the runtime, which else would leave a task of the cache's waiting behind this one.
            tokio::task::block_in_place(|| {
                begun.send(()).expect("the test waits");
                go_on.recv_timeout(GENEROUS).expect("the test goes on");
            });
        }
        Ok(Slow(number))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_read_before_a_change_is_not_kept_after_it() {
    let db = database().await;
    let options = CacheOptions::default().max_staleness(GENEROUS * 4).poll_every(MS * 50);
    let [here, there] = [(); 2].map(|()| process(&db, options.clone()));
    put(&there, "AAPL", 1).await;
    put(&there, "MSFT", 1).await;
    // So that the log is being read, and the change seen to have been read.
    assert_eq!(value(&here, "MSFT").await, Some(1));
    let (begin, begun) = mpsc::channel();
    let (go_on, wait) = mpsc::channel();
    *SLOW.lock().expect("no panic") = Some((begin, wait));
    let reading = {
        let here = here.clone();
        tokio::spawn(async move { here.cache().get::<Slow>(&key("AAPL")).await })
    };
    let begun = tokio::task::spawn_blocking(move || begun.recv_timeout(GENEROUS));
    done(begun).await.expect("it reads");
    db.sql("UPDATE market_data_cache SET data = '2'").await;
    eventually("the change was told", async || value(&here, "MSFT").await == Some(2)).await;
    go_on.send(()).expect("it waits");
    let old = done(reading).await.expect("get").expect("a value");
    assert_eq!(old.value.0, 1, "it had been read before");
    let new = here.cache().get::<Slow>(&key("AAPL")).await.expect("get").expect("a value");
    assert_eq!((new.value.0, new.origin), (2, Origin::Database));
}
