//! The scope itself: fail-closed, for one transaction, and never by accident as somebody else.

use std::sync::Arc;

use crate::api::*;
use buffetbot_db::testing::TestDatabase;
use tokio_postgres::error::SqlState;

use super::{person, public};
use crate::catalog::connect;
use crate::support::plan::Recorder;
use crate::support::{batch, number, parsed};

const TENANT_TABLES: [&str; 6] =
    ["users", "portfolios", "positions", "analysis_results", "cache_changes", "cache_leases"];

#[tokio::test]
async fn a_raw_connection_of_the_role_sees_rows_by_name_only() {
    let db = TestDatabase::new().await.expect("a database");
    let (mine, theirs) = (person(&*db, "a@example.com").await, person(&*db, "b@example.com").await);
    let client = connect(&db).await;
    client.batch_execute("SET ROLE buffetbot_app").await.expect("the role");
    let count = async |what: &str| -> i64 {
        client.query_one(&format!("SELECT count(*) FROM {what}"), &[]).await.expect(what).get(0)
    };
    for table in TENANT_TABLES {
        assert_eq!(count(table).await, 0, "{table}: nobody is named");
    }
    public(&*db).await;
    assert_eq!(count("analysis_results").await, 1, "what nobody owns is everybody's");
    // Each of two settings in one session: the plan that was made for the first is not kept for the second.
    for (one, other) in [(&mine, &theirs), (&theirs, &mine)] {
        let (user, id) = (one.user.id, other.portfolio.id);
        client.batch_execute(&format!("SET buffetbot.user_id = '{user}'")).await.expect("named");
        for table in ["users", "portfolios", "positions"] {
            assert_eq!(count(table).await, 1, "{table}");
        }
        assert_eq!(count("analysis_results").await, 2);
        for table in ["cache_changes", "analysis_results"] {
            let private = count(&format!("{table} WHERE portfolio_id IS NOT NULL")).await;
            assert_eq!(private, 1, "{table}");
        }
        for statement in [
            format!("UPDATE portfolios SET name = 'mine' WHERE id = '{id}'"),
            format!("DELETE FROM portfolios WHERE id = '{id}'"),
            format!("DELETE FROM users WHERE id <> '{user}'"),
            "DELETE FROM positions WHERE portfolio_id NOT IN (SELECT id FROM portfolios)".into(),
        ] {
            assert_eq!(client.execute(&statement, &[]).await.expect(&statement), 0, "{statement}");
        }
        for statement in [
            format!("UPDATE portfolios SET user_id = '{}'", other.user.id),
            format!("UPDATE positions SET portfolio_id = '{id}'"),
            format!(
                "UPDATE analysis_results SET portfolio_id = '{id}' WHERE portfolio_id IS NOT NULL"
            ),
            format!("INSERT INTO positions (portfolio_id, ticker) VALUES ('{id}', 'MSFT')"),
            "TRUNCATE users CASCADE".into(),
            "ALTER TABLE users DISABLE ROW LEVEL SECURITY".into(),
            "DROP POLICY tenant ON users".into(),
            "CREATE TABLE mine (id int)".into(),
            "DELETE FROM __diesel_schema_migrations".into(),
        ] {
            let refused = client.execute(&statement, &[]).await.expect_err(&statement);
            let refused = refused.code().expect("the server's word");
            assert_eq!(*refused, SqlState::INSUFFICIENT_PRIVILEGE, "{statement}");
        }
        client.batch_execute("RESET buffetbot.user_id").await.expect("reset");
        assert_eq!(count("users").await, 0);
    }
    // No id is no name either.
    client.batch_execute("SET buffetbot.user_id = 'everybody'").await.expect("set");
    client.query_one("SELECT count(*) FROM users", &[]).await.expect_err("no id");
}

#[tokio::test]
async fn the_name_ends_with_each_statement_and_transaction() {
    let db = TestDatabase::with(|config| config.pool_size(1).pool_max_overflow(0)).await;
    let db = db.expect("a database");
    let mine = person(&*db, "a@example.com").await;
    person(&*db, "b@example.com").await;
    let unnamed = async || {
        let connection = db.connection().await.expect("the only connection");
        let sql = "SELECT (SELECT count(*) FROM users WHERE tenant_id() IS NULL
            AND current_user = session_user) AS n";
        assert_eq!(number(&connection, sql).await.expect("read"), 2, "all, and as oneself");
    };
    let scope = db.as_user(mine.user.id);
    assert_eq!(scope.users().count(&UserFilter::default()).await.expect("read"), 1);
    unnamed().await;
    scope.users().record_login(mine.user.id).await.expect("written");
    unnamed().await;
    scope.users().create(&crate::support::somebody()).await.expect_err("in another's name");
    unnamed().await;
    let uow = scope.begin().await.expect("begun");
    assert_eq!(uow.users().count(&UserFilter::default()).await.expect("read"), 1);
    uow.rollback().await.expect("undone");
    unnamed().await;
    drop(scope.begin().await.expect("begun"));
    unnamed().await;
    let name = scope
        .transaction(async |uow| {
            let failed: Result<()> = uow.savepoint(async |_| Err(Error::Cancelled)).await;
            assert!(failed.is_err());
            uow.users().count(&UserFilter::default()).await
        })
        .await;
    assert_eq!(name.expect("committed"), 1, "a savepoint undone does not end the name");
    unnamed().await;
    // A future that is dropped at any await point leaves nobody's name behind.
    for patience in 0..200 {
        let patience = std::time::Duration::from_micros(patience * 10);
        let all = UserFilter::default();
        let count = tokio::time::timeout(patience, scope.users().count(&all));
        if let Ok(count) = count.await {
            assert_eq!(count.expect("read"), 1);
        }
    }
    unnamed().await;
}

#[tokio::test]
async fn a_role_that_is_missing_or_not_bound_is_refused() {
    let refused = async |role: &str, word: &str| {
        let db = TestDatabase::with(|config| config.application_role(role)).await;
        let db = db.expect("a database");
        let mine = person(&*db, "a@example.com").await;
        let scope = db.as_user(mine.user.id);
        let errors = [
            scope.users().find(mine.user.id).await.expect_err("no role"),
            scope.users().record_login(mine.user.id).await.expect_err("no role"),
            scope
                .analyses()
                .latest(&AnalysisKey::new(&parsed("AAPL"), AnalysisType::Risk))
                .await
                .expect_err("no role"),
            scope.begin().await.expect_err("no role"),
        ];
        for error in errors {
            let Error::Config { variable, reason } = &error else { panic!("{error:?}") };
            assert_eq!(variable, "DB_APPLICATION_ROLE");
            assert!(reason.contains(word) && reason.contains(role), "{reason}");
        }
        let login = db.users().find(mine.user.id).await.expect("read").expect("there");
        assert_eq!(login.last_login_at, None, "nothing was written");
    };
    refused("nobody_made_this_role", "create_roles").await;
    refused("postgres", "bypasses").await;
    for none in ["none", "public", "pg_read_all_data", "", "a\0b"] {
        let config = Config::new("postgres://localhost/x").expect("a URL").application_role(none);
        let error = Database::connect_lazy(config).expect_err(none);
        assert!(matches!(error, Error::Config { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_role_is_refused_that_owns_the_tables() {
    let db = TestDatabase::new().await.expect("a database");
    let mine = person(&*db, "a@example.com").await;
    let owner = format!("owner_{}", uuid::Uuid::new_v4().simple());
    let admin = connect(&db).await;
    admin.batch_execute(&format!("CREATE ROLE {owner}")).await.expect("a role");
    admin.batch_execute(&format!("ALTER TABLE users OWNER TO {owner}")).await.expect("its table");
    let config = Config::new(db.url()).expect("the URL").application_role(&*owner);
    let other = Database::connect(config).await.expect("connected");
    let error = other.as_user(mine.user.id).users().find(mine.user.id).await.expect_err("an owner");
    admin
        .batch_execute(&format!(
            "REASSIGN OWNED BY {owner} TO postgres; DROP OWNED BY {owner}; DROP ROLE {owner}"
        ))
        .await
        .expect("gone");
    assert!(error.to_string().contains("owns the tables"), "{error}");
}

#[tokio::test]
async fn reads_begin_and_ask_in_one_go_and_a_stale_plan_is_healed() {
    let (db, recorder) = Recorder::database().await;
    let mine = person(&*db, "a@example.com").await;
    let scope = db.as_user(mine.user.id);
    scope.users().find(mine.user.id).await.expect("read");
    recorder.take();
    scope.users().find(mine.user.id).await.expect("read");
    let sent = recorder.take();
    assert_eq!(sent.len(), 2, "nobody waits for the end: {sent:?}");
    assert!(sent[0].starts_with("BEGIN; SET LOCAL buffetbot.user_id"), "{sent:?}");
    assert!(sent[0].ends_with("SET LOCAL ROLE \"buffetbot_app\""), "{sent:?}");
    scope.users().record_login(mine.user.id).await.expect("written");
    let sent = recorder.take();
    assert_eq!(sent.len(), 3, "{sent:?}");
    assert!(sent[2].ends_with("COMMIT"), "{sent:?}");

    // The tables change below statements that are prepared on every connection.
    let connection = db.connection().await.expect("a connection");
    let wider = "ALTER TABLE users ALTER COLUMN first_name TYPE VARCHAR(101)";
    batch(&connection, wider).await.expect("changed");
    drop(connection);
    scope.users().find(mine.user.id).await.expect("read").expect("there");
    scope.users().record_login(mine.user.id).await.expect("written");
}

#[tokio::test]
async fn policies_are_asked_once_per_statement_and_served_by_indexes() {
    let db = TestDatabase::new().await.expect("a database");
    let client = connect(&db).await;
    client
        .batch_execute(
            "INSERT INTO users (email, hashed_password)
                SELECT 'u' || i || '@example.com', 'x' FROM generate_series(1, 2000) i;
             INSERT INTO portfolios (user_id, name, risk_tolerance)
                SELECT id, 'Core', 'moderate' FROM users;
             INSERT INTO positions (portfolio_id, ticker)
                SELECT id, 'T' || i FROM portfolios, generate_series(1, 5) i;
             INSERT INTO analysis_results (portfolio_id, ticker, analysis_type)
                SELECT id, 'T' || i, 'risk_analysis' FROM portfolios, generate_series(1, 5) i;
             ANALYZE users, portfolios, positions, analysis_results;",
        )
        .await
        .expect("rows");
    client
        .batch_execute(
            "SET ROLE buffetbot_app;
             SELECT set_config('buffetbot.user_id', '00000000-0000-4000-8000-000000000001', false)",
        )
        .await
        .expect("named");
    for table in ["users", "portfolios", "positions", "analysis_results"] {
        let explain = format!("EXPLAIN SELECT * FROM {table}");
        let plan = client.query(&explain, &[]).await.expect("a plan");
        let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
        let plan = plan.join("\n");
        assert!(plan.contains("InitPlan") && !plan.contains("Seq Scan"), "{table}:\n{plan}");
    }
}

#[tokio::test]
async fn a_program_may_log_in_as_the_role_alone() {
    let db = TestDatabase::new().await.expect("a database");
    let mine = person(&*db, "a@example.com").await;
    public(&*db).await;
    let login = format!("login_{}", uuid::Uuid::new_v4().simple());
    let admin = connect(&db).await;
    let create = format!("CREATE ROLE {login} LOGIN PASSWORD 'x' IN ROLE buffetbot_app");
    admin.batch_execute(&create).await.expect("a login");
    let url = db.url().replace("postgres@", &format!("{login}:x@"));
    assert_ne!(url, db.url());
    let program = Database::connect(Config::new(&url).expect("a URL")).await.expect("connected");
    let all = UserFilter::default();
    assert_eq!(program.users().count(&all).await.expect("read"), 0, "nobody is named");
    let scope = Arc::new(program.as_user(mine.user.id));
    assert_eq!(scope.users().count(&all).await.expect("read"), 1);
    // Its cache, its log and its prices are at work without a name.
    let key = CacheKey::new(&parsed("AAPL"), DataType::NEWS);
    let fetched = program
        .market_cache()
        .put(
            &key,
            &Document::encode(&[1]).expect("a document"),
            &PutOptions::ttl(std::time::Duration::from_secs(60)),
        )
        .await;
    fetched.expect("stored");
    let bars = testing::fixtures::bars(&parsed("AAPL"), parsed("2024-01-02"), 10).expect("bars");
    program.prices().upsert_many(&bars).await.expect("stored");
    program
        .prices()
        .delete_range(&parsed("AAPL"), parsed("2024-01-02"), parsed("2024-01-03"))
        .await
        .expect("deleted, and kept as revisions");
    admin.batch_execute(super::MEND).await.expect("mended");
    let diagnosis = program.doctor().await.expect("examined");
    drop((scope, program));
    admin.batch_execute(&format!("DROP ROLE {login}")).await.expect("gone");
    let [lease, note] = &diagnosis.findings[..] else { panic!("{diagnosis:?}") };
    // A lease of a private result is nobody's but a program's that sees everything.
    assert_eq!((lease.severity, &*lease.object), (Severity::Warning, "cache_leases"));
    assert_eq!((note.severity, &*note.what, &*note.object), (Severity::Note, "login", &*login));
    assert!(diagnosis.is_healthy());
}
