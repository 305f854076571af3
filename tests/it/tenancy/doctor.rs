//! The check of a live database: each thing that may be wrong with it is broken here, and found.

use buffetbot_db::testing::TestDatabase;
use buffetbot_db::*;
use uuid::Uuid;

use crate::catalog::connect;
use crate::support::server::{PASSWORD, TcpServer};

use super::person;

/// The dangers that the doctor tells, as text.
async fn dangers(db: &Database) -> Vec<String> {
    let diagnosis = db.doctor().await.expect("examined");
    let dangers = diagnosis.findings.iter().filter(|f| f.severity == Severity::Danger);
    let dangers: Vec<String> = dangers.map(ToString::to_string).collect();
    assert_eq!(diagnosis.is_healthy(), dangers.is_empty());
    dangers
}

/// What is broken how, and a word of what is told of it. `ROLE` stands for a role of the test's own.
const WRONG: [(&str, &[&str]); 19] = [
    ("GRANT DELETE ON audit_log TO buffetbot_app", &["audit_log", "DELETE", "triggers"]),
    ("GRANT INSERT ON events TO buffetbot_app", &["events", "INSERT", "triggers"]),
    ("ALTER TABLE positions DISABLE ROW LEVEL SECURITY", &["positions", "is off"]),
    ("ALTER TABLE users NO FORCE ROW LEVEL SECURITY", &["users", "not forced"]),
    ("DROP POLICY tenant ON portfolios", &["portfolios", "no policy shows"]),
    ("CREATE POLICY open ON users USING (true)", &["users", "open", "does not ask"]),
    ("CREATE POLICY open ON users FOR INSERT WITH CHECK (true)", &["open", "does not ask"]),
    (
        "CREATE POLICY open ON users FOR SELECT TO buffetbot_app USING (is_active)",
        &["open", "does not ask"],
    ),
    ("CREATE TABLE orders (id int, user_id uuid)", &["orders", "is off"]),
    ("CREATE TABLE fills (id int, position uuid REFERENCES positions(id))", &["fills", "is off"]),
    ("REVOKE INSERT ON positions FROM buffetbot_app", &["positions", "INSERT", "create_roles"]),
    ("GRANT TRUNCATE ON users TO buffetbot_app", &["users", "TRUNCATE"]),
    ("GRANT SELECT ON users TO PUBLIC", &["users", "PUBLIC", "SELECT"]),
    ("CREATE VIEW everybody AS SELECT email FROM users", &["everybody", "security_invoker"]),
    ("CREATE MATERIALIZED VIEW everybody AS SELECT email FROM users", &["everybody"]),
    (
        "CREATE FUNCTION peek() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
        &["peek()", "search_path"],
    ),
    ("GRANT CREATE ON SCHEMA public TO PUBLIC", &["public", "PUBLIC"]),
    ("GRANT CREATE ON SCHEMA public TO buffetbot_app", &["public", "application role"]),
    ("ALTER TABLE users OWNER TO ROLE", &["users", "its owner has no policy"]),
];

#[tokio::test]
async fn a_database_as_it_should_be_is_healthy() {
    let db = TestDatabase::new().await.expect("a database");
    assert_eq!(dangers(&db).await, Vec::<String>::new());
    let warnings = db.doctor().await.expect("examined").findings;
    let told: Vec<&str> = warnings.iter().map(|f| &*f.what).collect();
    assert_eq!(told, ["login"], "the tests' login is a superuser");
    // With a view that asks as its reader, and a table of one's own with a policy, too.
    connect(&db)
        .await
        .batch_execute(
            "CREATE VIEW mine WITH (security_invoker = true) AS SELECT email FROM users;
             CREATE TABLE orders (id int, user_id uuid REFERENCES users(id));
             ALTER TABLE orders ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
             CREATE POLICY tenant ON orders USING (user_id = (SELECT tenant_id()));",
        )
        .await
        .expect("made");
    db.create_roles().await.expect("extended to it");
    assert_eq!(dangers(&db).await, Vec::<String>::new());
}

#[tokio::test]
async fn each_thing_that_is_wrong_is_found() {
    let db = TestDatabase::new().await.expect("a database");
    let client = connect(&db).await;
    let role = format!("owner_{}", Uuid::new_v4().simple());
    client.batch_execute(&format!("CREATE ROLE {role}")).await.expect("a role");
    for (wrong, words) in WRONG {
        // Undone by a copy of its own: the doctor sees what is committed only.
        let sick = TestDatabase::new().await.expect("a database");
        let client = connect(&sick).await;
        client
            .batch_execute(
                &wrong.replace("ROLE", &role).replace(&format!("{role} LEVEL"), "ROLE LEVEL"),
            )
            .await
            .expect(wrong);
        let told = dangers(&sick).await;
        let found = told.iter().any(|danger| words.iter().all(|word| danger.contains(word)));
        assert!(found, "{wrong}: {told:?}");
        assert_eq!(told.len(), 1, "{wrong} is one thing: {told:?}");
    }
    client.batch_execute(&format!("DROP ROLE {role}")).await.expect("gone with its databases");
}

#[tokio::test]
async fn a_role_that_is_missing_and_tables_that_are_not_there_are_told() {
    let db = TestDatabase::with(|config| config.application_role("nobody_made_this_role")).await;
    let db = db.expect("a database");
    let told = dangers(&db).await;
    assert!(told.len() == 1 && told[0].contains("does not exist"), "{told:?}");

    let empty = TestDatabase::empty().await.expect("an empty database");
    let told = dangers(&empty).await;
    assert!(told.iter().any(|danger| danger.contains("run Database::migrate")), "{told:?}");
}

/// An ordinary server: logins with passwords, none of them a superuser.
#[tokio::test(flavor = "multi_thread")]
async fn an_owner_who_is_no_superuser_makes_the_roles_and_is_bound_in_anothers_name() {
    let server = TcpServer::start().await;
    let admin = crate::support::raw(&server.url()).await;
    for statement in [
        "CREATE ROLE owning LOGIN PASSWORD 'Own3r' CREATEROLE",
        "CREATE ROLE plain LOGIN PASSWORD 'Pla1n'",
        "CREATE DATABASE platform OWNER owning",
        "CREATE DATABASE plain OWNER plain",
    ] {
        admin.batch_execute(statement).await.expect(statement);
    }
    let connect = async |login: &str, password: &str, database: &str| {
        let config = Config::new(&server.url_of(login, password, database)).expect("a URL");
        Database::connect(config).await.expect(login)
    };

    let db = connect("owning", "Own3r", "platform").await;
    db.migrate().await.expect("migrated");
    let (mine, theirs) = (person(&db, "a@example.com").await, person(&db, "b@example.com").await);
    assert_eq!(
        db.users().count(&UserFilter::default()).await.expect("read"),
        2,
        "the owner's policy"
    );
    let error = db.as_user(mine.user.id).users().find(mine.user.id).await.expect_err("no role");
    assert!(error.to_string().contains("create_roles"), "{error}");

    db.create_roles().await.expect("made");
    db.create_roles().await.expect("made again, to no effect");
    assert_eq!(dangers(&db).await, Vec::<String>::new());
    let scope = db.as_user(mine.user.id);
    assert_eq!(scope.users().count(&UserFilter::default()).await.expect("read"), 1);
    assert_eq!(scope.users().find(theirs.user.id).await.expect("read"), None);
    scope.users().record_login(mine.user.id).await.expect("written");
    let erased = scope.users().erase(mine.user.id).await.expect("erased").expect("there");
    assert_eq!((erased.portfolios, erased.positions, erased.analyses), (1, 1, 1));
    assert_eq!(db.users().count(&UserFilter::default()).await.expect("read"), 1);
    assert_eq!(scope.users().count(&UserFilter::default()).await.expect("read"), 0);

    // The maintenance role sees every row, and owns none.
    admin
        .batch_execute("CREATE ROLE sweeper LOGIN PASSWORD 'Sw33p' IN ROLE buffetbot_maintenance")
        .await
        .expect("a login");
    let sweeper = connect("sweeper", "Sw33p", "platform").await;
    assert_eq!(sweeper.users().count(&UserFilter::default()).await.expect("read"), 1);
    sweeper.analyses().sweep_expired(100, std::time::Duration::ZERO).await.expect("swept");
    let connection = sweeper.connection().await.expect("a connection");
    crate::support::batch(&connection, "DROP TABLE users CASCADE").await.expect_err("not its own");
    drop(connection);
    let told = dangers(&sweeper).await;
    assert!(told.len() == 1 && told[0].contains("is not granted to the login"), "{told:?}");

    // A login that may not make roles is told so; where they are granted to it, it needs to make none.
    let other = connect("plain", "Pla1n", "plain").await;
    other.migrate().await.expect("migrated");
    let error = other.create_roles().await.expect_err("not its right");
    assert!(matches!(error, Error::Denied { .. }), "{error:?}");
    admin
        .batch_execute("GRANT buffetbot_app, buffetbot_maintenance TO plain")
        .await
        .expect("granted");
    other.create_roles().await.expect("granted on its tables");
    assert_eq!(dangers(&other).await, Vec::<String>::new());
    assert!(!format!("{:?}", other.doctor().await).contains(PASSWORD));
}
