//! B2: nothing that a session can hold stays on a connection that was lent.

use buffetbot_db::Error;
use buffetbot_db::postgres::PgConnection;
use buffetbot_db::testing::TestDatabase;
use buffetbot_db::types::PageRequest;
use buffetbot_db::users::UserFilter;
use diesel_async::RunQueryDsl;

use super::{one, works};
use crate::support::{batch, execute, number, pid, raw, user};

/// What a borrower may leave, and a query that is 0 where nothing of it is there.
const LEFT: [(&str, &str); 29] = [
    ("SET ROLE buffetbot_app", "(current_user <> session_user)::int"),
    ("SELECT set_config('role', 'buffetbot_app', false)", "(current_user <> session_user)::int"),
    ("SET SESSION AUTHORIZATION buffetbot_app", "(session_user = 'buffetbot_app')::int"),
    ("SET search_path = nowhere", "(current_setting('search_path') = 'nowhere')::int"),
    ("SELECT set_config('search_path', '', false)", "(current_setting('search_path') = '')::int"),
    ("SET statement_timeout = 54321", "(current_setting('statement_timeout') <> '1min')::int"),
    ("SET lock_timeout = 54321", "(current_setting('lock_timeout') <> '10s')::int"),
    (
        "SET idle_in_transaction_session_timeout = 0",
        "(current_setting('idle_in_transaction_session_timeout') <> '1min')::int",
    ),
    ("CREATE TEMP TABLE kept (n int)", "(SELECT count(*) FROM pg_class WHERE relname = 'kept')"),
    (
        "CREATE TEMP VIEW users AS SELECT 1 AS id",
        "(SELECT count(*) FROM pg_class WHERE relname = 'users' AND relkind = 'v')",
    ),
    (
        "CREATE FUNCTION pg_temp.kept() RETURNS int RETURN 1",
        "(SELECT count(*) FROM pg_proc WHERE proname = 'kept')",
    ),
    (
        "CREATE TYPE pg_temp.kept AS ENUM ('a')",
        "(SELECT count(*) FROM pg_type WHERE typname = 'kept')",
    ),
    (
        "SELECT pg_advisory_lock(11), pg_advisory_lock_shared(12)",
        "(SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())",
    ),
    ("LISTEN kept", "(SELECT count(*) FROM pg_listening_channels())"),
    (
        "DECLARE kept CURSOR WITH HOLD FOR SELECT 1",
        "(SELECT count(*) FROM pg_cursors WHERE name = 'kept')",
    ),
    ("PREPARE kept AS SELECT 1", "(SELECT count(*) FROM pg_prepared_statements WHERE from_sql)"),
    (
        "PREPARE s99 AS SELECT 'kept'",
        "(SELECT count(*) FROM pg_prepared_statements WHERE from_sql)",
    ),
    (
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "(current_setting('default_transaction_read_only') = 'on')::int",
    ),
    (
        "SET default_transaction_isolation = 'serializable'",
        "(current_setting('transaction_isolation') = 'serializable')::int",
    ),
    ("SET client_encoding = 'LATIN1'", "(current_setting('client_encoding') <> 'UTF8')::int"),
    (
        "SET standard_conforming_strings = off",
        "(current_setting('standard_conforming_strings') = 'off')::int",
    ),
    (
        "SET session_replication_role = replica",
        "(current_setting('session_replication_role') <> 'origin')::int",
    ),
    ("SET row_security = off", "(current_setting('row_security') = 'off')::int"),
    ("SET TIME ZONE 'Asia/Kathmandu'", "(current_setting('TimeZone') LIKE '%Kathmandu')::int"),
    ("SET DateStyle = 'German'", "(current_setting('DateStyle') LIKE 'German%')::int"),
    (
        "SET plan_cache_mode = force_generic_plan",
        "(current_setting('plan_cache_mode') <> 'auto')::int",
    ),
    (
        "SET buffetbot.user_id = '00000000-0000-0000-0000-000000000001'",
        "length(coalesce(current_setting('buffetbot.user_id', true), ''))",
    ),
    ("SET application_name = 'kept'", "(current_setting('application_name') = 'kept')::int"),
    ("SET statement_timeout = 1", "(current_setting('statement_timeout') = '1ms')::int"),
];

/// What a unit of work notices by itself.
const NOTICED: [&str; 5] = ["ROLE", "'role'", "AUTHORIZATION", "search_path", "'search_path'"];

async fn nothing_of(connection: &PgConnection, left: &str, query: &str) {
    let found = number(connection, &format!("SELECT ({query})::bigint AS n")).await;
    assert_eq!(found.unwrap_or_else(|e| panic!("{left}: {e}")), 0, "{left}");
}

/// How a borrower sends SQL.
#[derive(Clone, Copy, Debug)]
enum By {
    Batch,
    Prepared,
    Pool,
    Unit,
}

async fn leave(db: &TestDatabase, sql: &str, by: By) {
    match by {
        By::Batch => batch(&db.connection().await.unwrap(), sql).await.unwrap(),
        By::Prepared => drop(execute(&db.connection().await.unwrap(), sql).await.unwrap()),
        By::Pool => {
            use diesel_async::SimpleAsyncConnection;
            db.pool().get().await.unwrap().batch_execute(sql).await.unwrap();
        }
        By::Unit => {
            let unit = db.begin().await.unwrap();
            batch(&unit.connection().await.unwrap(), sql).await.unwrap();
            let committed = unit.commit().await;
            match NOTICED.iter().any(|what| sql.contains(what)) {
                true => {
                    assert!(matches!(committed, Err(Error::Ended { .. })), "{sql}: {committed:?}")
                }
                // A timeout of a millisecond may strike.
                false if sql.ends_with("= 1") => {}
                false => committed.unwrap_or_else(|e| panic!("{sql}: {e}")),
            }
        }
    }
}

#[tokio::test]
async fn b2_no_state_of_a_session_reaches_the_next_borrower() {
    let (db, user) = one().await;
    for by in [By::Batch, By::Prepared, By::Pool, By::Unit] {
        for (sql, query) in LEFT {
            leave(&db, sql, by).await;
            // The next repository call, then the next borrower.
            let found = db.users().find(user.id).await;
            assert!(
                found.unwrap_or_else(|e| panic!("{by:?} {sql}: {e}")).is_some(),
                "{by:?} {sql}"
            );
            leave(&db, sql, by).await;
            nothing_of(&db.connection().await.unwrap(), &format!("{by:?} {sql}"), query).await;
        }
    }
    works(&db, &raw(db.url()).await).await;
}

#[tokio::test]
async fn b2_most_is_reset_without_another_connection() {
    let (db, _) = one().await;
    let connection = db.connection().await.unwrap();
    let before = pid(&connection).await;
    drop(connection);
    for (sql, _) in LEFT {
        // The server stops the statements that reset, or the driver's own would meet these.
        if sql.starts_with("PREPARE") || sql.ends_with("= 1") {
            continue;
        }
        leave(&db, sql, By::Batch).await;
        assert_eq!(pid(&db.connection().await.unwrap()).await, before, "{sql}");
    }
}

#[tokio::test]
async fn b2_all_at_once() {
    let (db, _) = one().await;
    let connection = db.connection().await.unwrap();
    for (sql, _) in
        LEFT.iter().filter(|(sql, _)| !sql.starts_with("CREATE T") && !sql.starts_with("SET S"))
    {
        let _ = batch(&connection, sql).await;
    }
    drop(connection);
    for (sql, query) in LEFT {
        nothing_of(&db.connection().await.unwrap(), sql, query).await;
    }
    works(&db, &raw(db.url()).await).await;
}

#[tokio::test]
async fn b2_a_temporary_table_of_one_user_is_not_listed_for_another() {
    let db = crate::support::database(1).await;
    db.create_roles().await.expect("roles");
    let (ada, bob) = (user(&*db, "ada@example.com").await, user(&*db, "bob@example.com").await);
    let taken = format!(
        "CREATE TEMP TABLE users AS SELECT * FROM public.users WHERE id = '{}';
         GRANT ALL ON users TO buffetbot_app",
        ada.id
    );
    for by in [By::Batch, By::Pool, By::Unit] {
        leave(&db, &taken, by).await;
        let page = PageRequest::first(10);
        let seen = db.as_user(bob.id).users().list(&UserFilter::default(), &page).await.unwrap();
        assert_eq!(seen.items.iter().map(|u| u.id).collect::<Vec<_>>(), [bob.id], "{by:?}");
    }
}

#[tokio::test]
async fn b2_prepared_statements_are_kept_and_those_of_the_driver_are_whole() {
    let (db, user) = one().await;
    db.users().find(user.id).await.unwrap();
    let connection = db.connection().await.unwrap();
    let (before, prepared) = (pid(&connection).await, connection.prepared_statements());
    drop(connection);
    db.users().find(user.id).await.unwrap();
    let connection = db.connection().await.unwrap();
    assert_eq!((pid(&connection).await, connection.prepared_statements()), (before, prepared));
    drop(connection);
    // Thrown away by the borrower, they are prepared anew, here or on another connection.
    for throw in ["DEALLOCATE ALL", "DISCARD ALL"] {
        let connection = db.connection().await;
        drop(connection);
        leave(&db, throw, By::Batch).await;
        for _ in 0..3 {
            assert!(db.users().find(user.id).await.unwrap().is_some());
            assert!(db.as_user(user.id).users().find(user.id).await.unwrap().is_some());
        }
    }
}

#[tokio::test]
async fn b2_plans_made_under_a_borrowers_settings_are_not_kept() {
    let (db, _) = one().await;
    let sql = "SELECT count(*) AS n FROM filled WHERE n = 7";
    let connection = db.connection().await.unwrap();
    let fill = "CREATE TABLE filled AS SELECT generate_series(1, 5000) AS n;
                CREATE INDEX filled_n ON filled (n); ANALYZE filled;
                SET enable_indexscan = off; SET enable_indexonlyscan = off;
                SET enable_bitmapscan = off";
    batch(&connection, fill).await.unwrap();
    number(&connection, sql).await.unwrap();
    drop(connection);
    // Without binds the first plan is kept for good: it is asked for by the statement's name.
    let connection = db.connection().await.unwrap();
    #[derive(diesel::QueryableByName)]
    struct Name {
        #[diesel(sql_type = diesel::sql_types::Text)]
        name: String,
    }
    let of =
        "SELECT name FROM pg_prepared_statements WHERE statement LIKE '%FROM filled WHERE n = 7'";
    let of: Name =
        diesel::sql_query(of).get_result(&mut connection.as_diesel()).await.expect("prepared");
    let explain = format!("EXPLAIN EXECUTE {}", of.name);
    #[derive(diesel::QueryableByName)]
    struct Line {
        #[diesel(sql_type = diesel::sql_types::Text, column_name = "QUERY PLAN")]
        line: String,
    }
    let plan: Vec<Line> =
        diesel::sql_query(explain).load(&mut connection.as_diesel()).await.expect("explained");
    assert!(plan.iter().any(|l| l.line.contains("filled_n")), "the index is used again");
}
