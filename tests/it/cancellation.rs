//! A future or stream dropped unfinished: the server stops, the connection is discarded, and whoever
//! comes next notices nothing.

mod chunks;
pub mod every_method;

use std::future::Future;
use std::time::Duration;

use buffetbot_db::Error;
use buffetbot_db::postgres::PgConnection;
use buffetbot_db::testing::TestDatabase;
use bytes::Bytes;
use diesel::sql_types::{BigInt, Double};
use diesel_async::RunQueryDsl;
use futures_util::{StreamExt, TryStreamExt};
use tokio_postgres::Client;

use crate::support::{
    GENEROUS, Number, active, batch, database, database_with, eventually, execute, number, pid,
    pool_pid, raw, somebody,
};

/// Far longer than a test waits: whoever does not cancel, fails.
const SLEEP: &str = "SELECT 1::bigint AS n FROM pg_sleep(600)";
/// Rows at once, more than buffers hold back, and then none for as long.
const MANY: &str =
    "SELECT g::bigint AS n, CASE WHEN g = 20000 THEN pg_sleep(600)::text END AS pause
                    FROM generate_series(1, 20000) g";

struct Watched {
    db: TestDatabase,
    observer: Client,
}

impl Watched {
    /// A database with a pool of one.
    async fn new() -> Self {
        // Without a limit that would stop the server in the end, cancelled or not.
        let db = database_with(|c| c.pool_size(1).statement_timeout(Duration::ZERO)).await;
        let observer = raw(db.url()).await;
        Watched { db, observer }
    }

    /// Polls `work` until the server is executing something, then drops it.
    async fn abandon<T>(&self, work: impl Future<Output = T>) {
        let busy = eventually("the server is at work", async || active(&self.observer).await > 0);
        tokio::select! {
            biased;
            _ = work => panic!("it was to be abandoned and has ended"),
            () = busy => {}
        }
    }

    /// The pool's only connection was replaced, and the server has stopped.
    async fn is_clean(&self, before: i64) {
        let next = tokio::time::timeout(GENEROUS, pool_pid(&self.db)).await.expect("no stall");
        assert_ne!(next, before, "the connection was discarded");
        eventually("the server stops", async || active(&self.observer).await == 0).await;
        // The next answers are the right ones.
        let connection = self.db.connection().await.unwrap();
        for n in 0..20 {
            let got = number(&connection, &format!("SELECT {n}::bigint AS n")).await.unwrap();
            assert_eq!(got, n);
        }
    }
}

#[tokio::test]
async fn a_dropped_execute() {
    let w = Watched::new().await;
    let before = pool_pid(&w.db).await;
    let connection = w.db.connection().await.unwrap();
    w.abandon(execute(&connection, SLEEP)).await;
    assert!(connection.is_discarded());
    let error = execute(&connection, "SELECT 1").await.unwrap_err();
    assert!(
        matches!(&error, Error::Unavailable { reason, .. } if reason.contains("discarded")),
        "{error:?}"
    );
    drop(connection);
    w.is_clean(before).await;
}

#[tokio::test]
async fn a_dropped_load() {
    let w = Watched::new().await;
    let before = pool_pid(&w.db).await;
    let connection = w.db.connection().await.unwrap();
    w.abandon(number(&connection, SLEEP)).await;
    let error = number(&connection, "SELECT 1::bigint AS n").await.unwrap_err();
    assert!(
        matches!(&error, Error::Unavailable { reason, .. } if reason.contains("discarded")),
        "{error:?}"
    );
    let error = batch(&connection, "SELECT 1").await.unwrap_err();
    assert!(matches!(&error, Error::Unavailable { .. }), "{error:?}");
    let error = connection.copy_out("COPY users TO STDOUT").await.err().unwrap();
    assert!(matches!(&error, Error::Unavailable { .. }), "{error:?}");
    drop(connection);
    w.is_clean(before).await;
}

#[tokio::test]
async fn a_dropped_batch() {
    let w = Watched::new().await;
    let before = pool_pid(&w.db).await;
    let connection = w.db.connection().await.unwrap();
    w.abandon(batch(&connection, "SELECT pg_sleep(600)")).await;
    drop(connection);
    w.is_clean(before).await;
}

#[tokio::test]
async fn a_statement_dropped_while_it_is_prepared() {
    let w = Watched::new().await;
    let before = pool_pid(&w.db).await;
    let locker = raw(w.db.url()).await;
    // Preparing waits for the lock.
    locker.batch_execute("BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let connection = w.db.connection().await.unwrap();
    let waiting = eventually("preparing waits", async || {
        let sql = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'
                   AND datname = current_database()";
        !w.observer.query(sql, &[]).await.unwrap().is_empty()
    });
    tokio::select! {
        biased;
        got = number(&connection, "SELECT count(*) AS n FROM users") => panic!("{got:?}"),
        () = waiting => {}
    }
    assert!(connection.is_discarded());
    drop(connection);
    locker.batch_execute("ROLLBACK").await.unwrap();
    w.is_clean(before).await;
}

#[tokio::test]
async fn a_stream_dropped_after_its_first_row() {
    let w = Watched::new().await;
    let before = pool_pid(&w.db).await;
    let connection = w.db.connection().await.unwrap();
    {
        let conn = &mut connection.as_diesel();
        let stream = diesel::sql_query(MANY).load_stream::<Number>(conn).await.unwrap();
        let mut stream = std::pin::pin!(stream);
        assert_eq!(stream.next().await.unwrap().unwrap().n, 1);
    }
    assert!(connection.is_discarded());
    drop(connection);
    w.is_clean(before).await;
}

#[tokio::test]
async fn a_copy_out_dropped_after_its_first_piece() {
    let w = Watched::new().await;
    let before = pool_pid(&w.db).await;
    let connection = w.db.connection().await.unwrap();
    let mut copy = connection.copy_out(&format!("COPY ({MANY}) TO STDOUT")).await.unwrap();
    assert_eq!(copy.try_next().await.unwrap().unwrap(), "1\t\\N\n");
    drop(copy);
    assert!(connection.is_discarded());
    drop(connection);
    w.is_clean(before).await;
}

#[tokio::test]
async fn a_copy_in_dropped_before_its_end() {
    let w = Watched::new().await;
    let connection = w.db.connection().await.unwrap();
    batch(&connection, "CREATE TABLE words (word text)").await.unwrap();
    let before = pid(&connection).await;
    let mut copy = connection.copy_in("COPY words FROM STDIN").await.unwrap();
    copy.send(Bytes::from("word\n".repeat(100_000))).await.unwrap();
    drop(copy);
    assert!(connection.is_discarded());
    drop(connection);
    w.is_clean(before).await;
    let connection = w.db.connection().await.unwrap();
    assert_eq!(number(&connection, "SELECT count(*) AS n FROM words").await.unwrap(), 0);
}

#[tokio::test]
async fn a_copy_in_dropped_inside_a_unit_undoes_the_unit() {
    let w = Watched::new().await;
    let unit = w.db.begin().await.unwrap();
    let user = unit.users().create(&somebody()).await.unwrap();
    {
        let connection = unit.connection().await.unwrap();
        let mut copy = connection.copy_in("COPY users (id) FROM STDIN").await.unwrap();
        copy.send(Bytes::from_static(b"half a row")).await.unwrap();
    }
    assert!(unit.users().find(user.id).await.is_err());
    assert!(unit.commit().await.is_err(), "nothing is left to be committed");
    assert!(!w.db.users().exists(user.id).await.unwrap());
}

#[tokio::test]
async fn a_unit_dropped_while_it_begins() {
    let w = Watched::new().await;
    pool_pid(&w.db).await;
    {
        let mut begin = std::pin::pin!(w.db.begin());
        assert!(futures_util::poll!(begin.as_mut()).is_pending());
    }
    let connection = w.db.connection().await.unwrap();
    let clock = "SELECT (extract(epoch FROM now()) * 1000000)::bigint AS n";
    let first = number(&connection, clock).await.unwrap();
    assert_ne!(number(&connection, clock).await.unwrap(), first, "no transaction is open");
}

#[tokio::test]
async fn a_commit_dropped_in_flight() {
    let w = Watched::new().await;
    let before = pool_pid(&w.db).await;
    let unit = w.db.begin().await.unwrap();
    let slow = "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN PERFORM pg_sleep(600); RETURN NULL; END $$;
                CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON users
                DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait()";
    batch(&unit.connection().await.unwrap(), slow).await.unwrap();
    let user = unit.users().create(&somebody()).await.unwrap();
    {
        let committing = eventually("the server commits", async || {
            let sql = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'
                       AND datname = current_database()";
            !w.observer.query(sql, &[]).await.unwrap().is_empty()
        });
        tokio::select! {
            biased;
            done = unit.commit() => panic!("{done:?}"),
            () = committing => {}
        }
    }
    w.is_clean(before).await;
    assert!(!w.db.users().exists(user.id).await.unwrap());
}

#[tokio::test]
async fn a_transaction_dropped_in_the_middle() {
    let w = Watched::new().await;
    let before = pool_pid(&w.db).await;
    let work = w.db.transaction(async |unit| {
        unit.users().create(&somebody()).await?;
        number(&*unit.connection().await?, SLEEP).await
    });
    let asleep = eventually("the transaction sleeps", async || {
        let sql = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'
                   AND datname = current_database()";
        !w.observer.query(sql, &[]).await.unwrap().is_empty()
    });
    tokio::select! {
        biased;
        done = work => panic!("{done:?}"),
        () = asleep => {}
    }
    w.is_clean(before).await;
    let connection = w.db.connection().await.unwrap();
    assert_eq!(number(&connection, "SELECT count(*) AS n FROM users").await.unwrap(), 0);
}

#[tokio::test]
async fn a_batch_of_rows_dropped_in_the_middle() {
    let w = Watched::new().await;
    let users: Vec<_> = (0..3_000).map(|_| somebody()).collect();
    for polls in 1..12 {
        // One step further each time: begin, savepoint, insert, release, ...
        let mut work = Box::pin(w.db.users().create_many(&users));
        for _ in 0..polls {
            if futures_util::poll!(work.as_mut()).is_ready() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(work);
        let connection = w.db.connection().await.unwrap();
        assert_eq!(number(&connection, "SELECT count(*) AS n FROM users").await.unwrap(), 0);
    }
    eventually("no transaction stays", async || active(&w.observer).await == 0).await;
}

#[tokio::test]
async fn one_row_of_a_few_leaves_the_connection_clean() {
    let w = Watched::new().await;
    let before = pool_pid(&w.db).await;
    let connection = w.db.connection().await.unwrap();
    let conn = &mut connection.as_diesel();
    for rows in [1, 2, 3, 10, 200] {
        let sql = format!("SELECT g::bigint AS n FROM generate_series(1, {rows}) g");
        let row: Number = diesel::sql_query(sql).get_result(conn).await.unwrap();
        assert_eq!(row.n, 1);
        assert!(!connection.is_discarded(), "all {rows} rows had arrived");
    }
    assert_eq!(pid(&connection).await, before);
}

#[tokio::test]
async fn an_error_behind_the_first_rows_comes_through_the_stream() {
    let w = Watched::new().await;
    let connection = w.db.connection().await.unwrap();
    let conn = &mut connection.as_diesel();
    let sql = "SELECT (1000 / (900 - g))::bigint AS n FROM generate_series(1, 1000) g";
    let stream = diesel::sql_query(sql).load_stream::<Number>(conn).await.unwrap();
    let rows: Vec<_> = stream.collect().await;
    assert_eq!(rows.len(), 900);
    assert!(rows[..899].iter().all(Result::is_ok));
    assert!(rows[899].is_err());
    assert!(!connection.is_discarded());
}

#[tokio::test]
async fn a_statement_dropped_outside_of_the_runtime_is_cancelled_too() {
    let w = Watched::new().await;
    let before = pool_pid(&w.db).await;
    let unit = w.db.begin().await.unwrap();
    let mut work = Box::pin(async move {
        let connection = unit.connection().await.unwrap();
        number(&connection, SLEEP).await
    });
    let asleep = eventually("the server is at work", async || {
        let sql = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'
                   AND datname = current_database()";
        !w.observer.query(sql, &[]).await.unwrap().is_empty()
    });
    tokio::select! {
        biased;
        _ = work.as_mut() => panic!("it sleeps"),
        () = asleep => {}
    }
    std::thread::spawn(move || drop(work)).join().unwrap();
    w.is_clean(before).await;
}

async fn doubled(connection: &PgConnection, n: i64, seconds: f64) -> Result<i64, Error> {
    let sql = "SELECT CASE WHEN pg_sleep($1) IS NULL THEN 0 ELSE $2 * 2 END AS n";
    let query = diesel::sql_query(sql).bind::<Double, _>(seconds).bind::<BigInt, _>(n);
    Ok(query.get_result::<Number>(&mut &*connection).await?.n)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_cancelled_calls_gives_no_wrong_answer() {
    let db = std::sync::Arc::new(database(4).await);
    let tasks: Vec<_> = (0..16i64)
        .map(|task| {
            let db = db.clone();
            tokio::spawn(async move {
                let (mut answered, mut cancelled) = (0, 0);
                for i in 0..30i64 {
                    let n = task * 1_000 + i;
                    let seconds = ((task * 7 + i * 13) % 40) as f64 / 4_000.0;
                    let call = async { doubled(&*db.connection().await?, n, seconds).await };
                    let limit = Duration::from_millis(5 + (i % 5) as u64 * 20);
                    match tokio::time::timeout(limit, call).await {
                        Ok(got) => {
                            assert_eq!(got.unwrap(), n * 2);
                            answered += 1;
                        }
                        Err(_) => cancelled += 1,
                    }
                }
                (answered, cancelled)
            })
        })
        .collect();
    let (mut answered, mut cancelled) = (0, 0);
    for task in tasks {
        let (a, c) = task.await.unwrap();
        answered += a;
        cancelled += c;
    }
    assert!(answered > 0 && cancelled > 0, "{answered} answered, {cancelled} cancelled");
    // The pool has all its places.
    let all = futures_util::future::join_all((0..4).map(|_| db.connection())).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(db.pool().state().in_use, 4);
    drop(all);
    let observer = raw(db.url()).await;
    eventually("the server is idle", async || active(&observer).await == 0).await;
}
