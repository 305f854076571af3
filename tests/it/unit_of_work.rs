//! Transactions: one unit, its savepoints, and its end in every way.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use buffetbot_db::analyses::AnalysisFilter;
use buffetbot_db::error::Resource;
use buffetbot_db::market_cache::CacheFilter;
use buffetbot_db::prices::PriceBarFilter;
use buffetbot_db::testing::TestDatabase;
use buffetbot_db::types::{PageRequest, UserId};
use buffetbot_db::users::{NewUser, UserFilter};
use buffetbot_db::{Error, Repositories, Result, UnitOfWork};
use chrono::{DateTime, Utc};
use diesel::sql_types::{Array, Nullable, Text, Timestamptz};
use diesel_async::RunQueryDsl;

use crate::support::{
    active, batch, database, database_with, eventually, number, parsed, pool_pid, raw, somebody,
};

pub(super) async fn count(repositories: &impl Repositories) -> u64 {
    repositories.users().count(&UserFilter::default()).await.unwrap()
}

fn ended(error: &Error) -> bool {
    matches!(error, Error::Ended { .. })
}

/// Fails in the server, which aborts the transaction.
pub(super) async fn fail(unit: &UnitOfWork) -> Error {
    let connection = unit.connection().await.unwrap();
    number(&connection, "SELECT 1::bigint / 0 AS n").await.unwrap_err()
}

#[tokio::test]
async fn what_is_committed_stays_and_what_is_rolled_back_does_not() {
    let db = database(1).await;
    let unit = db.begin().await.unwrap();
    let kept = unit.users().create(&somebody()).await.unwrap();
    assert_eq!(count(&unit).await, 1);
    unit.commit().await.unwrap();
    let unit = db.begin().await.unwrap();
    unit.users().create(&somebody()).await.unwrap();
    unit.rollback().await.unwrap();
    assert_eq!(count(&**db).await, 1);
    assert_eq!(db.users().find(kept.id).await.unwrap(), Some(kept));
}

#[tokio::test]
async fn independent_statements_pipeline_also_in_a_spawned_task() {
    let db = Arc::new(database(1).await);
    let ids = db.users().create_many(&[somebody(), somebody()]).await.unwrap();
    let (a, b) = (ids[0].id, ids[1].id);
    let unit = db.begin().await.unwrap();
    let (x, y) = tokio::try_join!(unit.users().find(a), unit.users().find(b)).unwrap();
    assert_eq!((x.unwrap().id, y.unwrap().id), (a, b));
    unit.commit().await.unwrap();
    let task = {
        let db = db.clone();
        tokio::spawn(async move {
            let unit = db.begin().await?;
            let found = tokio::try_join!(unit.users().find(b), unit.users().find(a))?;
            unit.commit().await?;
            Ok::<_, Error>(found)
        })
    };
    let (x, y) = task.await.unwrap().unwrap();
    assert_eq!((x.unwrap().id, y.unwrap().id), (b, a));
}

#[tokio::test]
async fn pipelined_statements_are_sent_before_the_first_answer() {
    let db = database(1).await;
    let unit = db.begin().await.unwrap();
    let connection = unit.connection().await.unwrap();
    let order: Mutex<Vec<usize>> = Mutex::default();
    // The first statement waits for a lock that only this test can release.
    let holder = raw(db.url()).await;
    let wait = "SELECT 1::bigint AS n FROM pg_advisory_lock(7), pg_advisory_unlock(7)";
    let texts = [wait, "SELECT 2::bigint AS n", "SELECT 3::bigint AS n"];
    for text in texts {
        // Prepared ahead: preparing is a round trip of its own.
        number(&connection, text).await.unwrap();
    }
    holder.batch_execute("SELECT pg_advisory_lock(7)").await.unwrap();
    let statement = async |i: usize| {
        let n = number(&connection, texts[i]).await.unwrap();
        order.lock().unwrap().push(i);
        n
    };
    let release = async {
        eventually("the first statement waits", async || {
            let waiting = "SELECT 1 FROM pg_locks JOIN pg_database d ON d.oid = database
                           WHERE locktype = 'advisory' AND NOT granted
                           AND datname = current_database()";
            !holder.query(waiting, &[]).await.unwrap().is_empty()
        })
        .await;
        assert!(order.lock().unwrap().is_empty(), "nothing is answered yet");
        holder.batch_execute("SELECT pg_advisory_unlock(7)").await.unwrap();
    };
    let (a, b, c, ()) = tokio::join!(biased; statement(0), statement(1), statement(2), release);
    assert_eq!((a, b, c), (1, 2, 3));
    order.lock().unwrap().sort_unstable();
    assert_eq!(*order.lock().unwrap(), [0, 1, 2]);
}

#[tokio::test]
async fn a_repository_kept_after_the_end_says_that_it_has_ended() {
    let db = database(1).await;
    let unit = db.begin().await.unwrap();
    let kept = unit.users_arc();
    kept.create(&somebody()).await.unwrap();
    unit.commit().await.unwrap();
    assert!(ended(&kept.find(UserId::generate()).await.unwrap_err()));
    assert!(ended(&kept.create_many(&[somebody()]).await.unwrap_err()));
    let unit = db.begin().await.unwrap();
    let kept = unit.users_arc();
    drop(unit);
    assert!(ended(&kept.find(UserId::generate()).await.unwrap_err()));
    // It holds no connection: the pool of one still has its.
    assert_eq!(count(&**db).await, 1);
}

#[tokio::test]
async fn a_dropped_unit_is_rolled_back_and_its_connection_used_on() {
    let db = database(1).await;
    let before = pool_pid(&db).await;
    let unit = db.begin().await.unwrap();
    unit.users().create(&somebody()).await.unwrap();
    drop(unit);
    assert_eq!(count(&**db).await, 0);
    assert_eq!(pool_pid(&db).await, before, "a rollback costs no connection");
    // The next statements are transactions of their own: their clocks differ.
    let connection = db.connection().await.unwrap();
    let clock = "SELECT (extract(epoch FROM now()) * 1000000)::bigint AS n";
    let first = number(&connection, clock).await.unwrap();
    assert_ne!(number(&connection, clock).await.unwrap(), first);
}

#[tokio::test]
async fn commit_of_an_aborted_transaction_is_an_error_and_writes_nothing() {
    let db = database(1).await;
    let before = pool_pid(&db).await;
    let unit = db.begin().await.unwrap();
    unit.users().create(&somebody()).await.unwrap();
    fail(&unit).await;
    assert!(ended(&unit.users().find(UserId::generate()).await.unwrap_err()));
    assert!(ended(&unit.commit().await.unwrap_err()));
    assert_eq!(count(&**db).await, 0);
    assert_eq!(pool_pid(&db).await, before);
    // As the last act of a retried transaction too.
    let result = db
        .transaction(async |unit| {
            unit.users().create(&somebody()).await?;
            fail(unit).await;
            Ok::<_, Error>(())
        })
        .await;
    assert!(ended(&result.unwrap_err()));
    assert_eq!(count(&**db).await, 0);
}

#[tokio::test]
async fn a_constraint_checked_at_commit_refuses_it() {
    let db = database(1).await;
    let connection = db.connection().await.unwrap();
    let setup =
        "CREATE TABLE late (id int CONSTRAINT late_key UNIQUE DEFERRABLE INITIALLY DEFERRED)";
    batch(&connection, setup).await.unwrap();
    drop(connection);
    let before = pool_pid(&db).await;
    let unit = db.begin().await.unwrap();
    let insert = "INSERT INTO late VALUES (1), (1)";
    batch(&unit.connection().await.unwrap(), insert).await.unwrap();
    let error = unit.commit().await.unwrap_err();
    assert!(
        matches!(&error, Error::Conflict { constraint, .. } if constraint == "late_key"),
        "{error:?}"
    );
    let connection = db.connection().await.unwrap();
    assert_eq!(number(&connection, "SELECT count(*) AS n FROM late").await.unwrap(), 0);
    drop(connection);
    assert_eq!(pool_pid(&db).await, before);
}

#[tokio::test]
async fn of_a_failing_join_the_first_error_survives() {
    let db = database(1).await;
    let good = "SELECT 1::bigint AS n";
    let raise = "DO $$ BEGIN RAISE EXCEPTION 'collision' USING ERRCODE = '40001'; END $$";
    for round in 0..40 {
        let unit = db.begin().await.unwrap();
        let connection = unit.connection().await.unwrap();
        number(&connection, good).await.unwrap();
        // The second only learns that the first has failed; both answers come at once.
        let ahead = async { batch(&connection, raise).await.map(|()| 0) };
        let joined = tokio::try_join!(ahead, number(&connection, good), async {
            number(&connection, good).await
        });
        let error = joined.unwrap_err();
        assert!(error.is_retryable(), "round {round}: {error:?}");
        drop(connection);
        drop(unit);
    }
}

#[tokio::test]
async fn a_failing_join_cancels_the_sibling_with_its_connection() {
    let db = database_with(|c| c.pool_size(1).statement_timeout(Duration::ZERO)).await;
    let observer = raw(db.url()).await;
    let asleep = async || {
        let sql = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'
                   AND datname = current_database()";
        !observer.query(sql, &[]).await.unwrap().is_empty()
    };
    let unit = db.begin().await.unwrap();
    let connection = unit.connection().await.unwrap();
    let joined = tokio::try_join!(
        async {
            eventually("the sibling is at work", asleep).await;
            "no id".parse::<UserId>()
        },
        number(&connection, "SELECT 1::bigint AS n FROM pg_sleep(600)"),
    );
    assert!(matches!(joined, Err(Error::Invalid { .. })), "{joined:?}");
    drop(connection);
    drop(unit);
    // The pool of one goes on at once, the sleeper is stopped.
    assert_eq!(count(&**db).await, 0);
    eventually("the server has stopped the sibling", async || !asleep().await).await;
}

#[tokio::test]
async fn a_savepoint_undoes_only_itself() {
    let db = database(1).await;
    let unit = db.begin().await.unwrap();
    let first = unit.users().create(&somebody()).await.unwrap();
    let twin = NewUser {
        id: UserId::generate(),
        ..NewUser::new(first.email.clone(), crate::support::hash())
    };
    let result = unit
        .savepoint(async |unit| {
            unit.users().create(&somebody()).await?;
            unit.users().create(&twin).await
        })
        .await;
    assert!(matches!(result, Err(Error::Conflict { .. })), "{result:?}");
    let second = unit.savepoint(async |unit| unit.users().create(&somebody()).await).await.unwrap();
    unit.commit().await.unwrap();
    assert_eq!(count(&**db).await, 2);
    assert!(db.users().exists(first.id).await.unwrap());
    assert!(db.users().exists(second.id).await.unwrap());
}

#[tokio::test]
async fn savepoints_nest() {
    let db = database(1).await;
    let unit = db.begin().await.unwrap();
    let result = unit
        .savepoint(async |unit| {
            unit.users().create(&somebody()).await?;
            let inner = unit
                .savepoint(async |unit| {
                    unit.users().create(&somebody()).await?;
                    fail(unit).await;
                    // The failure was swallowed, but not by the server.
                    Ok::<_, Error>(())
                })
                .await;
            assert!(ended(&inner.unwrap_err()));
            unit.savepoint(async |unit| unit.users().create(&somebody()).await).await
        })
        .await;
    result.unwrap();
    unit.commit().await.unwrap();
    assert_eq!(count(&**db).await, 2);
}

#[tokio::test]
async fn a_dropped_savepoint_is_undone() {
    let db = database(1).await;
    let unit = db.begin().await.unwrap();
    unit.users().create(&somebody()).await.unwrap();
    let (reached, wait) = tokio::sync::oneshot::channel();
    let reached = Mutex::new(Some(reached));
    {
        let savepoint = unit.savepoint(async |unit| {
            unit.users().create(&somebody()).await?;
            let _ = reached.lock().unwrap().take().unwrap().send(());
            std::future::pending::<Result<()>>().await
        });
        tokio::select! {
            _ = savepoint => unreachable!("it waits for ever"),
            _ = wait => {}
        }
    }
    assert_eq!(count(&unit).await, 1);
    unit.commit().await.unwrap();
    assert_eq!(count(&**db).await, 1);
}

#[tokio::test]
async fn a_batch_inside_a_unit_is_a_savepoint_of_its_own() {
    let db = database(1).await;
    let unit = db.begin().await.unwrap();
    let taken = unit.users().create(&somebody()).await.unwrap();
    let twin =
        NewUser { id: UserId::generate(), ..NewUser::new(taken.email, crate::support::hash()) };
    let result = unit.users().create_many(&[somebody(), twin]).await;
    assert!(matches!(result, Err(Error::Item { index: 1, .. })), "{result:?}");
    assert_eq!(count(&unit).await, 1, "the unit goes on");
    unit.commit().await.unwrap();
    assert_eq!(count(&**db).await, 1);
}

#[tokio::test]
async fn nothing_runs_between_the_statements_of_a_batch() {
    let db = database(1).await;
    let unit = db.begin().await.unwrap();
    let users: Vec<NewUser> = (0..1_200).map(|_| somebody()).collect();
    // A count in between would see some of a batch, and a failure of it would hit the batch.
    let batch = unit.users().create_many(&users);
    let counts = async {
        let mut seen = Vec::new();
        for _ in 0..50 {
            seen.push(unit.users().count(&UserFilter::default()).await?);
            tokio::task::yield_now().await;
        }
        Ok::<_, Error>(seen)
    };
    let (stored, seen) = tokio::try_join!(batch, counts).unwrap();
    assert_eq!(stored.len(), 1_200);
    assert!(seen.iter().all(|n| [0, 1_200].contains(n)), "{seen:?}");
    unit.commit().await.unwrap();
}

#[tokio::test]
async fn a_connection_held_too_long_is_busy_and_no_deadlock() {
    let db = TestDatabase::with(|c| c.pool_size(1).pool_timeout(Duration::from_millis(200))).await;
    let db = db.unwrap();
    let unit = db.begin().await.unwrap();
    let borrowed = unit.connection().await.unwrap();
    let error = unit.users().create_many(&[somebody()]).await.unwrap_err();
    assert!(matches!(&error, Error::Busy { resource: Resource::UnitOfWork, .. }), "{error:?}");
    drop(borrowed);
    unit.users().create_many(&[somebody()]).await.unwrap();
    unit.commit().await.unwrap();
    assert_eq!(count(&**db).await, 1);
}

#[tokio::test]
async fn a_unit_dropped_while_another_task_works_in_it_is_rolled_back() {
    let db = database(1).await;
    let observer = raw(db.url()).await;
    let unit = db.begin().await.unwrap();
    let users = unit.users_arc();
    users.create(&somebody()).await.unwrap();
    let many: Vec<NewUser> = (0..5_000).map(|_| somebody()).collect();
    // The batch holds the connection for itself, so the drop cannot take it.
    let (started, wait) = tokio::sync::oneshot::channel();
    let batch = tokio::spawn(async move {
        let mut work = Box::pin(users.create_many(&many));
        assert!(futures_util::poll!(work.as_mut()).is_pending());
        let _ = started.send(());
        drop(work.await);
        users
    });
    wait.await.unwrap();
    drop(unit);
    let users = batch.await.unwrap();
    assert!(ended(&users.find(UserId::generate()).await.unwrap_err()));
    drop(users);
    assert_eq!(count(&**db).await, 0);
    assert_eq!(active(&observer).await, 0, "no transaction is left open in the pool");
}

#[tokio::test]
async fn b9_a_refused_argument_of_a_read_leaves_the_unit_as_it_was() {
    let db = database(1).await;
    let unit = db.begin().await.unwrap();
    unit.users().create(&somebody()).await.unwrap();
    let page = PageRequest::first(10);
    let nul = "a\0b";
    let analyses = AnalysisFilter::default().strategy(nul);
    let entries = CacheFilter::default().data_source(nul);
    let bars = PriceBarFilter::default().data_source(nul);
    let refused = [
        unit.analyses().list(&analyses, &page).await.map(drop),
        unit.market_cache().list(&entries, &page).await.map(drop),
        unit.prices().list(&bars, &page).await.map(drop),
        unit.users().find_by_email("a\0b").await.map(drop),
        unit.users().find_by_username("a\0b").await.map(drop),
    ];
    for (n, answer) in refused.into_iter().enumerate() {
        assert!(matches!(answer, Err(Error::Invalid { .. })), "{n}: {answer:?}");
    }
    let day = chrono::NaiveDate::from_ymd_opt(2024, 1, 2).unwrap();
    for at in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC] {
        let answer = unit.prices().range_as_of(&[parsed("A")], day, day, at).await;
        assert!(matches!(answer, Ok(_) | Err(Error::Invalid { .. })), "{answer:?}");
    }
    // A list of values is looked at value by value.
    let connection = unit.connection().await.unwrap();
    let texts = diesel::sql_query("SELECT cardinality($1)::BIGINT AS n")
        .bind::<Array<Nullable<Text>>, _>(vec![Some("a"), None, Some("b\0")]);
    let answer = RunQueryDsl::execute(texts, &mut &*connection).await.map_err(Error::from);
    assert!(matches!(answer, Err(Error::Invalid { .. })), "{answer:?}");
    let days = diesel::sql_query("SELECT cardinality($1)::BIGINT AS n")
        .bind::<Array<Timestamptz>, _>(vec![DateTime::<Utc>::UNIX_EPOCH, DateTime::<Utc>::MIN_UTC]);
    let answer = RunQueryDsl::execute(days, &mut &*connection).await.map_err(Error::from);
    assert!(matches!(answer, Err(Error::Invalid { .. })), "{answer:?}");
    drop(connection);
    assert_eq!(count(&unit).await, 1);
    unit.commit().await.unwrap();
    assert_eq!(count(&**db).await, 1);
}
