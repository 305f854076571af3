//! A6: before its next statement a unit of work notices that SQL beside its repositories ended its transaction
//! or changed in whose name it runs.

use buffetbot_db::portfolios::NewPortfolio;
use buffetbot_db::testing::TestDatabase;
use buffetbot_db::types::{PageRequest, RiskTolerance};
use buffetbot_db::users::{User, UserFilter};
use buffetbot_db::{Error, Result, UnitOfWork};
use futures_util::TryStreamExt;

use super::works;
use crate::support::{batch, database, execute, number, parsed, raw, user};

struct Two {
    db: TestDatabase,
    ada: User,
    bob: User,
    observer: tokio_postgres::Client,
}

impl Two {
    async fn new() -> Self {
        let db = database(1).await;
        db.create_roles().await.expect("roles");
        let (ada, bob) = (user(&*db, "ada@example.com").await, user(&*db, "bob@example.com").await);
        let observer = raw(db.url()).await;
        Two { db, ada, bob, observer }
    }

    async fn portfolios(&self) -> i64 {
        let sql = "SELECT count(*) FROM public.portfolios";
        self.observer.query_one(sql, &[]).await.expect("counted").get(0)
    }

    fn new_portfolio(&self, owner: &User, name: &str) -> NewPortfolio {
        NewPortfolio::new(owner.id, name, RiskTolerance::Moderate)
    }

    /// SQL that leaves another transaction, or nothing of the first.
    fn ending(&self) -> Vec<String> {
        let (ada, bob) = (self.ada.id, self.bob.id);
        let named = "SET LOCAL ROLE buffetbot_app; SET LOCAL buffetbot.user_id";
        [
            "COMMIT",
            "ROLLBACK",
            "END",
            "COMMIT; BEGIN",
            "ROLLBACK; BEGIN",
            "COMMIT AND CHAIN",
            "ROLLBACK AND CHAIN",
            "COMMIT; BEGIN ISOLATION LEVEL SERIALIZABLE",
        ]
        .map(str::to_owned)
        .into_iter()
        .chain([
            format!("COMMIT; BEGIN; {named} = '{ada}'"),
            format!("COMMIT; BEGIN; {named} = '{bob}'"),
            format!("ROLLBACK; SET ROLE buffetbot_app; SET buffetbot.user_id = '{ada}'"),
        ])
        .collect()
    }

    /// SQL that leaves the transaction, but as somebody else or with other tables.
    fn renaming(&self) -> Vec<String> {
        let bob = self.bob.id;
        [
            "RESET ROLE",
            "SET LOCAL ROLE NONE",
            "SET ROLE NONE",
            "SET ROLE buffetbot_maintenance",
            "SET SESSION AUTHORIZATION DEFAULT",
            "SELECT set_config('role', 'none', true)",
            "RESET buffetbot.user_id",
            "RESET ALL",
            "SET LOCAL search_path = nowhere",
            "SET search_path = pg_temp, public",
            "SELECT set_config('search_path', 'public', true)",
            "SAVEPOINT a; RESET ROLE; RELEASE SAVEPOINT a",
        ]
        .map(str::to_owned)
        .into_iter()
        .chain([
            format!("SET LOCAL buffetbot.user_id = '{bob}'"),
            format!("SET buffetbot.user_id = '{bob}'"),
            format!("SELECT set_config('buffetbot.user_id', '{bob}', true)"),
        ])
        .collect()
    }
}

const METHODS: [&str; 9] = [
    "find",
    "list",
    "create",
    "create_many",
    "stream",
    "savepoint",
    "connection",
    "commit",
    "rollback",
];

/// Calls one method of a unit of work; what it says.
async fn call(two: &Two, unit: UnitOfWork, method: &str) -> Result<()> {
    let new = two.new_portfolio(&two.bob, "Taken");
    match method {
        "find" => unit.users().find(two.bob.id).await.map(|_| ()),
        "list" => {
            let page = PageRequest::first(10);
            unit.users().list(&UserFilter::default(), &page).await.map(|_| ())
        }
        "create" => unit.portfolios().create(&new).await.map(|_| ()),
        "create_many" => unit.portfolios().create_many(&[new]).await.map(|_| ()),
        "stream" => {
            let (from, to) = (parsed("2024-01-01"), parsed("2024-02-01"));
            let stream = unit.prices().stream_range(&[parsed("AAPL")], from, to);
            stream.try_collect::<Vec<_>>().await.map(|_| ())
        }
        "savepoint" => {
            unit.savepoint(async |unit| unit.portfolios().create(&new).await).await.map(|_| ())
        }
        "connection" => unit.connection().await.map(|_| ()),
        "commit" => unit.commit().await,
        "rollback" => unit.rollback().await,
        other => panic!("{other}"),
    }
}

fn is_ended(result: &Result<()>) -> bool {
    matches!(result, Err(Error::Ended { reason }) if reason.contains("SQL"))
}

#[tokio::test]
async fn a6_every_method_of_a_users_unit_notices_what_was_changed() {
    let two = Two::new().await;
    let scope = two.db.as_user(two.ada.id);
    for (sql, ends) in two
        .ending()
        .into_iter()
        .map(|sql| (sql, true))
        .chain(two.renaming().into_iter().map(|sql| (sql, false)))
    {
        for method in METHODS {
            let unit = scope.begin().await.unwrap();
            batch(&unit.connection().await.unwrap(), &sql).await.unwrap();
            let said = call(&two, unit, method).await;
            if method == "rollback" && !ends {
                // Everything is undone, as asked.
                assert!(said.is_ok() || is_ended(&said), "{sql}, {method}: {said:?}");
            } else {
                assert!(is_ended(&said), "{sql}, {method}: {said:?}");
            }
            assert_eq!(two.portfolios().await, 0, "{sql}, {method}: nothing ran");
        }
    }
    assert_eq!(scope.users().count(&UserFilter::default()).await.unwrap(), 1);
    works(&two.db, &two.observer).await;
}

#[tokio::test]
async fn a6_so_does_a_unit_in_nobodys_name() {
    let two = Two::new().await;
    let renaming = [
        "SET ROLE buffetbot_app",
        "SET LOCAL ROLE buffetbot_app",
        "SET SESSION AUTHORIZATION buffetbot_app",
        "SET search_path = nowhere",
        "RESET search_path",
    ];
    for sql in two.ending().into_iter().chain(renaming.map(str::to_owned)) {
        for method in METHODS {
            let unit = two.db.begin().await.unwrap();
            batch(&unit.connection().await.unwrap(), &sql).await.unwrap();
            let said = call(&two, unit, method).await;
            let may_be_undone = method == "rollback" && renaming.contains(&&*sql);
            assert!(
                is_ended(&said) || (may_be_undone && said.is_ok()),
                "{sql}, {method}: {said:?}"
            );
            assert_eq!(two.portfolios().await, 0, "{sql}, {method}: nothing ran");
        }
    }
    works(&two.db, &two.observer).await;
}

#[tokio::test]
async fn a6_what_was_noticed_ends_the_unit_for_good() {
    let two = Two::new().await;
    let unit = two.db.as_user(two.ada.id).begin().await.unwrap();
    let kept = unit.users_arc();
    unit.portfolios().create(&two.new_portfolio(&two.ada, "Undone")).await.unwrap();
    batch(&unit.connection().await.unwrap(), "RESET ROLE").await.unwrap();
    for _ in 0..3 {
        assert!(is_ended(&unit.users().find(two.bob.id).await.map(|_| ())));
        assert!(is_ended(&unit.connection().await.map(|_| ())));
        assert!(is_ended(&kept.find(two.bob.id).await.map(|_| ())));
    }
    assert!(is_ended(&unit.commit().await));
    assert_eq!(two.portfolios().await, 0, "rolled back");
    works(&two.db, &two.observer).await;
}

#[tokio::test]
async fn a6_a_held_connection_is_watched_too() {
    let two = Two::new().await;
    let unit = two.db.as_user(two.ada.id).begin().await.unwrap();
    let connection = unit.connection().await.unwrap();
    number(&connection, "SELECT 1::bigint AS n").await.unwrap();
    assert!(unit.users().find(two.ada.id).await.unwrap().is_some());
    execute(&connection, "RESET ROLE").await.unwrap();
    assert!(is_ended(&unit.users().find(two.bob.id).await.map(|_| ())));
}

#[tokio::test]
async fn a6_a_statement_beside_sql_that_changes_the_role_shows_nothing() {
    let two = Two::new().await;
    for sql in ["RESET ROLE", "COMMIT"] {
        for first in [false, true] {
            for _ in 0..20 {
                let unit = two.db.as_user(two.ada.id).begin().await.unwrap();
                let connection = unit.connection().await.unwrap();
                let own = async { execute(&connection, sql).await };
                let read = async { unit.users().find(two.bob.id).await };
                let (_, found) = match first {
                    true => tokio::join!(biased; own, read),
                    false => {
                        let (found, own) = tokio::join!(biased; read, own);
                        (own, found)
                    }
                };
                assert!(!matches!(found, Ok(Some(_))), "{sql}: {found:?}");
            }
        }
    }
}

#[tokio::test]
async fn a6_sql_that_changes_neither_lets_the_unit_go_on() {
    let two = Two::new().await;
    let scope = two.db.as_user(two.ada.id);
    for sql in [
        "SELECT 1",
        "SET LOCAL statement_timeout = '30s'",
        "SET statement_timeout = '30s'",
        "SAVEPOINT a; SET LOCAL ROLE NONE; ROLLBACK TO SAVEPOINT a",
        "SET CONSTRAINTS ALL DEFERRED",
        "SAVEPOINT a; SELECT 1; RELEASE SAVEPOINT a",
    ] {
        let before = two.portfolios().await;
        let unit = scope.begin().await.unwrap();
        unit.portfolios().create(&two.new_portfolio(&two.ada, &format!("{sql} 1"))).await.unwrap();
        batch(&unit.connection().await.unwrap(), sql).await.unwrap();
        unit.portfolios().create(&two.new_portfolio(&two.ada, &format!("{sql} 2"))).await.unwrap();
        batch(&unit.connection().await.unwrap(), "SELECT 1").await.unwrap();
        unit.commit().await.unwrap();
        assert_eq!(two.portfolios().await, before + 2, "{sql}");
    }
}

#[tokio::test]
async fn a6_own_sql_in_savepoints() {
    let two = Two::new().await;
    let unit = two.db.as_user(two.ada.id).begin().await.unwrap();
    // An error of one's own SQL undoes the savepoint and nothing else.
    let failed = unit
        .savepoint(async |unit| {
            unit.portfolios().create(&two.new_portfolio(&two.ada, "Undone")).await?;
            batch(&*unit.connection().await?, "RESET ROLE; SELECT 1 / 0").await
        })
        .await;
    assert!(
        matches!(&failed, Err(Error::Database { sqlstate, .. }) if sqlstate == "22012"),
        "{failed:?}"
    );
    // A role that a savepoint undoes is the first again.
    let refused: Result<()> = unit
        .savepoint(async |unit| {
            batch(&*unit.connection().await?, "RESET ROLE").await?;
            Err(Error::Cancelled)
        })
        .await;
    assert!(matches!(refused, Err(Error::Cancelled)), "{refused:?}");
    assert!(unit.users().find(two.bob.id).await.unwrap().is_none());
    // A swallowed error of it is told.
    let swallowed = unit
        .savepoint(async |unit| {
            let _ = batch(&*unit.connection().await?, "SELECT 1 / 0").await;
            Ok::<_, Error>(())
        })
        .await;
    assert!(matches!(swallowed, Err(Error::Ended { .. })), "{swallowed:?}");
    unit.portfolios().create(&two.new_portfolio(&two.ada, "Kept")).await.unwrap();
    // What is changed and kept is noticed at its end.
    let changed =
        unit.savepoint(async |unit| batch(&*unit.connection().await?, "RESET ROLE").await).await;
    assert!(is_ended(&changed), "{changed:?}");
    assert!(is_ended(&unit.commit().await));
    assert_eq!(two.portfolios().await, 0);
    works(&two.db, &two.observer).await;
}

#[tokio::test]
async fn a6_a_retried_transaction_is_not_run_again_for_it() {
    let two = Two::new().await;
    let runs = std::sync::atomic::AtomicU32::new(0);
    let result = two
        .db
        .transaction(async |unit| {
            runs.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            batch(&*unit.connection().await?, "COMMIT").await
        })
        .await;
    assert!(is_ended(&result), "{result:?}");
    assert_eq!(runs.into_inner(), 1);
}

#[tokio::test]
async fn a6_an_error_of_ones_own_sql_is_told_as_before() {
    let two = Two::new().await;
    let unit = two.db.begin().await.unwrap();
    batch(&unit.connection().await.unwrap(), "SELECT 1 / 0").await.unwrap_err();
    let said = unit.users().find(two.ada.id).await;
    assert!(
        matches!(said, Err(Error::Ended { reason }) if reason.contains("earlier error")),
        "{said:?}"
    );
    unit.rollback().await.unwrap();
    works(&two.db, &two.observer).await;
}

#[tokio::test]
async fn a6_a_borrowers_savepoint_can_be_gone_back_to() {
    let two = Two::new().await;
    let unit = two.db.as_user(two.ada.id).begin().await.unwrap();
    batch(&unit.connection().await.unwrap(), "SAVEPOINT a").await.unwrap();
    unit.portfolios().create(&two.new_portfolio(&two.ada, "Undone")).await.unwrap();
    batch(&unit.connection().await.unwrap(), "SELECT 1 / 0").await.unwrap_err();
    batch(&unit.connection().await.unwrap(), "ROLLBACK TO SAVEPOINT a").await.unwrap();
    unit.portfolios().create(&two.new_portfolio(&two.ada, "Kept")).await.unwrap();
    // Another transaction that is aborted is noticed when it is gone back from.
    unit.commit().await.unwrap();
    assert_eq!(two.portfolios().await, 1);
    let unit = two.db.as_user(two.ada.id).begin().await.unwrap();
    batch(&unit.connection().await.unwrap(), "COMMIT").await.unwrap();
    assert!(is_ended(&unit.connection().await.map(|_| ())));
    drop(unit);
    let unit = two.db.as_user(two.ada.id).begin().await.unwrap();
    let connection = unit.connection().await.unwrap();
    batch(&connection, "COMMIT; BEGIN; SAVEPOINT a; SELECT 1 / 0").await.unwrap_err();
    batch(&connection, "ROLLBACK TO SAVEPOINT a").await.unwrap();
    assert!(is_ended(&unit.users().find(two.bob.id).await.map(|_| ())));
}

#[tokio::test]
async fn a6_own_transaction_is_rolled_back_at_once_where_it_is_noticed() {
    let two = Two::new().await;
    let unit = two.db.begin().await.unwrap();
    let lock = "COMMIT; BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE";
    batch(&unit.connection().await.unwrap(), lock).await.unwrap();
    assert!(is_ended(&unit.users().find(two.bob.id).await.map(|_| ())));
    // The unit is still held.
    two.observer.query("SELECT id FROM users", &[]).await.expect("not locked");
    drop(unit);
    works(&two.db, &two.observer).await;
}
