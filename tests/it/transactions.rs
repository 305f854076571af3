//! Transactions that run again: closures of every shape, collisions, plans made stale.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use buffetbot_db::users::{NewUser, User, UserFilter};
use buffetbot_db::{
    Database, Error, Isolation, Result, TransactionError, TransactionOptions, UnitOfWork,
};

use super::unit_of_work::{count, fail};
use crate::support::{batch, database, execute, number, somebody};

async fn make_two(unit: &UnitOfWork) -> Result<usize> {
    let made = unit.users().create_many(&[somebody(), somebody()]).await?;
    Ok(made.len())
}

#[async_trait]
trait Registration: Send + Sync {
    async fn register(&self, db: &Database, user: &NewUser) -> Result<User>;
}

struct WithPreferences {
    preferences: buffetbot_db::types::Document,
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
    assert_eq!(db.pool().state().retried, 4, "what succeeded in the end is counted");
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
        let options = TransactionOptions::default().isolation(isolation).read_only(false);
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
