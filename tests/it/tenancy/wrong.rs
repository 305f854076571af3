//! Each thing that may be wrong with a live database is broken here, and found, by the catalog or by trying (A4).

use crate::api::*;
use uuid::Uuid;

use super::{sound, sound_with, told};
use crate::catalog::connect;

/// What is broken how; words of what the catalog tells of it; and the tables in which the trial finds it. `ROLE` stands
/// for a role of the test's own.
type Wrong = (&'static str, &'static [&'static str], &'static [&'static str]);

const POLICIES: [Wrong; 26] = [
    ("ALTER TABLE positions DISABLE ROW LEVEL SECURITY", &["positions", "is off"], &["positions"]),
    ("ALTER TABLE users NO FORCE ROW LEVEL SECURITY", &["users", "not forced"], &[]),
    (
        "DROP POLICY tenant ON portfolios",
        &["portfolios", "no policy shows"],
        &["analysis_results", "portfolios", "positions"],
    ),
    ("CREATE POLICY open ON users USING (true)", &["users", "open", "does not ask"], &["users"]),
    (
        // Not by trying: the trigger refuses an account that is there.
        "CREATE POLICY open ON users FOR INSERT WITH CHECK (true)",
        &["open", "does not ask"],
        &[],
    ),
    (
        "CREATE POLICY open ON users FOR SELECT TO buffetbot_app USING (is_active)",
        &["open", "does not ask"],
        &["users"],
    ),
    ("CREATE TABLE orders (id int, user_id uuid)", &["orders", "is off"], &[]),
    (
        "CREATE TABLE fills (id int, position uuid REFERENCES positions(id))",
        &["fills", "is off"],
        &[],
    ),
    ("CREATE TABLE backup AS SELECT * FROM users", &["backup", "is off"], &[]),
    ("ALTER TABLE users OWNER TO ROLE", &["users", "its owner has no policy"], &[]),
    // Whether it asks is in the catalog; whether it heeds the answer is found by trying.
    (
        "ALTER POLICY tenant ON users USING (id = (SELECT tenant_id()) OR true)",
        &["users", "does not ask"],
        &["users"],
    ),
    (
        "ALTER POLICY tenant ON users USING (id = (SELECT tenant_id()) OR email > '')",
        &[],
        &["users"],
    ),
    (
        "CREATE TABLE orders (id int, user_id uuid);
         ALTER TABLE orders ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
         CREATE POLICY tenant ON orders USING (true OR user_id = tenant_id())",
        &["orders", "does not ask"],
        &[],
    ),
    (
        "ALTER POLICY tenant ON events USING ('tenant_id()' <> '')",
        &["events", "does not ask"],
        &["events"],
    ),
    (
        "ALTER POLICY tenant ON portfolios WITH CHECK (true)",
        &["portfolios", "does not ask"],
        &["portfolios"],
    ),
    (
        "CREATE FUNCTION anybody(id uuid) RETURNS boolean LANGUAGE sql AS 'SELECT true';
         ALTER POLICY tenant ON portfolios USING (anybody(tenant_id()))",
        &[],
        &["portfolios"],
    ),
    (
        "CREATE SCHEMA other; GRANT USAGE ON SCHEMA other TO PUBLIC;
         CREATE FUNCTION other.tenant_id() RETURNS uuid LANGUAGE sql AS 'SELECT public.tenant_id()';
         ALTER POLICY tenant ON portfolios USING (user_id = (SELECT other.tenant_id()))",
        &["portfolios", "does not ask"],
        &[],
    ),
    (
        "CREATE OR REPLACE FUNCTION tenant_id() RETURNS uuid LANGUAGE sql STABLE
            AS 'SELECT gen_random_uuid()'",
        &[],
        &["analysis_results", "audit_log", "events", "portfolios", "positions", "users"],
    ),
    // A row that is changed though it is not seen.
    (
        "CREATE POLICY open ON users FOR UPDATE USING (tenant_id() IS NULL OR email > '')",
        &[],
        &["users"],
    ),
    ("CREATE POLICY open ON positions FOR DELETE USING (tenant_id() IS NULL)", &[], &["positions"]),
    (
        "ALTER TABLE users DISABLE TRIGGER users_record_audit;
         ALTER TABLE portfolios DISABLE TRIGGER portfolios_record_audit;
         ALTER TABLE positions DISABLE TRIGGER positions_record_audit",
        &["no enabled trigger", "the audit log"],
        &["audit_log"],
    ),
    // Parts of a table, and what refers to it, wherever they are.
    ("CREATE TABLE old_positions () INHERITS (positions)", &["old_positions", "is off"], &[]),
    (
        "CREATE SCHEMA other; CREATE TABLE other.old () INHERITS (positions);
         GRANT SELECT (notes) ON other.old TO buffetbot_app",
        &["other.old", "is off"],
        &[],
    ),
    (
        "CREATE SCHEMA other; CREATE TABLE other.backup AS SELECT * FROM users;
         GRANT SELECT ON other.backup TO buffetbot_app",
        &["other.backup", "is off"],
        &[],
    ),
    (
        "CREATE SCHEMA other; CREATE TABLE other.fills (position uuid REFERENCES positions(id));
         GRANT INSERT ON other.fills TO buffetbot_app",
        &["other.fills", "is off"],
        &[],
    ),
    (
        "CREATE FOREIGN DATA WRAPPER nowhere; CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere;
         CREATE FOREIGN TABLE orders (id int, user_id uuid) SERVER nowhere",
        &["orders", "foreign table"],
        &[],
    ),
];

const PRIVILEGES: [Wrong; 17] = [
    ("GRANT DELETE ON audit_log TO buffetbot_app", &["audit_log", "DELETE", "triggers"], &[]),
    ("GRANT INSERT ON events TO buffetbot_app", &["events", "INSERT", "triggers"], &[]),
    ("GRANT UPDATE (payload) ON events TO buffetbot_app", &["events", "UPDATE", "triggers"], &[]),
    (
        "GRANT INSERT ON __diesel_schema_migrations TO buffetbot_app",
        &["__diesel_schema_migrations", "INSERT"],
        &[],
    ),
    (
        "REVOKE INSERT ON positions FROM buffetbot_app",
        &["positions", "INSERT", "create_roles"],
        &[],
    ),
    (
        "REVOKE EXECUTE ON FUNCTION erase_own_traces() FROM buffetbot_app",
        &["erase_own_traces()", "create_roles"],
        &[],
    ),
    ("GRANT TRUNCATE ON users TO buffetbot_app", &["users", "TRUNCATE"], &[]),
    ("GRANT REFERENCES (id) ON users TO buffetbot_app", &["users", "REFERENCES"], &[]),
    ("GRANT SELECT ON users TO PUBLIC", &["users", "PUBLIC", "SELECT"], &[]),
    ("GRANT SELECT (email) ON users TO PUBLIC", &["users", "PUBLIC", "SELECT"], &[]),
    ("GRANT UPDATE ON SEQUENCE cache_version TO buffetbot_app", &["cache_version"], &[]),
    ("GRANT EXECUTE ON FUNCTION pg_read_file(text) TO PUBLIC", &["pg_read_file(text)"], &[]),
    (
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET buffetbot.user_id = %L', current_database(),
            gen_random_uuid()); END $$",
        &["database", "in the name of a user"],
        &[],
    ),
    // What programs keep for everybody (A5).
    ("CREATE POLICY open ON event_consumers USING (true)", &[], &["event_consumers"]),
    ("GRANT DELETE ON cache_changes TO buffetbot_app", &["cache_changes", "triggers"], &[]),
    (
        "ALTER POLICY tenant ON cache_leases WITH CHECK (portfolio_id IS NULL)",
        &["cache_leases", "does not ask"],
        &["cache_leases"],
    ),
    (
        "GRANT DELETE ON price_revisions TO PUBLIC",
        &["price_revisions", "DELETE", "create_roles"],
        &["price_revisions"],
    ),
];

const CODE: [Wrong; 20] = [
    // Functions with their owner's rights (A1, A2).
    ("GRANT EXECUTE ON FUNCTION record_audit() TO PUBLIC", &["record_audit()", "PUBLIC"], &[]),
    (
        "GRANT EXECUTE ON FUNCTION tell_prices() TO buffetbot_app",
        &["tell_prices()", "application role may execute"],
        &[],
    ),
    (
        "CREATE SCHEMA other; GRANT USAGE ON SCHEMA other TO PUBLIC;
         CREATE FUNCTION other.everybody() RETURNS SETOF public.users LANGUAGE sql SECURITY DEFINER
            SET search_path = public AS 'SELECT * FROM users'",
        &["other.everybody()", "PUBLIC"],
        &[],
    ),
    // Its name is hidden, and a cast needs none.
    (
        "CREATE SCHEMA other; CREATE FUNCTION other.peek() RETURNS bigint LANGUAGE sql SECURITY DEFINER
            SET search_path = public AS 'SELECT count(*) FROM users'",
        &["other.peek()", "PUBLIC"],
        &[],
    ),
    (
        "CREATE FUNCTION fold(bigint, text) RETURNS bigint LANGUAGE sql SECURITY DEFINER
            SET search_path = public, pg_temp AS 'SELECT count(*) FROM users';
         REVOKE EXECUTE ON FUNCTION fold(bigint, text) FROM PUBLIC;
         CREATE AGGREGATE folded(text) (SFUNC = fold, STYPE = bigint)",
        &["fold(bigint,text)", "aggregate folded(text)"],
        &[],
    ),
    (
        "CREATE FUNCTION apart(text, text) RETURNS float8 LANGUAGE sql IMMUTABLE SECURITY DEFINER
            SET search_path = public, pg_temp AS 'SELECT 1.0::float8';
         REVOKE EXECUTE ON FUNCTION apart(text, text) FROM PUBLIC;
         CREATE TYPE span AS RANGE (subtype = text, subtype_diff = apart)",
        &["apart(text,text)", "type span"],
        &[],
    ),
    // Named as one that is granted, and not of the tables' owner.
    (
        "ALTER FUNCTION erase_own_traces() OWNER TO ROLE",
        &["erase_own_traces()", "application role may execute"],
        &[],
    ),
    (
        "CREATE FUNCTION peek() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';
         REVOKE EXECUTE ON FUNCTION peek() FROM PUBLIC",
        &["peek()", "search_path"],
        &[],
    ),
    (
        "CREATE FUNCTION peek() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = public
            AS 'SELECT 1';
         REVOKE EXECUTE ON FUNCTION peek() FROM PUBLIC",
        &["peek()", "pg_temp"],
        &[],
    ),
    (
        "CREATE OR REPLACE FUNCTION erase_audit(account uuid) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
            SET search_path = public, pg_temp AS 'BEGIN RETURN erase_traces_of(ARRAY[account]); END'",
        &["erase_audit(uuid)", "PUBLIC"],
        &["erase_audit(uuid)", "erase_audit(uuid)"],
    ),
    ("CREATE VIEW everybody AS SELECT email FROM users", &["everybody", "security_invoker"], &[]),
    (
        "CREATE SCHEMA other;
         CREATE VIEW other.invoked WITH (security_invoker = true) AS SELECT * FROM users;
         CREATE VIEW everybody AS SELECT email FROM other.invoked",
        &["everybody", "security_invoker"],
        &[],
    ),
    // Not to be read itself, but behind one that is.
    (
        "CREATE SCHEMA other; CREATE VIEW other.inner_view AS SELECT * FROM positions;
         CREATE VIEW outer_view WITH (security_invoker = true) AS SELECT * FROM other.inner_view",
        &["other.inner_view", "security_invoker"],
        &[],
    ),
    (
        "CREATE SCHEMA other; CREATE VIEW other.writes AS SELECT * FROM positions;
         GRANT UPDATE (notes) ON other.writes TO buffetbot_app",
        &["other.writes", "security_invoker"],
        &[],
    ),
    ("CREATE MATERIALIZED VIEW everybody AS SELECT email FROM users", &["everybody", "copy"], &[]),
    (
        "CREATE SCHEMA other; CREATE MATERIALIZED VIEW other.everybody AS SELECT email FROM users;
         GRANT SELECT ON other.everybody TO PUBLIC",
        &["other.everybody", "copy"],
        &[],
    ),
    (
        "CREATE TABLE inbox (id uuid);
         CREATE RULE spread AS ON INSERT TO inbox DO ALSO UPDATE users SET is_active = false",
        &["inbox", "spread"],
        &[],
    ),
    ("CREATE RULE spread AS ON DELETE TO portfolios DO ALSO NOTHING", &["portfolios", "spread"], &[]),
    ("GRANT CREATE ON SCHEMA public TO PUBLIC", &["public", "PUBLIC"], &[]),
    ("GRANT CREATE ON SCHEMA public TO buffetbot_app", &["public", "application role"], &[]),
];

/// In a database of its own: the doctor sees what is committed only.
async fn is_found((wrong, words, tried): Wrong, role: &str) {
    let sick = sound().await;
    let sql = wrong.replace("ROLE", role).replace(&format!("{role} LEVEL"), "ROLE LEVEL");
    // What is made is open to the application role, as after create_roles.
    let open = "ALTER DEFAULT PRIVILEGES IN SCHEMA public
        GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO buffetbot_app";
    let client = connect(&sick).await;
    client.batch_execute(open).await.expect("opened");
    client.batch_execute(&sql).await.expect(wrong);
    let told = told(&sick, Severity::Danger).await;
    let (by_trial, by_catalog): (Vec<_>, Vec<_>) =
        told.iter().partition(|danger| danger.starts_with("danger: effect:"));
    if words.is_empty() {
        assert!(by_catalog.is_empty(), "{wrong}: {told:?}");
    } else {
        let found = |danger: &&String| words.iter().all(|word| danger.contains(word));
        assert!(by_catalog.iter().any(found), "{wrong}: {told:?}");
        // Triggers are named table by table.
        let is_one = by_catalog.iter().all(|danger| danger.starts_with("danger: triggers:"));
        assert!(is_one || by_catalog.len() == 1, "{wrong} is one thing: {told:?}");
    }
    let tables: Vec<_> = by_trial.iter().filter_map(|danger| danger.split(": ").nth(2)).collect();
    assert_eq!(tables, tried, "{wrong}: {told:?}");
}

async fn are_found(table: &[Wrong]) {
    let db = sound().await;
    let role = format!("owner_{}", Uuid::new_v4().simple());
    let client = connect(&db).await;
    client.batch_execute(&format!("CREATE ROLE {role}")).await.expect("a role");
    for wrong in table {
        is_found(*wrong, &role).await;
    }
    client.batch_execute(&format!("DROP ROLE {role}")).await.expect("gone with its databases");
}

#[tokio::test]
async fn a4_policies_that_let_another_in_are_found() {
    are_found(&POLICIES).await;
}

#[tokio::test]
async fn a5_privileges_beyond_need_are_found() {
    are_found(&PRIVILEGES).await;
}

#[tokio::test]
async fn a1_code_with_its_owners_rights_is_found() {
    are_found(&CODE).await;
}

/// By an application role of the test's own, because roles are every test's.
#[tokio::test]
async fn a3_what_the_application_role_is_or_may_become_is_found() {
    let role = format!("app_{}", Uuid::new_v4().simple());
    let db = sound_with(|config| config.application_role(&*role)).await;
    db.create_roles().await.expect("a role");
    let client = connect(&db).await;
    let run = async |sql: &str| {
        client.batch_execute(&sql.replace("APP", &role)).await.expect(sql);
    };
    assert_eq!(told(&db, Severity::Danger).await, Vec::<String>::new());
    for (wrong, right, words) in [
        (
            "ALTER ROLE APP NOINHERIT; GRANT buffetbot_maintenance TO APP",
            "ALTER ROLE APP INHERIT; REVOKE buffetbot_maintenance FROM APP",
            ["may become buffetbot_maintenance", "every row"],
        ),
        (
            "ALTER ROLE APP CREATEROLE",
            "ALTER ROLE APP NOCREATEROLE",
            ["has CREATEROLE", "NOCREATEROLE"],
        ),
        (
            "ALTER ROLE APP REPLICATION",
            "ALTER ROLE APP NOREPLICATION",
            ["has REPLICATION", "change"],
        ),
        (
            "CREATE ROLE APP_maker CREATEROLE; GRANT APP_maker TO APP",
            "DROP ROLE APP_maker",
            ["may become", "CREATEROLE"],
        ),
        (
            "CREATE ROLE APP_reader IN ROLE pg_read_server_files; GRANT APP_reader TO APP",
            "DROP ROLE APP_reader",
            ["member of pg_read_server_files", "REVOKE"],
        ),
        (
            "CREATE ROLE APP_above BYPASSRLS; GRANT APP_above TO APP",
            "DROP ROLE APP_above",
            ["may become", "bypasses every policy"],
        ),
        (
            "ALTER FUNCTION tenant_id() OWNER TO APP",
            "ALTER FUNCTION tenant_id() OWNER TO postgres",
            ["owns the function tenant_id()", "another owner"],
        ),
    ] {
        run(wrong).await;
        let told = told(&db, Severity::Danger).await;
        assert!(words.iter().all(|word| told[0].contains(word)), "{wrong}: {told:?}");
        assert_eq!(told.len(), 1, "{wrong} is one thing: {told:?}");
        run(right).await;
    }
    // What the role inherits is found by trying as well.
    run("GRANT buffetbot_maintenance TO APP").await;
    let dangers = told(&db, Severity::Danger).await;
    for word in ["role: ", "effect: users: ", "effect: events: ", "effect: event_consumers: "] {
        assert!(dangers.iter().any(|danger| danger.contains(word)), "{word}: {dangers:?}");
    }
    run("REVOKE buffetbot_maintenance FROM APP; GRANT pg_read_all_data, pg_write_all_data TO APP")
        .await;
    let dangers = told(&db, Severity::Danger).await;
    for word in ["member of pg_read_all_data", "member of pg_write_all_data"] {
        assert!(dangers.iter().any(|danger| danger.contains(word)), "{word}: {dangers:?}");
    }
    run("REVOKE pg_read_all_data, pg_write_all_data FROM APP").await;
    let database = db.name();
    run(&format!("ALTER DATABASE {database} OWNER TO APP")).await;
    let dangers = told(&db, Severity::Danger).await;
    let found = dangers.iter().any(|danger| danger.contains("owns the database"));
    assert!(found, "{dangers:?}");
    run(&format!("ALTER DATABASE {database} OWNER TO postgres")).await;
    assert_eq!(told(&db, Severity::Danger).await, Vec::<String>::new());
    run("DROP OWNED BY APP; DROP ROLE APP").await;
}
