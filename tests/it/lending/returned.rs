//! B1: a connection comes back outside of any transaction, whatever its borrower left.

use std::sync::Arc;
use std::time::Duration;

use buffetbot_db::Error;
use buffetbot_db::users::UserFilter;
use bytes::Bytes;
use diesel_async::{AsyncConnection, SimpleAsyncConnection};

use super::{committed, one, works};
use crate::support::{
    GENEROUS, active, batch, database, eventually, execute, number, pid, pool_pid, raw, somebody,
};

/// An INSERT by text.
fn insert() -> String {
    format!(
        "INSERT INTO users (email, hashed_password) VALUES ('{}@example.com', '{}')",
        uuid::Uuid::new_v4().simple(),
        crate::support::LITERAL_HASH
    )
}

#[tokio::test]
async fn b1_an_aborted_transaction_harms_no_later_call() {
    let (db, user) = one().await;
    let observer = raw(db.url()).await;
    for sql in ["BEGIN; SELECT 1 / 0", "BEGIN; SELECT 1; SELECT 1 / 0; COMMIT"] {
        let before = pool_pid(&db).await;
        let connection = db.connection().await.unwrap();
        batch(&connection, sql).await.unwrap_err();
        drop(connection);
        for _ in 0..1_000 {
            assert!(db.users().find(user.id).await.unwrap().is_some());
        }
        works(&db, &observer).await;
        assert_eq!(pool_pid(&db).await, before, "rolled back, not thrown away");
    }
}

#[tokio::test]
async fn b1_an_open_transaction_takes_in_no_later_write() {
    let (db, _) = one().await;
    let observer = raw(db.url()).await;
    for left in [
        "BEGIN".to_owned(),
        "BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY".into(),
        format!("BEGIN; {}", insert()),
        format!("BEGIN; {}; SAVEPOINT a", insert()),
        format!("COMMIT; BEGIN; {}", insert()),
        "BEGIN; SET LOCAL ROLE buffetbot_app".into(),
        "BEGIN; SET ROLE buffetbot_app".into(),
        "BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE".into(),
        "BEGIN; SET LOCAL statement_timeout = 1".into(),
    ] {
        let before = committed(&observer).await;
        let connection = db.connection().await.unwrap();
        batch(&connection, &left).await.unwrap();
        drop(connection);
        works(&db, &observer).await;
        assert_eq!(committed(&observer).await, before + 1, "{left}: undone");
    }
    // By a prepared statement as well.
    let connection = db.connection().await.unwrap();
    execute(&connection, "BEGIN").await.unwrap();
    execute(&connection, &insert()).await.unwrap();
    drop(connection);
    works(&db, &observer).await;
}

#[tokio::test]
async fn b1_a_failure_outside_of_a_transaction_changes_nothing() {
    let (db, _) = one().await;
    let observer = raw(db.url()).await;
    let before = pool_pid(&db).await;
    let connection = db.connection().await.unwrap();
    execute(&connection, &insert()).await.unwrap();
    execute(&connection, "SELECT 1 / 0").await.unwrap_err();
    drop(connection);
    works(&db, &observer).await;
    assert_eq!(committed(&observer).await, 3, "what the borrower committed stays");
    assert_eq!(pool_pid(&db).await, before);
}

#[tokio::test]
async fn b1_transactions_of_diesel_async_left_open() {
    let (db, _) = one().await;
    let observer = raw(db.url()).await;
    for test in [false, true] {
        let before = committed(&observer).await;
        let mut connection = db.pool().get().await.unwrap();
        if test {
            connection.begin_test_transaction().await.unwrap();
            connection.batch_execute(&insert()).await.unwrap();
        } else {
            let (reached, wait) = tokio::sync::oneshot::channel();
            let transaction = connection.transaction::<(), diesel::result::Error, _>(async |c| {
                c.batch_execute(&insert()).await?;
                let _ = reached.send(());
                std::future::pending().await
            });
            tokio::select! {
                _ = transaction => unreachable!("it waits for ever"),
                _ = wait => {}
            }
        }
        drop(connection);
        works(&db, &observer).await;
        assert_eq!(committed(&observer).await, before + 1, "undone");
        // The next transaction is one, not a savepoint in what was left.
        let mut connection = db.pool().get().await.unwrap();
        let done = connection
            .transaction::<_, diesel::result::Error, _>(async |c| c.batch_execute(&insert()).await);
        done.await.unwrap();
        drop(connection);
        assert_eq!(committed(&observer).await, before + 2);
    }
}

#[tokio::test]
async fn b1_those_who_wait_for_the_only_connection_get_it_clean() {
    let (db, user) = one().await;
    let observer = raw(db.url()).await;
    let db = Arc::new(db);
    let held = db.connection().await.unwrap();
    let waiting: Vec<_> = (0..5)
        .map(|_| {
            let db = db.clone();
            tokio::spawn(async move {
                let found = db.users().find(user.id).await?;
                db.users().create(&somebody()).await?;
                Ok::<_, Error>(found.is_some())
            })
        })
        .collect();
    batch(&held, "BEGIN; SET ROLE buffetbot_app; SET search_path = nowhere").await.unwrap();
    batch(&held, "SELECT 1 / 0").await.unwrap_err();
    drop(held);
    for task in waiting {
        assert!(task.await.unwrap().unwrap());
    }
    assert_eq!(committed(&observer).await, 6);
}

#[tokio::test]
async fn b1_a_caller_that_gives_up_while_it_is_cleaned_harms_nobody() {
    let (db, _) = one().await;
    let observer = raw(db.url()).await;
    for polls in 0..6 {
        let connection = db.connection().await.unwrap();
        batch(&connection, &format!("BEGIN; {}", insert())).await.unwrap();
        drop(connection);
        let filter = UserFilter::default();
        let mut call = Box::pin(db.users().count(&filter));
        for _ in 0..polls {
            if futures_util::poll!(call.as_mut()).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(call);
        works(&db, &observer).await;
    }
}

#[tokio::test]
async fn b1_a_statement_in_flight_goes_with_its_connection() {
    let (db, _) = one().await;
    let observer = raw(db.url()).await;
    let before = pool_pid(&db).await;
    let connection = db.connection().await.unwrap();
    batch(&connection, &format!("BEGIN; {}", insert())).await.unwrap();
    let asleep = eventually("the server sleeps", async || {
        let sql = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'
                   AND datname = current_database()";
        !observer.query(sql, &[]).await.unwrap().is_empty()
    });
    tokio::select! {
        biased;
        done = batch(&connection, "SELECT pg_sleep(600)") => panic!("{done:?}"),
        () = asleep => {}
    }
    drop(connection);
    let next = tokio::time::timeout(GENEROUS, pool_pid(&db)).await.expect("no stall");
    assert_ne!(next, before);
    works(&db, &observer).await;
    eventually("nothing runs on", async || active(&observer).await == 0).await;
}

#[tokio::test]
async fn b1_a_statement_that_was_leaked_goes_with_its_connection() {
    let (db, _) = one().await;
    let observer = raw(db.url()).await;
    let before = pool_pid(&db).await;
    let connection = db.connection().await.unwrap();
    batch(&connection, &format!("BEGIN; {}", insert())).await.unwrap();
    let mut leaked = Box::pin(batch(&connection, "SELECT pg_sleep(3)"));
    assert!(futures_util::poll!(leaked.as_mut()).is_pending());
    // Neither answered nor dropped: nothing is ever told of it.
    std::mem::forget(leaked);
    drop(connection);
    assert_ne!(pool_pid(&db).await, before);
    works(&db, &observer).await;
}

#[tokio::test]
async fn b1_a_copy_in_progress_goes_with_its_connection() {
    let (db, _) = one().await;
    let observer = raw(db.url()).await;
    // A session that is left with this lock holds up all later calls.
    let lock = format!("BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE; {}", insert());
    let copy_in = "COPY users (id) FROM STDIN";
    for how in ["copy_in", "by text", "by text, dropped", "prepared", "out by text"] {
        let connection = db.connection().await.unwrap();
        batch(&connection, &lock).await.unwrap();
        match how {
            "copy_in" => {
                let mut copy = connection.copy_in(copy_in).await.unwrap();
                copy.send(Bytes::from_static(b"half a row")).await.unwrap();
            }
            // The server waits for data, which nobody sends.
            "by text" => drop(batch(&connection, copy_in).await.unwrap_err()),
            "by text, dropped" => {
                let mut copy = Box::pin(batch(&connection, copy_in));
                assert!(futures_util::poll!(copy.as_mut()).is_pending());
            }
            "prepared" => drop(execute(&connection, copy_in).await.unwrap_err()),
            _ => drop(batch(&connection, "COPY users TO STDOUT").await.unwrap_err()),
        }
        drop(connection);
        let next = tokio::time::timeout(GENEROUS, works(&db, &observer));
        next.await.unwrap_or_else(|_| panic!("{how}: no stall"));
        eventually("nothing waits for data", async || active(&observer).await == 0).await;
    }
    assert_eq!(committed(&observer).await, 6, "nothing of it was kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn b1_dropped_outside_of_a_runtime() {
    let (db, _) = one().await;
    let observer = raw(db.url()).await;
    let connection = db.connection().await.unwrap();
    batch(&connection, &format!("BEGIN; {}", insert())).await.unwrap();
    std::thread::spawn(move || drop(connection)).join().unwrap();
    works(&db, &observer).await;
    assert_eq!(committed(&observer).await, 2);
}

#[test]
fn b1_dropped_after_its_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (db, connection) = runtime.block_on(async {
        let db = database(1).await;
        let connection = db.connection().await.unwrap();
        batch(&connection, "BEGIN").await.unwrap();
        (db, connection)
    });
    drop(runtime);
    drop(connection);
    drop(db);
}

#[tokio::test]
async fn b1_what_cannot_be_cleaned_is_replaced() {
    let (db, _) = one().await;
    let observer = raw(db.url()).await;
    let connection = db.connection().await.unwrap();
    let before = pid(&connection).await;
    batch(&connection, "BEGIN").await.unwrap();
    let sql = "SELECT pg_terminate_backend($1, 10000)";
    observer.execute(sql, &[&(before as i32)]).await.unwrap();
    drop(connection);
    works(&db, &observer).await;
    assert_ne!(pool_pid(&db).await, before);
    // Under load too: all of them.
    let db = Arc::new(database(4).await);
    let tasks: Vec<_> = (0..16)
        .map(|i| {
            let db = db.clone();
            tokio::spawn(async move {
                for j in 0..20 {
                    let connection = db.connection().await.unwrap();
                    let left = ["BEGIN", "BEGIN; SELECT 1 / 0", "SET ROLE pg_monitor", "SELECT 1"];
                    let _ = batch(&connection, left[(i + j) % 4]).await;
                    drop(connection);
                    db.users().create(&somebody()).await.unwrap();
                    tokio::time::sleep(Duration::from_micros(200)).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let observer = raw(db.url()).await;
    assert_eq!(committed(&observer).await, 320);
    let connection = db.connection().await.unwrap();
    assert_eq!(
        number(&connection, "SELECT (current_user <> session_user)::int::bigint AS n")
            .await
            .unwrap(),
        0
    );
}
