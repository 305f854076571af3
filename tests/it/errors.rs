//! Each kind of error from a real server, and that none of them tells what it must not.

mod constraints;

use std::time::Duration;

use buffetbot_db::cache::{BoxError, Policy};
use buffetbot_db::error::{ErrorKind, Limit, Resource};
use buffetbot_db::market_cache::CacheKey;
use buffetbot_db::portfolios::{NewPortfolio, NewPosition};
use buffetbot_db::postgres::{PgConnection, sqlstate};
use buffetbot_db::testing::TestDatabase;
use buffetbot_db::types::{DataType, PasswordHash, RiskTolerance, Shares, UserId};
use buffetbot_db::users::{NewUser, UserFilter, UserPatch};
use buffetbot_db::{Config, Error, Isolation, TransactionOptions};
use diesel::sql_types::Text;
use diesel_async::RunQueryDsl;

use crate::support::log::Log;
use crate::support::{GENEROUS, batch, database, database_with, number, pid, raw, somebody};

/// A word that is bound, stored or given as a password, and may appear nowhere.
const SECRET: &str = "sesameopenup";

fn assert_silent(error: &Error) {
    let (display, debug) = (error.to_string(), format!("{error:?}"));
    assert!(!display.to_lowercase().contains(SECRET), "{display}");
    assert!(!debug.to_lowercase().contains(SECRET), "{debug}");
}

/// The error of a statement with the secret bound to `$1`.
async fn failure(connection: &PgConnection, sql: &str) -> Error {
    let query = diesel::sql_query(sql).bind::<Text, _>(SECRET);
    let error = query.execute(&mut &*connection).await.unwrap_err();
    assert!(!format!("{error} {error:?}").to_lowercase().contains(SECRET), "{error:?}");
    let error: Error = error.into();
    assert_silent(&error);
    error
}

const SETUP: &str = "
    CREATE TABLE parents (name text CONSTRAINT parents_pkey PRIMARY KEY,
                          word text NOT NULL DEFAULT 'x',
                          CONSTRAINT no_sesame CHECK (word <> 'sesameopenup'));
    CREATE TABLE children (parent text CONSTRAINT children_parent_fkey REFERENCES parents);
    CREATE TABLE spans (span int4range, CONSTRAINT spans_apart EXCLUDE USING gist (span WITH &&));
    CREATE TABLE short (word varchar(3));
    INSERT INTO parents VALUES ('sesameopenup');
    INSERT INTO spans VALUES ('[1,5)')";

#[tokio::test]
async fn what_the_server_refuses_is_told_by_kind() {
    let db = database(1).await;
    let connection = db.connection().await.unwrap();
    batch(&connection, SETUP).await.unwrap();
    let failure = async |sql: &str| failure(&connection, sql).await;

    let e = failure("INSERT INTO parents VALUES ($1)").await;
    assert!(
        matches!(&e, Error::Conflict { entity, constraint }
        if entity.as_str() == "parents" && constraint == "parents_pkey"),
        "{e:?}"
    );
    let e = failure("INSERT INTO spans VALUES ('[2,3)'), (($1 = 'x')::int::text::int4range)").await;
    assert!(matches!(&e, Error::Invalid { .. } | Error::Conflict { .. }), "{e:?}");
    let e = failure("INSERT INTO spans SELECT '[2,3)' WHERE $1 <> ''").await;
    assert!(
        matches!(&e, Error::Conflict { constraint, .. } if constraint == "spans_apart"),
        "{e:?}"
    );
    let e = failure("INSERT INTO children VALUES ($1 || '2')").await;
    assert!(
        matches!(&e, Error::InvalidReference { constraint }
        if constraint == "children_parent_fkey"),
        "{e:?}"
    );
    let e = failure("INSERT INTO parents VALUES ('b', $1)").await;
    assert!(matches!(&e, Error::Invalid { field, .. } if field == "no_sesame"), "{e:?}");
    let e = failure("INSERT INTO parents SELECT $1 || '3', NULL").await;
    assert!(matches!(&e, Error::Invalid { field, .. } if field == "word"), "{e:?}");
    for refused in [
        "INSERT INTO short VALUES ($1)",
        "SELECT $1::int",
        "SELECT $1::timestamptz",
        "SELECT $1::uuid",
        "SELECT (length($1) * 1000000000000)::int",
        "SELECT ($1 || '!')::jsonb",
        "SELECT repeat('[', 1000 * length($1) * 20)::jsonb",
    ] {
        let e = failure(refused).await;
        assert!(matches!(&e, Error::Invalid { .. }), "{refused}: {e:?}");
    }
    let e = failure("SELECT 1 / (length($1) * 0)").await;
    assert!(matches!(&e, Error::Database { sqlstate, .. } if sqlstate == "22012"), "{e:?}");
    let e = failure("SELECT nothing FROM parents WHERE name = $1").await;
    assert!(
        matches!(&e, Error::Database { sqlstate, message }
        if sqlstate == "42703" && message.contains("nothing")),
        "{e:?}"
    );
}

#[tokio::test]
async fn messages_that_quote_values_are_withheld() {
    let db = database(1).await;
    let connection = db.connection().await.unwrap();
    // The syntax error is in the value, and the server quotes it.
    let e = failure(&connection, "SELECT to_tsquery('simple', $1 || ' & & x')").await;
    assert!(matches!(&e, Error::Database { sqlstate, .. } if sqlstate == "42601"), "{e:?}");
    let raise = "CREATE FUNCTION tell(what text) RETURNS int LANGUAGE plpgsql AS
                 $$ BEGIN RAISE EXCEPTION 'got %', what; END $$";
    batch(&connection, raise).await.unwrap();
    let e = failure(&connection, "SELECT tell($1)").await;
    assert!(matches!(&e, Error::Database { sqlstate, .. } if sqlstate == "P0001"), "{e:?}");
    failure(&connection, "SELECT $1 ~ ('(' || $1)").await;
    failure(&connection, "SELECT ($1 || ' .. ')::jsonpath").await;
    failure(&connection, "SELECT set_config('work_mem', $1, false)").await;
    // The statement's own text may be told: it holds no values.
    let e = batch(&connection, "SELEKT 1").await.unwrap_err();
    assert!(e.to_string().contains("SELEKT"), "{e}");
}

#[tokio::test]
async fn e1_outcomes_that_a_caller_handles_are_no_errors_in_the_log() {
    let (log, _guard) = Log::start();
    let db = TestDatabase::new().await.expect("a database");
    let ada = crate::support::user(&*db, "ada@example.com").await;
    let taken = NewUser::new("ADA@example.com", crate::support::hash());
    db.users().create(&taken).await.expect_err("taken");
    db.users().create_many(&[taken]).await.expect_err("taken");
    db.users().create(&NewUser::new("", crate::support::hash())).await.expect_err("invalid");
    db.users().update(UserId::generate(), &UserPatch::default()).await.expect_err("unknown");
    let patch = UserPatch::default().is_active(false);
    db.as_user(ada.id).users().update(ada.id, &patch).await.expect_err("denied");
    let key = CacheKey::new(&crate::support::parsed("AAPL"), DataType::NEWS);
    let policy = Policy::ttl(std::time::Duration::from_secs(60));
    let fail = |_| async { Err::<i32, BoxError>("the provider is away".into()) };
    for _ in 0..2 {
        db.cache()
            .get_or_fetch::<i32>(&key, &policy, fail)
            .await
            .expect_err("failed, then put off");
    }
    let text = log.text();
    assert!(text.contains("users.create"), "it is the log of these calls");
    let loud: Vec<&str> =
        text.lines().filter(|line| line.contains(" ERROR ") || line.contains(" WARN ")).collect();
    assert!(loud.is_empty(), "{loud:#?}");
}

#[tokio::test]
async fn neither_errors_nor_logs_show_bind_values() {
    let (log, _guard) = Log::start();
    let db = database_with(|c| c.pool_size(1).slow_query(Some(Duration::ZERO))).await;
    let connection = db.connection().await.unwrap();
    batch(&connection, "CREATE TABLE parents (name text PRIMARY KEY)").await.unwrap();
    let insert = "INSERT INTO parents VALUES ($1)";
    diesel::sql_query(insert)
        .bind::<Text, _>(SECRET)
        .execute(&mut connection.as_diesel())
        .await
        .unwrap();
    failure(&connection, insert).await;
    failure(&connection, "SELECT $1::int").await;
    drop(connection);
    let user =
        buffetbot_db::users::NewUser::new(format!("{SECRET}@example.com"), crate::support::hash());
    db.users().create(&user).await.unwrap();
    assert_silent(&db.users().create(&user).await.unwrap_err());
    let again = buffetbot_db::users::NewUser { id: UserId::generate(), ..user };
    assert_silent(&db.users().create(&again).await.unwrap_err());
    let text = log.text();
    assert!(text.contains(insert), "statements are logged: {text}");
    assert!(text.contains("users.create"), "spans are logged: {text}");
    assert!(!text.to_lowercase().contains(SECRET), "{text}");
}

#[tokio::test]
async fn a_role_that_may_not_is_denied() {
    let db = database(1).await;
    let connection = db.connection().await.unwrap();
    let role = format!("nobody_{}", uuid::Uuid::new_v4().simple());
    batch(&connection, &format!("CREATE ROLE {role}")).await.unwrap();
    let unit = db_scope(&connection, &role).await;
    assert!(matches!(&unit, Error::Denied { sqlstate } if sqlstate == "42501"), "{unit:?}");
    batch(&connection, &format!("DROP ROLE {role}")).await.unwrap();
}

async fn db_scope(connection: &PgConnection, role: &str) -> Error {
    batch(connection, &format!("SET ROLE {role}")).await.unwrap();
    let error = number(connection, "SELECT count(*) AS n FROM users").await.unwrap_err();
    batch(connection, "RESET ROLE").await.unwrap();
    error
}

#[tokio::test]
async fn limits_of_time_are_told_apart() {
    let db = database_with(|c| {
        c.pool_size(2)
            .statement_timeout(Duration::from_millis(300))
            .lock_timeout(Duration::from_millis(100))
    })
    .await;
    let connection = db.connection().await.unwrap();
    let error = number(&connection, "SELECT 1::bigint AS n FROM pg_sleep(30)").await.unwrap_err();
    assert!(matches!(error, Error::Timeout { limit: Limit::Statement }), "{error:?}");
    assert!(!connection.is_discarded(), "the server's no is no reason to lose the connection");

    let holder = db.begin().await.unwrap();
    let lock = "LOCK TABLE users IN ACCESS EXCLUSIVE MODE";
    batch(&holder.connection().await.unwrap(), lock).await.unwrap();
    let error = number(&connection, "SELECT count(*) AS n FROM users").await.unwrap_err();
    match &error {
        Error::Busy { resource: Resource::Lock, waited, .. } => {
            assert!(*waited >= Duration::from_millis(90), "{waited:?}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_idle_transaction_is_ended_and_says_so() {
    let db =
        database_with(|c| c.pool_size(1).idle_in_transaction_timeout(Duration::from_millis(50)))
            .await;
    let unit = db.begin().await.unwrap();
    let connection = unit.connection().await.unwrap();
    let before = pid(&connection).await;
    // The server closes it; until then the transaction answers.
    crate::support::eventually("the server ends the idle transaction", async || {
        tokio::time::sleep(Duration::from_millis(100)).await;
        connection.is_discarded()
    })
    .await;
    // B11: what the server told, as often as it is asked.
    for _ in 0..2 {
        let error = number(&connection, "SELECT 1::bigint AS n").await.unwrap_err();
        assert!(matches!(error, Error::Timeout { limit: Limit::IdleInTransaction }), "{error:?}");
    }
    drop(connection);
    let error = unit.users().count(&UserFilter::default()).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { limit: Limit::IdleInTransaction }), "{error:?}");
    let error = unit.commit().await.unwrap_err();
    assert!(matches!(error, Error::Timeout { limit: Limit::IdleInTransaction }), "{error:?}");
    let connection = db.connection().await.unwrap();
    assert_ne!(pid(&connection).await, before);
}

#[tokio::test]
async fn a_cancelled_statement_says_so() {
    let db = database(1).await;
    let connection = db.connection().await.unwrap();
    let victim = pid(&connection).await;
    let observer = raw(db.url()).await;
    let sleep = number(&connection, "SELECT 1::bigint AS n FROM pg_sleep(60)");
    let cancel = crate::support::eventually("the statement runs and is cancelled", async || {
        let sql = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity
                   WHERE pid = $1 AND query LIKE '%pg_sleep(60)%' AND state = 'active'";
        !observer.query(sql, &[&(victim as i32)]).await.unwrap().is_empty()
    });
    let (slept, ()) = tokio::join!(sleep, cancel);
    assert!(matches!(slept, Err(Error::Cancelled)), "{slept:?}");
    assert!(!connection.is_discarded());
}

#[tokio::test]
async fn a_terminated_backend_is_unavailable_and_not_reused() {
    let db = database(1).await;
    let connection = db.connection().await.unwrap();
    let error = number(
        &connection,
        "SELECT pg_terminate_backend(pg_backend_pid())::int::bigint AS n FROM pg_sleep(0)",
    )
    .await
    .unwrap_err();
    assert!(matches!(&error, Error::Unavailable { .. }), "{error:?}");
    assert!(connection.is_discarded(), "known at once, not only when the socket closes");
    drop(connection);
    let connection = db.connection().await.unwrap();
    assert_eq!(number(&connection, "SELECT 1::bigint AS n").await.unwrap(), 1);
}

#[tokio::test]
async fn b11_a_connection_that_the_server_ended_says_why() {
    let db = database(1).await;
    let unit = db.begin().await.unwrap();
    let connection = unit.connection().await.unwrap();
    let victim = pid(&connection).await as i32;
    let observer = raw(db.url()).await;
    observer.query("SELECT pg_terminate_backend($1)", &[&victim]).await.unwrap();
    crate::support::eventually("it is closed", async || connection.is_discarded()).await;
    drop(connection);
    for _ in 0..2 {
        let error = unit.users().count(&UserFilter::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        assert_eq!(error.sqlstate(), Some("57P01"));
    }
}

#[tokio::test]
async fn writing_in_a_read_only_transaction_says_so() {
    let db = database(1).await;
    let options =
        TransactionOptions::default().isolation(Isolation::RepeatableRead).read_only(true);
    let unit = db.begin_with(options).await.unwrap();
    assert_eq!(unit.users().find(UserId::generate()).await.unwrap(), None);
    let error = unit.users().create(&somebody()).await.unwrap_err();
    assert!(matches!(error, Error::ReadOnly), "{error:?}");
}

#[tokio::test]
async fn a_serialization_failure_is_retryable() {
    let db = database(2).await;
    let user = db.users().create(&somebody()).await.unwrap();
    let options = TransactionOptions::default().isolation(Isolation::RepeatableRead);
    let unit = db.begin_with(options).await.unwrap();
    unit.users().find(user.id).await.unwrap();
    db.users().record_login(user.id).await.unwrap();
    let error = unit.users().record_login(user.id).await.unwrap_err();
    assert!(matches!(&error, Error::Retryable { sqlstate } if sqlstate == "40001"), "{error:?}");
    assert!(error.is_retryable());
}

#[tokio::test]
async fn a_stored_value_that_breaks_its_promise_is_corrupt_and_not_shown() {
    let db = database(1).await;
    let user = db.users().create(&somebody()).await.unwrap();
    let new = NewPortfolio::new(user.id, "Core", RiskTolerance::Moderate);
    let portfolio = db.portfolios().create(&new).await.unwrap();
    let shares = "1".parse::<Shares>().unwrap();
    let new = NewPosition::new(portfolio.id, "AAPL".parse().unwrap(), shares);
    let position = db.positions().create(&new).await.unwrap();
    let connection = db.connection().await.unwrap();
    batch(&connection, &format!("ALTER TABLE positions DROP CONSTRAINT positions_ticker_upper_case, DROP CONSTRAINT positions_ticker_readable; UPDATE positions SET ticker = '{SECRET}' || chr(7)"))
        .await
        .unwrap();
    drop(connection);
    let error = db.positions().find(portfolio.id, position.id).await.unwrap_err();
    assert!(
        matches!(&error, Error::Corrupt { table, column, .. }
        if table == "positions" && column == "ticker"),
        "{error:?}"
    );
    assert_silent(&error);
}

/// B6: an account that another program made can be used, whatever its hash looks like.
#[tokio::test]
async fn b6_accounts_of_other_programs_can_be_read_and_changed() {
    const LEGACY: &str = "$2y$10$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234";
    let db = database(1).await;
    let legacy = NewUser { hashed_password: LEGACY.parse().unwrap(), ..somebody() };
    let legacy = db.users().create(&legacy).await.unwrap();
    assert_eq!(legacy.hashed_password.expose(), LEGACY);
    assert_eq!(format!("{:?}", legacy.hashed_password), "PasswordHash(2y)");
    for stored in [LEGACY, SECRET, "$sesameopenup$10$x", "md5:0123"] {
        let connection = db.connection().await.unwrap();
        let sql = format!(
            "UPDATE users SET is_active = true, hashed_password = '{stored}' WHERE id = '{}'",
            legacy.id
        );
        batch(&connection, &sql).await.unwrap();
        drop(connection);
        let read = db.users().find(legacy.id).await.unwrap().unwrap();
        assert_eq!(read.hashed_password.expose(), stored);
        assert!(!format!("{read:?}").contains(SECRET), "{read:?}");
        let deactivated = db.users().deactivate(legacy.id).await.unwrap();
        assert!(!deactivated.is_active);
        assert!(stored == LEGACY || stored.parse::<PasswordHash>().is_err());
    }
}

#[tokio::test]
async fn diesel_errors_keep_the_sqlstate() {
    let db = database(1).await;
    let connection = db.connection().await.unwrap();
    let conn = &mut connection.as_diesel();
    let error = diesel::sql_query("SELECT 1/0").execute(conn).await.unwrap_err();
    assert_eq!(sqlstate(&error), Some("22012"));
    let many = "SELECT (10 / (3 - g))::bigint AS n FROM generate_series(1, 9) g";
    let error =
        diesel::sql_query(many).load::<crate::support::Number>(conn).await.map(|_| ()).unwrap_err();
    assert_eq!(sqlstate(&error), Some("22012"), "also after the first rows have come");
    assert_eq!(sqlstate(&diesel::result::Error::NotFound), None);
}

#[tokio::test]
async fn a_password_is_in_no_error_of_connecting() {
    // Nobody listens on this port: the socket was closed.
    let port = crate::support::process::free_port();
    let url = format!("postgres://ada:{SECRET}@127.0.0.1:{port}/db");
    let config = Config::new(&url).unwrap();
    let error = buffetbot_db::Database::connect(config.clone()).await.unwrap_err();
    assert!(
        matches!(&error, Error::Unavailable { reason, .. } if reason.contains("refused")),
        "{error:?}"
    );
    assert_silent(&error);
    let debug = format!("{config:?}");
    assert!(!debug.contains(SECRET), "{debug}");
    let lazy =
        buffetbot_db::Database::connect_lazy(config.pool_timeout(Duration::from_millis(400)));
    let lazy = lazy.unwrap();
    let debug = format!("{lazy:?} {:?}", lazy.pool());
    assert!(!debug.contains(SECRET), "{debug}");
    let error =
        tokio::time::timeout(GENEROUS, lazy.users().find(UserId::generate())).await.unwrap();
    let error = error.unwrap_err();
    assert!(
        matches!(&error, Error::Unavailable { reason, .. } if reason.contains("refused")),
        "{error:?}"
    );
    assert_silent(&error);
}
