//! The check of a live database that is as it should be, on servers and by logins of several kinds.

use crate::api::*;
use buffetbot_db::testing::TestDatabase;

use crate::catalog::connect;
use crate::support::server::{PASSWORD, TcpServer};

use super::{MEND, person, sound, sound_with, told};

/// The dangers that the doctor tells, as text.
async fn dangers(db: &Database) -> Vec<String> {
    told(db, Severity::Danger).await
}

#[tokio::test]
async fn a_database_as_it_should_be_is_healthy() {
    let db = sound().await;
    let findings = db.doctor().await.expect("examined").findings;
    let [login] = &findings[..] else { panic!("{findings:?}") };
    assert_eq!((login.severity, &*login.what), (Severity::Warning, "login"));
    assert!(login.message.contains("is a superuser"), "{login}");
    // With few rows, which are read one by one; the policies are asked first all the same.
    person(&*db, "a@example.com").await;
    person(&*db, "b@example.com").await;
    connect(&db).await.batch_execute("ANALYZE").await.expect("analyzed");
    assert_eq!(dangers(&db).await, Vec::<String>::new());
    // With a view that asks as its reader, and a table with a policy that is not this crate's, too; and with what the
    // application role cannot reach.
    connect(&db)
        .await
        .batch_execute(
            "CREATE VIEW mine WITH (security_invoker = true) AS SELECT email FROM users;
             CREATE TABLE orders (id int, user_id uuid REFERENCES users(id));
             ALTER TABLE orders ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
             CREATE POLICY tenant ON orders USING (user_id = (SELECT tenant_id()));
             CREATE SCHEMA other;
             CREATE VIEW other.everybody AS SELECT email FROM users;
             CREATE MATERIALIZED VIEW other.copy AS SELECT email FROM users;
             CREATE TABLE other.old () INHERITS (positions);
             CREATE TABLE other.fills (position uuid REFERENCES positions(id));
             CREATE TABLE other.backup AS SELECT * FROM users;
             CREATE FUNCTION other.peek() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';
             REVOKE EXECUTE ON FUNCTION other.peek() FROM PUBLIC;",
        )
        .await
        .expect("made");
    connect(&db).await.batch_execute(MEND).await.expect("to no effect");
    assert_eq!(dangers(&db).await, Vec::<String>::new());
    let untried = told(&db, Severity::Warning).await;
    let untried: Vec<&String> = untried.iter().filter(|told| told.contains("not tried")).collect();
    assert!(untried.len() == 1 && untried[0].contains("orders"), "{untried:?}");
}

#[tokio::test]
async fn what_may_be_right_is_a_warning() {
    let db = sound().await;
    let database = db.name();
    for (made, words) in [
        (format!("GRANT TEMPORARY ON DATABASE {database} TO PUBLIC"), ["database", "PUBLIC has TEMPORARY"]),
        (format!("GRANT CREATE ON DATABASE {database} TO PUBLIC"), ["database", "PUBLIC has CREATE"]),
        ("CREATE POLICY more ON users USING (id = tenant_id())".into(), ["users", "the policy more"]),
        (
            "CREATE FOREIGN DATA WRAPPER nowhere; CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere;
             CREATE FOREIGN TABLE rates (id int) SERVER nowhere; GRANT SELECT ON rates TO buffetbot_app"
                .into(),
            ["rates", "foreign table"],
        ),
        ("GRANT USAGE ON FOREIGN SERVER nowhere TO PUBLIC".into(), ["nowhere", "foreign server"]),
        ("ALTER FUNCTION portfolio_owner(uuid) RESET search_path".into(), ["portfolio_owner(uuid)", "temporary schema"]),
        (
            "CREATE FUNCTION leaks(text) RETURNS boolean LANGUAGE sql IMMUTABLE LEAKPROOF AS 'SELECT true'"
                .into(),
            ["leaks(text)", "LEAKPROOF"],
        ),
        (
            "CREATE SCHEMA other;
             CREATE FUNCTION other.noted() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
                SET search_path = pg_temp AS 'BEGIN RETURN NULL; END';
             REVOKE EXECUTE ON FUNCTION other.noted() FROM PUBLIC;
             CREATE TRIGGER noted AFTER UPDATE ON users FOR EACH STATEMENT EXECUTE FUNCTION other.noted()"
                .into(),
            ["other.noted()", "writes to users"],
        ),
    ] {
        let before = told(&db, Severity::Warning).await.len();
        connect(&db).await.batch_execute(&made).await.expect(&made);
        let warnings = told(&db, Severity::Warning).await;
        let found = warnings.iter().any(|told| words.iter().all(|word| told.contains(word)));
        assert!(found, "{made}: {warnings:?}");
        assert_eq!(warnings.len(), before + 1, "{made} is one thing: {warnings:?}");
        assert_eq!(dangers(&db).await, Vec::<String>::new(), "{made}");
    }
}

#[tokio::test]
async fn a_role_that_is_missing_and_tables_that_are_not_there_are_told() {
    let db = sound_with(|config| config.application_role("nobody_made_this_role")).await;
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
    let mended = crate::support::batch(&db.connection().await.expect("a connection"), MEND).await;
    mended.expect("by the owner");
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
    let untried = super::told(&sweeper, Severity::Unknown).await;
    assert!(untried.len() == 1 && untried[0].contains("could not try"), "{untried:?}");

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
    let mended =
        crate::support::batch(&other.connection().await.expect("a connection"), MEND).await;
    mended.expect("by the owner");
    assert_eq!(dangers(&other).await, Vec::<String>::new());
    assert!(!format!("{:?}", other.doctor().await).contains(PASSWORD));
}
