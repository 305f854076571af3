//! Transactions: one unit, its savepoints, its end in every way, and its repetition.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use buffetbot_db::testing::TestDatabase;
use buffetbot_db::{
    Database, Error, Isolation, NewUser, Repositories, Result, TransactionError,
    TransactionOptions, UnitOfWork, User, UserFilter, UserId, UserRepository,
};

use crate::support::{
    active, batch, database, eventually, execute, number, pool_pid, raw, somebody,
};

async fn count(repositories: &impl Repositories) -> u64 {
    repositories.users().count(&UserFilter::default()).await.unwrap()
}

fn ended(error: &Error) -> bool {
    matches!(error, Error::Ended { .. })
}

/// Fails in the server, which aborts the transaction.
async fn fail(unit: &UnitOfWork) -> Error {
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
    let kept = unit.users().clone();
    kept.create(&somebody()).await.unwrap();
    unit.commit().await.unwrap();
    assert!(ended(&kept.find(UserId::generate()).await.unwrap_err()));
    assert!(ended(&kept.create_many(&[somebody()]).await.unwrap_err()));
    let unit = db.begin().await.unwrap();
    let kept = unit.users().clone();
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
    let db = database(1).await;
    let (bad, slow) = ("SELECT 1::bigint / $1 AS n", "SELECT 1::bigint AS n FROM pg_sleep(60)");
    let result = db
        .transaction(async |unit| {
            let connection = unit.connection().await?;
            let bad = async {
                number(&connection, &bad.replace("$1", "0")).await?;
                Ok::<_, Error>(())
            };
            let slow = async {
                // Sent when the first has failed at the server, in a savepoint that lets it run.
                batch(&connection, "ROLLBACK TO SAVEPOINT here").await?;
                number(&connection, slow).await?;
                Ok(())
            };
            batch(&connection, "SAVEPOINT here").await?;
            tokio::try_join!(biased; bad, slow)
        })
        .await;
    let error = result.unwrap_err();
    assert!(matches!(&error, Error::Database { sqlstate, .. } if sqlstate == "22012"), "{error:?}");
    // The pool of one goes on at once, the sleeper is stopped.
    assert_eq!(count(&**db).await, 0);
    let observer = raw(db.url()).await;
    eventually("the server has stopped the sibling", async || active(&observer).await == 0).await;
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
    assert!(
        matches!(&error, Error::Busy { resource, .. } if resource.contains("unit of work")),
        "{error:?}"
    );
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
    let users = unit.users().clone();
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

async fn make_two(unit: &UnitOfWork) -> Result<usize> {
    let made = unit.users().create_many(&[somebody(), somebody()]).await?;
    Ok(made.len())
}

#[async_trait]
trait Registration: Send + Sync {
    async fn register(&self, db: &Database, user: &NewUser) -> Result<User>;
}

struct WithPreferences {
    preferences: buffetbot_db::Document,
}

#[async_trait]
impl Registration for WithPreferences {
    async fn register(&self, db: &Database, user: &NewUser) -> Result<User> {
        db.transaction(async |unit| {
            let made = unit.users().create(user).await?;
            unit.users().set_preferences(made.id, Some(&self.preferences)).await?;
            unit.users().verify(made.id).await
        })
        .await
    }
}

#[tokio::test]
async fn transactions_take_closures_of_every_shape() {
    let db = Arc::new(database(2).await);
    // Borrowing locals.
    let users = vec![somebody(), somebody()];
    let made = db.transaction(async |unit| unit.users().create_many(&users).await).await.unwrap();
    assert_eq!(made.len(), users.len());
    // A named function.
    assert_eq!(db.transaction(make_two).await.unwrap(), 2);
    // Inside an async trait's method, behind dyn.
    let preferences = serde_json::json!({"theme": "dark"}).try_into().unwrap();
    let service: Arc<dyn Registration> = Arc::new(WithPreferences { preferences });
    assert!(service.register(&db, &somebody()).await.unwrap().is_verified);
    // In a spawned task, with generic code and a join inside.
    let task = {
        let (db, id) = (db.clone(), made[0].id);
        tokio::spawn(async move {
            let (local, everybody) = (String::from("borrowed"), UserFilter::default());
            db.transaction(async |unit| {
                let (user, all) =
                    tokio::try_join!(unit.users().find(id), unit.users().count(&everybody))?;
                assert_eq!(count(unit).await, all);
                Ok::<_, Error>((user.is_some(), all, local.len()))
            })
            .await
        })
    };
    assert_eq!(task.await.unwrap().unwrap(), (true, 5, 8));
}

#[derive(Debug, thiserror::Error)]
enum AppError {
    #[error("too few")]
    TooFew,
    #[error(transparent)]
    Database(#[from] Error),
}

impl TransactionError for AppError {
    fn is_retryable(&self) -> bool {
        matches!(self, AppError::Database(e) if e.is_retryable())
    }
}

#[tokio::test]
async fn transactions_take_the_callers_error_types() {
    let db = database(1).await;
    let result = db
        .transaction(async |unit| {
            unit.users().create(&somebody()).await?;
            if count(unit).await < 2 { Err(AppError::TooFew) } else { Ok(()) }
        })
        .await;
    assert!(matches!(result, Err(AppError::TooFew)), "{result:?}");
    assert_eq!(count(&**db).await, 0, "the caller's error rolls back too");
    let result = db
        .transaction(async |unit| {
            unit.users().create(&somebody()).await?;
            let number: u32 = "no number".parse()?;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(number)
        })
        .await;
    assert!(result.unwrap_err().downcast_ref::<std::num::ParseIntError>().is_some());
    assert_eq!(count(&**db).await, 0);
}

#[tokio::test]
async fn collisions_are_retried_whatever_error_type_carries_them() {
    let db = database(1).await;
    let raise = |code: &str| {
        format!("DO $$ BEGIN RAISE EXCEPTION 'collision' USING ERRCODE = '{code}'; END $$")
    };
    for code in ["40001", "40P01"] {
        let runs = AtomicU32::new(0);
        let result = db
            .transaction(async |unit| {
                unit.users().create(&somebody()).await?;
                if runs.fetch_add(1, Ordering::Relaxed) < 2 {
                    batch(&*unit.connection().await?, &raise(code)).await?;
                }
                Ok::<_, AppError>(())
            })
            .await;
        result.unwrap();
        assert_eq!(runs.into_inner(), 3, "{code}");
    }
    assert_eq!(count(&**db).await, 2, "only what the last runs wrote");
    // It gives up in the end, with the collision.
    let runs = AtomicU32::new(0);
    let result = db
        .transaction(async |unit| {
            runs.fetch_add(1, Ordering::Relaxed);
            batch(&*unit.connection().await?, &raise("40001")).await
        })
        .await;
    assert!(result.unwrap_err().is_retryable());
    assert_eq!(runs.into_inner(), 6);
    // And repeats nothing else.
    let runs = AtomicU32::new(0);
    let result = db
        .transaction(async |unit| {
            runs.fetch_add(1, Ordering::Relaxed);
            Err::<(), _>(fail(unit).await)
        })
        .await;
    assert!(!result.unwrap_err().is_retryable());
    assert_eq!(runs.into_inner(), 1);
}

const ACCOUNTS: &str = "CREATE TABLE accounts (id bigint PRIMARY KEY, n bigint NOT NULL);
                        INSERT INTO accounts VALUES (1, 0), (2, 0)";

async fn add(unit: &UnitOfWork, id: i64) -> Result<()> {
    let update = format!("UPDATE accounts SET n = n + 1 WHERE id = {id}");
    execute(&*unit.connection().await?, &update).await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread")]
async fn real_deadlocks_and_serialization_failures_are_retried_until_all_is_done() {
    let db = Arc::new(database(4).await);
    let connection = db.connection().await.unwrap();
    batch(&connection, ACCOUNTS).await.unwrap();
    let fast = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET deadlock_timeout = 10', current_database()); END $$";
    batch(&connection, fast).await.unwrap();
    // New connections have the setting; this one, the only one yet, is given up.
    let _ = number(&connection, "SELECT pg_terminate_backend(pg_backend_pid())::int::bigint AS n")
        .await;
    drop(connection);
    let runs = Arc::new(AtomicU32::new(0));
    let (workers, rounds) = (4, 8);
    for isolation in [Isolation::ReadCommitted, Isolation::Serializable] {
        let options = TransactionOptions { isolation, read_only: false };
        let tasks = (0..workers).map(|worker| {
            let (db, runs) = (db.clone(), runs.clone());
            tokio::spawn(async move {
                // In opposite orders, so that they meet.
                let order = if worker % 2 == 0 { [1, 2] } else { [2, 1] };
                let mut done = 0;
                while done < rounds {
                    let result = db
                        .transaction_with(options, async |unit| {
                            runs.fetch_add(1, Ordering::Relaxed);
                            for id in order {
                                add(unit, id).await?;
                                tokio::time::sleep(Duration::from_millis(1)).await;
                            }
                            Ok::<_, Error>(())
                        })
                        .await;
                    match result {
                        Ok(()) => done += 1,
                        // Six collisions in a row can happen to a pair as stubborn as this one.
                        Err(e) => assert!(e.is_retryable(), "{e:?}"),
                    }
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
    }
    let connection = db.connection().await.unwrap();
    let sum = number(&connection, "SELECT sum(n)::bigint AS n FROM accounts").await.unwrap();
    assert_eq!(sum, 2 * 2 * workers * rounds);
    let runs = i64::from(runs.load(Ordering::Relaxed));
    assert!(runs > 2 * workers * rounds, "nothing collided: the test proves nothing");
}

#[tokio::test]
async fn a_plan_made_stale_is_retryable_inside_a_transaction() {
    let db = database(2).await;
    let setup = db.connection().await.unwrap();
    batch(&setup, "CREATE TABLE sizes (n int); INSERT INTO sizes VALUES (7)").await.unwrap();
    let worker = db.connection().await.unwrap();
    let all = "SELECT *, n::bigint AS m FROM sizes";
    execute(&worker, all).await.unwrap();
    // The pool lends the last connection that came back: the one with the plan.
    drop(worker);
    let runs = AtomicU32::new(0);
    let result = db
        .transaction(async |unit| {
            if runs.fetch_add(1, Ordering::Relaxed) == 0 {
                batch(&setup, "ALTER TABLE sizes ALTER n TYPE bigint").await?;
            }
            let result = execute(&*unit.connection().await?, all).await;
            if let Err(e) = &result {
                assert!(matches!(e, Error::Retryable { sqlstate } if sqlstate == "0A000"), "{e:?}");
            }
            result
        })
        .await;
    assert_eq!(result.unwrap(), 1);
    assert_eq!(runs.into_inner(), 2, "the first run met the stale plan");
}
