//! The pool: whose turn it is, which connections are kept, checked, closed and replaced.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use buffetbot_db::error::Resource;
use buffetbot_db::portfolios::{NewPortfolio, NewPosition};
use buffetbot_db::postgres::Connection;
use buffetbot_db::testing::TestDatabase;
use buffetbot_db::types::{RiskTolerance, Shares};
use buffetbot_db::{Config, Database, Error, Repositories};

use crate::support::proxy::{Network, Proxy};
use crate::support::server::TcpServer;
use crate::support::{
    GENEROUS, database, database_with, eventually, number, parsed, pid, pool_pid, raw, somebody,
};

/// That many connections at once, each with its server process.
async fn take(db: &Database, n: usize) -> (Vec<Connection<'static>>, Vec<i64>) {
    let mut taken = Vec::new();
    let mut pids = Vec::new();
    for _ in 0..n {
        let connection = db.connection().await.unwrap();
        pids.push(pid(&connection).await);
        taken.push(connection);
    }
    (taken, pids)
}

async fn backends(observer: &tokio_postgres::Client) -> i64 {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
               AND application_name = 'buffetbot-db' AND pid <> pg_backend_pid()";
    observer.query_one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn the_last_connection_returned_is_the_first_lent() {
    let db = database(3).await;
    let (mut taken, pids) = take(&db, 3).await;
    assert_eq!(pids.iter().collect::<BTreeSet<_>>().len(), 3);
    for place in [0, 1, 0] {
        let connection = taken.remove(place);
        let returned = pid(&connection).await;
        drop(connection);
        assert_eq!(pool_pid(&db).await, returned);
    }
    // One caller after another gets the same warm one.
    let warm = pool_pid(&db).await;
    for _ in 0..5 {
        assert_eq!(pool_pid(&db).await, warm);
    }
}

#[tokio::test]
async fn greedy_tasks_do_not_starve_anybody() {
    let db = Arc::new(database(1).await);
    let stop = Arc::new(AtomicBool::new(false));
    let turns = Arc::new(AtomicUsize::new(0));
    let greedy: Vec<_> = (0..3)
        .map(|_| {
            let (db, stop, turns) = (db.clone(), stop.clone(), turns.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    // Back at once, and asked for again at once.
                    let connection = db.connection().await.unwrap();
                    number(&connection, "SELECT 1::bigint AS n").await.unwrap();
                    turns.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    eventually("the greedy run", async || turns.load(Ordering::Relaxed) > 20).await;
    for _ in 0..20 {
        let before = turns.load(Ordering::Relaxed);
        drop(tokio::time::timeout(GENEROUS, db.connection()).await.expect("a turn").unwrap());
        let waited = turns.load(Ordering::Relaxed) - before;
        // Three are ahead in the queue, and each may have been counted late.
        assert!(waited <= 6, "{waited} others were served first");
    }
    stop.store(true, Ordering::Relaxed);
    for task in greedy {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn callers_are_served_in_the_order_of_their_asking() {
    let db = Arc::new(database(1).await);
    let held = db.connection().await.unwrap();
    let served = Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for i in 0..10 {
        let (task_db, served) = (db.clone(), served.clone());
        let (asked, wait) = tokio::sync::oneshot::channel();
        tasks.push(tokio::spawn(async move {
            let mut get = Box::pin(task_db.connection());
            assert!(futures_util::poll!(get.as_mut()).is_pending());
            let _ = asked.send(());
            let connection = get.await.unwrap();
            served.lock().unwrap().push(i);
            drop(connection);
        }));
        wait.await.unwrap();
    }
    drop(held);
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(*served.lock().unwrap(), (0..10).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_waiter_that_gives_up_leaves_no_gap() {
    let db = database(1).await;
    let held = db.connection().await.unwrap();
    for _ in 0..5 {
        let mut get = Box::pin(db.connection());
        assert!(futures_util::poll!(get.as_mut()).is_pending());
    }
    assert_eq!(db.pool().state().in_use, 1);
    drop(held);
    assert_eq!(db.pool().state().in_use, 0);
    drop(tokio::time::timeout(GENEROUS, db.connection()).await.unwrap().unwrap());
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_not_lent() {
    // Whether it would be pinged or not.
    for ping_after in [Duration::ZERO, Duration::from_secs(3_600)] {
        let db = database_with(|c| c.pool_size(1).ping_after(ping_after)).await;
        let observer = raw(db.url()).await;
        for _ in 0..3 {
            let victim = pool_pid(&db).await as i32;
            observer.execute("SELECT pg_terminate_backend($1, 10000)", &[&victim]).await.unwrap();
            // Terminated is not yet known here without a ping: the message may be on its way.
            if !ping_after.is_zero() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            let connection = db.connection().await.unwrap();
            let next = number(&connection, "SELECT pg_backend_pid()::bigint AS n").await.unwrap();
            assert_ne!(next, i64::from(victim));
        }
    }
}

#[tokio::test]
async fn a_ping_comes_only_after_idling() {
    let pings = |ping_after| async move {
        let count = Arc::new(AtomicUsize::new(0));
        let sink = count.clone();
        let observer = Arc::new(move |q: &buffetbot_db::config::QueryReport<'_>| {
            sink.fetch_add(usize::from(q.sql.is_empty()), Ordering::Relaxed);
        });
        let db = database_with(|c| c.pool_size(1).ping_after(ping_after).observer(observer)).await;
        for _ in 0..5 {
            pool_pid(&db).await;
        }
        count.load(Ordering::Relaxed)
    };
    assert_eq!(pings(Duration::ZERO).await, 5);
    assert_eq!(pings(Duration::from_secs(3_600)).await, 0);
}

#[tokio::test]
async fn overflow_is_opened_under_load_and_closed_after_it() {
    let db = TestDatabase::with(|c| c.pool_size(2).pool_max_overflow(3)).await.unwrap();
    let observer = raw(db.url()).await;
    let (taken, pids) = take(&db, 5).await;
    assert_eq!(pids.iter().collect::<BTreeSet<_>>().len(), 5);
    assert_eq!(db.pool().state().open, 5);
    assert_eq!(db.pool().state().max, 5);
    drop(taken);
    assert_eq!(db.pool().state().open, 2);
    assert_eq!(db.pool().state().in_use, 0);
    eventually("the server has closed them", async || backends(&observer).await == 2).await;
    // The kept ones are kept.
    let (_taken, again) = take(&db, 2).await;
    assert!(again.iter().all(|pid| pids.contains(pid)), "{again:?} of {pids:?}");
}

#[tokio::test]
async fn the_pool_never_opens_more_than_its_size() {
    let db = Arc::new(TestDatabase::with(|c| c.pool_size(2).pool_max_overflow(1)).await.unwrap());
    let observer = raw(db.url()).await;
    let tasks: Vec<_> = (0..60)
        .map(|_| {
            let db = db.clone();
            tokio::spawn(async move {
                let connection = db.connection().await.unwrap();
                number(&connection, "SELECT 1::bigint AS n FROM pg_sleep(0.005)").await.unwrap();
            })
        })
        .collect();
    let mut most = 0;
    while !tasks.iter().all(tokio::task::JoinHandle::is_finished) {
        most = most.max(db.pool().state().open);
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert!((1..=3).contains(&most), "{most} were open");
    eventually("the kept remain", async || backends(&observer).await <= 2).await;
}

#[tokio::test]
async fn what_was_made_for_a_caller_who_got_another_is_not_kept_beyond_the_size() {
    let server = TcpServer::start().await;
    for is_lent_meanwhile in [true, false] {
        let proxy = Proxy::start(server.port).await;
        let url = server.url().replace(&server.port.to_string(), &proxy.port.to_string());
        let config = Config::new(&url).unwrap().pool_size(1).pool_max_overflow(1);
        let db = Database::connect_lazy(config).unwrap();
        let first = db.connection().await.unwrap();
        proxy.is_now(Network::Slow(Duration::from_millis(50)));
        let second = {
            let db = db.clone();
            tokio::spawn(async move { db.pool().get().await })
        };
        eventually("another is being made", async || proxy.made() == 2).await;
        drop(first);
        let second = second.await.unwrap().unwrap();
        assert_eq!(db.pool().state().open, 1, "what came back");
        let second = is_lent_meanwhile.then_some(second);
        eventually("the other is there", async || db.pool().state().open == 2).await;
        drop(second);
        eventually("one remains", async || db.pool().state().open == 1).await;
    }
}

#[tokio::test]
async fn connections_retire_by_age() {
    let db = database_with(|c| c.pool_size(1).pool_recycle(Some(Duration::from_millis(300)))).await;
    let first = pool_pid(&db).await;
    eventually("another connection", async || pool_pid(&db).await != first).await;
    // One that is lent for longer than its age is not cut off.
    let connection = db.connection().await.unwrap();
    let before = pid(&connection).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(pid(&connection).await, before);
    drop(connection);
    assert_ne!(pool_pid(&db).await, before);
}

#[tokio::test]
async fn an_exhausted_pool_says_what_it_waited_for() {
    let timeout = Duration::from_millis(150);
    let db = database_with(|c| c.pool_size(2).pool_timeout(timeout)).await;
    let (taken, _) = take(&db, 2).await;
    let started = Instant::now();
    let error = db.connection().await.err().unwrap();
    match &error {
        Error::Busy { resource: Resource::PooledConnection, waited, cause: Some(cause) } => {
            assert!(*waited >= timeout && *waited <= started.elapsed(), "{waited:?}");
            assert!(cause.contains("all 2 in use"), "{cause}");
        }
        other => panic!("{other:?}"),
    }
    assert!(error.to_string().contains("pooled connection"), "{error}");
    drop(taken);
    drop(db.connection().await.unwrap());
}

#[tokio::test]
async fn the_wait_in_the_queue_counts_towards_the_timeout() {
    // Somebody waits most of the time for a place, and then for a server that does not answer.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://ada@127.0.0.1:{}/db", silent.local_addr().unwrap().port());
    let timeout = Duration::from_millis(600);
    let config = buffetbot_db::Config::new(&url).unwrap().pool_size(1).pool_max_overflow(0);
    let config = config.pool_timeout(timeout).connect_timeout(GENEROUS);
    let db = Database::connect_lazy(config).unwrap();
    let started = Instant::now();
    let (first, second) = tokio::join!(db.connection(), async {
        tokio::time::sleep(timeout / 2).await;
        db.connection().await.map(|_| ())
    });
    for error in [first.map(|_| ()).unwrap_err(), second.unwrap_err()] {
        assert!(matches!(&error, Error::Busy { .. }), "{error:?}");
    }
    // The second asked at 300 ms; without one limit over both waits it would give up after 1,200 ms.
    let waited = started.elapsed();
    assert!(waited >= timeout, "{waited:?}");
    assert!(waited < timeout * 7 / 4, "{waited:?}");
}

#[tokio::test]
async fn the_state_counts_open_and_lent() {
    let db = database(3).await;
    assert_eq!(db.pool().state().open, 0, "nothing is opened ahead");
    let (taken, _) = take(&db, 2).await;
    let state = db.pool().state();
    assert_eq!((state.open, state.in_use, state.max), (2, 2, 3));
    drop(taken);
    let state = db.pool().state();
    assert_eq!((state.open, state.in_use), (2, 0));
}

#[tokio::test]
async fn limits_are_set_at_connect() {
    let db = database_with(|c| {
        c.pool_size(1)
            .statement_timeout(Duration::from_millis(12_345))
            .lock_timeout(Duration::from_millis(2_345))
            .idle_in_transaction_timeout(Duration::ZERO)
    })
    .await;
    let connection = db.connection().await.unwrap();
    let setting = async |name: &str| {
        let sql = format!("SELECT setting::bigint AS n FROM pg_settings WHERE name = '{name}'");
        number(&connection, &sql).await.unwrap()
    };
    assert_eq!(setting("statement_timeout").await, 12_345);
    assert_eq!(setting("lock_timeout").await, 2_345);
    assert_eq!(setting("idle_in_transaction_session_timeout").await, 0);
}

#[test]
fn a_handle_outlives_a_panic_in_its_tasks() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let db = Arc::new(database(1).await);
        let panicking = db.clone();
        let task = tokio::spawn(async move {
            let unit = panicking.begin().await.unwrap();
            let _held = unit.connection().await.unwrap();
            if unit.connection().await.is_ok() {
                panic!("on purpose");
            }
        });
        assert!(task.await.unwrap_err().is_panic());
        let connection = tokio::time::timeout(GENEROUS, db.connection()).await.unwrap().unwrap();
        assert_eq!(number(&connection, "SELECT 1::bigint AS n").await.unwrap(), 1);
    });
}

/// C3: bb8 would count on a connection for ever that its runtime has taken along.
#[test]
fn c3_a_connect_cut_off_by_the_end_of_its_runtime_leaves_the_pool_usable() {
    let lasting = tokio::runtime::Runtime::new().unwrap();
    let server = lasting.block_on(TcpServer::start());
    let proxy = lasting.block_on(Proxy::start(server.port));
    let url = server.url().replace(&server.port.to_string(), &proxy.port.to_string());
    let config = Config::new(&url).unwrap().pool_size(1).pool_max_overflow(0);
    let db =
        Database::connect_lazy(config.connect_timeout(GENEROUS).pool_timeout(GENEROUS)).unwrap();
    proxy.is_now(Network::Swallows);
    let short = tokio::runtime::Runtime::new().unwrap();
    let asked = {
        let db = db.clone();
        short.spawn(async move { db.connection().await.map(drop) })
    };
    lasting.block_on(eventually("it connects", async || proxy.made() == 1));
    // Somebody else waits for the same connection.
    let waiting = {
        let db = db.clone();
        lasting.spawn(async move { db.connection().await.map(drop) })
    };
    proxy.is_now(Network::ForgotTo(1));
    short.shutdown_background();
    lasting.block_on(async {
        waiting.await.unwrap().unwrap();
        db.connection().await.unwrap();
        assert!(asked.await.is_err(), "its runtime has ended");
    });
    assert_eq!(db.pool().state().open, 1);
}

/// C4: a statement whose text depends on the number of rows is not kept.
#[tokio::test]
async fn c4_batches_of_every_size_leave_the_server_small() {
    let db = database(1).await;
    let used = async || {
        let connection = db.connection().await.unwrap();
        let sql = "SELECT sum(total_bytes)::BIGINT AS n FROM pg_backend_memory_contexts";
        number(&connection, sql).await.unwrap()
    };
    let owner = db.users().create(&somebody()).await.unwrap();
    let portfolio = db
        .portfolios()
        .create(&NewPortfolio::new(owner.id, "All", RiskTolerance::Moderate))
        .await
        .unwrap();
    let mut before = 0;
    for rows in 1..=300_usize {
        let users: Vec<_> = (0..rows).map(|_| somebody()).collect();
        db.users().create_many(&users).await.unwrap();
        let named = |n| NewPortfolio::new(owner.id, format!("{rows} {n}"), RiskTolerance::Moderate);
        let portfolios: Vec<_> = (0..rows).map(named).collect();
        db.portfolios().create_many(&portfolios).await.unwrap();
        let held = |n| {
            NewPosition::new(portfolio.id, parsed(&format!("T{rows}.{n}")), parsed::<Shares>("1"))
        };
        let positions: Vec<_> = (0..rows).map(held).collect();
        db.positions().create_many(&positions).await.unwrap();
        if rows == 10 {
            before = used().await;
        }
    }
    let grown = used().await - before;
    assert!(grown < 5 << 20, "{grown} bytes");
}
