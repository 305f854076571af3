//! Functions that run with the owner's rights: nobody else gets these rights by them.

use buffetbot_db::testing::TestDatabase;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::{login, person};
use crate::catalog::connect;
use crate::support::raw;

/// What each role is given to call; a function that is not in this list is nobody's but its owner's.
const CALLABLE: [(&str, [bool; 3]); 8] = [
    ("account_is_known(uuid)", [false, true, true]),
    ("account_salt(text)", [false, true, true]),
    ("authenticate_account(text,text)", [false, true, true]),
    ("change_account_password(text,text,text)", [false, true, true]),
    ("erase_own_traces()", [false, true, true]),
    ("erase_traces_of(uuid[])", [false, false, true]),
    ("register_account(uuid,text,text,text,text,text,text)", [false, true, true]),
    ("sweep_cache_log()", [false, true, true]),
];

struct Definer {
    signature: String,
    is_trigger: bool,
    /// Of a trigger function: the table that it belongs to.
    table: Option<String>,
}

/// Every function with its owner's rights, whatever made it.
async fn definers(client: &Client) -> Vec<Definer> {
    let rows = client
        .query(
            "SELECT p.oid::regprocedure::text, p.prorettype = 'trigger'::regtype,
                 (SELECT min(t.tgrelid::regclass::text) FROM pg_trigger t WHERE t.tgfoid = p.oid)
             FROM pg_proc p
             WHERE p.prosecdef AND p.pronamespace NOT IN ('pg_catalog'::regnamespace,
                 'information_schema'::regnamespace) ORDER BY 1",
            &[],
        )
        .await
        .expect("the catalog");
    rows.iter()
        .map(|row| Definer { signature: row.get(0), is_trigger: row.get(1), table: row.get(2) })
        .collect()
}

fn code(error: &tokio_postgres::Error) -> SqlState {
    error.code().unwrap_or_else(|| panic!("not the server's word: {error}")).clone()
}

/// Calls with NULLs, which no function of ours may take for a yes.
async fn call(client: &Client, signature: &str) -> Result<(), tokio_postgres::Error> {
    let (name, arguments) = signature.split_once('(').expect("a signature");
    let arguments = arguments.trim_end_matches(')').split(',').filter(|a| !a.is_empty());
    let arguments: Vec<String> = arguments.map(|of| format!("NULL::{of}")).collect();
    client.query(&format!("SELECT {name}({})", arguments.join(", ")), &[]).await.map(|_| ())
}

/// A temporary table like the function's own, of which a column has a type with a cast that runs the attacker's code,
/// the function as its trigger, and a row.
async fn attach(
    client: &Client,
    definer: &Definer,
    event: &str,
) -> Result<(), tokio_postgres::Error> {
    let name = definer.signature.trim_end_matches("()");
    let table = definer.table.as_deref().expect("a table of its own");
    client
        .batch_execute(
            "CREATE TYPE pg_temp.trap AS ENUM ('sprung');
             CREATE FUNCTION pg_temp.spring_json(pg_temp.trap) RETURNS json LANGUAGE sql AS
                 $$ UPDATE public.users SET first_name = 'pwned ' || current_user; SELECT '1'::json $$;
             CREATE FUNCTION pg_temp.spring_text(pg_temp.trap) RETURNS varchar LANGUAGE sql AS
                 $$ UPDATE public.users SET first_name = 'pwned ' || current_user; SELECT 'x'::varchar $$;
             CREATE CAST (pg_temp.trap AS json) WITH FUNCTION pg_temp.spring_json(pg_temp.trap);
             CREATE CAST (pg_temp.trap AS varchar) WITH FUNCTION pg_temp.spring_text(pg_temp.trap) AS ASSIGNMENT",
        )
        .await
        .expect("anybody's right");
    // Each column that is text is a trap; the others are there so that the function finds what it asks for.
    let columns = client
        .query(
            "SELECT attname::text, atttypid IN ('text'::regtype, 'varchar'::regtype), format_type(atttypid, atttypmod)
             FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped",
            &[&format!("public.{table}")],
        )
        .await
        .expect("columns");
    let (mut all, mut traps) = (Vec::new(), Vec::new());
    for row in &columns {
        let (name, is_text, of): (String, bool, String) = (row.get(0), row.get(1), row.get(2));
        all.push(format!("{name} {}", if is_text { "pg_temp.trap" } else { &of }));
        if is_text {
            traps.push(name);
        }
    }
    let create = format!("CREATE TEMP TABLE {table} ({})", all.join(", "));
    client.batch_execute(&create).await.expect("anybody's right");
    let values: Vec<&str> = traps.iter().map(|_| "'sprung'").collect();
    let row = match traps.is_empty() {
        true => format!("INSERT INTO pg_temp.{table} DEFAULT VALUES"),
        false => {
            let (traps, values) = (traps.join(", "), values.join(", "));
            format!("INSERT INTO pg_temp.{table} ({traps}) VALUES ({values})")
        }
    };
    client.batch_execute(&row).await.expect("a row");
    let (how, change) = match event {
        "INSERT" => ("REFERENCING NEW TABLE AS changed FOR EACH STATEMENT", row),
        "UPDATE" => {
            let first: String = columns[0].get(0);
            let change = format!("UPDATE pg_temp.{table} SET {first} = {first}");
            ("REFERENCING NEW TABLE AS changed FOR EACH STATEMENT", change)
        }
        "DELETE" => (
            "REFERENCING OLD TABLE AS replaced FOR EACH STATEMENT",
            format!("DELETE FROM pg_temp.{table}"),
        ),
        _ => ("FOR EACH ROW", format!("DELETE FROM pg_temp.{table}")),
    };
    let event = event.trim_end_matches(" of a row");
    client
        .batch_execute(&format!(
            "CREATE TRIGGER attack AFTER {event} ON pg_temp.{table} {how} EXECUTE FUNCTION public.{name}()"
        ))
        .await?;
    client.batch_execute(&change).await
}

/// What a successful attack leaves behind.
async fn traces(client: &Client) -> (i64, i64, i64, i64) {
    let row = client
        .query_one(
            "SELECT (SELECT count(*) FROM users WHERE first_name LIKE 'pwned%'), (SELECT count(*) FROM audit_log),
                (SELECT count(*) FROM events), (SELECT count(*) FROM cache_changes)",
            &[],
        )
        .await
        .expect("counts");
    (row.get(0), row.get(1), row.get(2), row.get(3))
}

#[tokio::test]
async fn a1_nobody_calls_attaches_or_casts_through_a_function_of_the_owner() {
    let db = TestDatabase::new().await.expect("a database");
    person(&*db, "a@example.com").await;
    let admin = connect(&db).await;
    let before = traces(&admin).await;
    let nobody = login(&db, "").await;
    let definers = definers(&admin).await;
    assert!(definers.iter().filter(|d| d.is_trigger).count() >= 10, "there are some to attack");
    let roles = [None, Some("buffetbot_app"), Some("buffetbot_maintenance")];
    for (position, role) in roles.into_iter().enumerate() {
        for definer in &definers {
            let signature = &definer.signature;
            let client = match role {
                None => raw(&nobody.url).await,
                Some(role) => {
                    let client = connect(&db).await;
                    client
                        .batch_execute(&format!("SET SESSION AUTHORIZATION {role}"))
                        .await
                        .expect("a role");
                    client
                }
            };
            let may_call = CALLABLE.iter().any(|(name, by)| name == signature && by[position]);
            let called = call(&client, signature).await;
            match &called {
                Err(error) if definer.is_trigger => {
                    let expected =
                        [SqlState::FEATURE_NOT_SUPPORTED, SqlState::INSUFFICIENT_PRIVILEGE];
                    assert!(expected.contains(&code(error)), "{role:?} calls {signature}: {error}");
                }
                Err(error) if !may_call => {
                    assert_eq!(
                        code(error),
                        SqlState::INSUFFICIENT_PRIVILEGE,
                        "{role:?} calls {signature}"
                    );
                }
                Ok(()) if !may_call => panic!("{role:?} may call {signature}"),
                // What may be called refuses NULL, or finds nothing.
                _ => {}
            }
            if definer.is_trigger {
                let refused = attach(&client, definer, "INSERT").await.expect_err(signature);
                assert_eq!(
                    code(&refused),
                    SqlState::INSUFFICIENT_PRIVILEGE,
                    "{role:?} attaches {signature}"
                );
            }
        }
    }
    assert_eq!(traces(&admin).await, before);
    nobody.drop().await;
}

#[tokio::test]
async fn a1_a_trigger_function_refuses_a_table_that_is_not_its_own() {
    // The second lock, where somebody has granted EXECUTE again.
    let db = TestDatabase::new().await.expect("a database");
    person(&*db, "a@example.com").await;
    let admin = connect(&db).await;
    let before = traces(&admin).await;
    let nobody = login(&db, "").await;
    admin
        .batch_execute("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO PUBLIC")
        .await
        .expect("open");
    for definer in definers(&admin).await.iter().filter(|definer| definer.is_trigger) {
        for event in ["INSERT", "UPDATE", "DELETE", "DELETE of a row"] {
            let client = raw(&nobody.url).await;
            let refused = attach(&client, definer, event).await.expect_err(&definer.signature);
            let is_ours =
                refused.as_db_error().is_some_and(|e| e.message().contains("is a trigger of"));
            assert!(is_ours, "{} on {event}: {refused:?}", definer.signature);
        }
    }
    assert_eq!(traces(&admin).await, before);
    nobody.drop().await;
}

#[tokio::test]
async fn a1_each_migration_that_makes_such_a_function_closes_it() {
    let db = TestDatabase::new().await.expect("a database");
    let client = connect(&db).await;
    let open = client
        .query(
            "SELECT p.oid::regprocedure::text FROM pg_proc p
             WHERE p.prosecdef AND p.pronamespace = 'public'::regnamespace
                 AND EXISTS (SELECT FROM aclexplode(COALESCE(p.proacl, acldefault('f', p.proowner))) acl
                     WHERE acl.grantee = 0)",
            &[],
        )
        .await
        .expect("the catalog");
    let open: Vec<String> = open.iter().map(|row| row.get(0)).collect();
    assert_eq!(open, Vec::<String>::new());
    let settings = client
        .query(
            "SELECT p.oid::regprocedure::text FROM pg_proc p
             WHERE p.pronamespace = 'public'::regnamespace
                 -- A body that was parsed when it was made looks up nothing.
                 AND p.prosqlbody IS NULL
                 AND p.proconfig IS DISTINCT FROM ARRAY['search_path=public, pg_temp']",
            &[],
        )
        .await
        .expect("the catalog");
    assert!(settings.is_empty(), "{settings:?}");
}

#[tokio::test]
async fn a1_types_and_tables_of_the_caller_stand_in_for_none_of_ours() {
    let db = TestDatabase::new().await.expect("a database");
    let me = person(&*db, "a@example.com").await;
    let admin = connect(&db).await;
    let before = traces(&admin).await;
    for role in ["buffetbot_app", "buffetbot_maintenance"] {
        let client = connect(&db).await;
        client
            .batch_execute(&format!(
                "SET SESSION AUTHORIZATION {role};
                 CREATE FUNCTION pg_temp.payload(v pg_catalog.uuid) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
                     IF current_user <> '{role}' THEN UPDATE public.users SET first_name = 'pwned'; END IF;
                     RETURN true; END $$;
                 CREATE DOMAIN pg_temp.uuid AS pg_catalog.uuid CHECK (pg_temp.payload(VALUE));
                 CREATE TEMP TABLE pg_class AS SELECT c.oid, '{role}'::regrole::oid AS relowner FROM pg_catalog.pg_class c;
                 CREATE TEMP TABLE audit_log (user_id pg_catalog.uuid, row_id pg_catalog.uuid, table_name text);
                 CREATE TEMP SEQUENCE cache_version START 9223372036854775000"
            ))
            .await
            .expect("anybody's right");
        // Called first, so that a session would keep what it finds.
        let called =
            client.query("SELECT public.portfolio_owner(NULL)", &[]).await.expect_err(role);
        assert_eq!(code(&called), SqlState::INSUFFICIENT_PRIVILEGE);
        let (id, portfolio) = (me.user.id, me.portfolio.id);
        client
            .batch_execute(&format!(
                "SET buffetbot.user_id = '{id}';
                 INSERT INTO public.positions (portfolio_id, ticker) VALUES ('{portfolio}', '{}')",
                if role == "buffetbot_app" { "ONE" } else { "TWO" }
            ))
            .await
            .expect("a row of the user's own");
        if role == "buffetbot_app" {
            let raise = client
                .batch_execute("UPDATE public.users SET is_verified = true, hashed_password = 'x'");
            assert_eq!(code(&raise.await.expect_err("refused")), SqlState::INSUFFICIENT_PRIVILEGE);
        }
        client
            .batch_execute(
                "INSERT INTO public.market_data_cache (ticker, data_type, data, cached_at, expires_at)
                 VALUES ('AAPL', 'news', '{}', now(), now() + interval '1 hour')
                 ON CONFLICT (ticker, data_type, parameters_key) DO UPDATE SET data = '[]'",
            )
            .await
            .expect("an entry");
    }
    let (pwned, ..) = traces(&admin).await;
    assert_eq!(pwned, before.0);
    let highest = "SELECT count(*) FROM market_data_cache WHERE version > 9000000000000000000";
    assert_eq!(admin.query_one(highest, &[]).await.expect("read").get::<_, i64>(0), 0);
}

#[tokio::test]
async fn a2_the_values_of_the_log_are_erased_by_those_who_may_only() {
    let db = TestDatabase::new().await.expect("a database");
    let (gone, there) = (person(&*db, "a@example.com").await, person(&*db, "b@example.com").await);
    assert!(db.users().delete(gone.user.id).await.expect("deleted"));
    let admin = connect(&db).await;
    let values = async || -> i64 {
        let sql = "SELECT count(*) FROM audit_log WHERE before IS NOT NULL OR after IS NOT NULL";
        admin.query_one(sql, &[]).await.expect("read").get(0)
    };
    let before = values().await;
    let nobody = login(&db, "").await;
    let (anybody, client) = (raw(&nobody.url).await, connect(&db).await);
    let (a, b) = (gone.user.id.to_string(), there.user.id.to_string());
    let refused = async |client: &Client, named: Option<&str>, account: &str| {
        let name = named.map(|id| format!("SET buffetbot.user_id = '{id}';")).unwrap_or_default();
        for call in [
            format!("erase_audit({account})"),
            format!("erase_traces(ARRAY[{account}]::uuid[])"),
            format!("erase_traces_of(ARRAY[{account}]::uuid[])"),
            format!("erase_traces_of(ARRAY['{a}', {account}]::uuid[])"),
        ] {
            let sql = format!("RESET buffetbot.user_id; {name} SELECT {call}");
            let error = client.batch_execute(&sql).await.expect_err(&sql);
            assert_eq!(code(&error), SqlState::INSUFFICIENT_PRIVILEGE, "{sql}");
        }
    };
    for role in [None, Some("buffetbot_app")] {
        let client = if role.is_some() { &client } else { &anybody };
        if let Some(role) = role {
            client
                .batch_execute(&format!("SET SESSION AUTHORIZATION {role}"))
                .await
                .expect("a role");
        }
        refused(client, None, &format!("'{a}'")).await;
        refused(client, None, "NULL").await;
        refused(client, Some(&b), &format!("'{a}'")).await;
        refused(client, Some(&b), &format!("'{b}'")).await;
        client.batch_execute("RESET buffetbot.user_id").await.expect("reset");
        client.batch_execute("SELECT erase_own_traces()").await.expect_err("of nobody");
    }
    assert_eq!(values().await, before);
    // The named user's own, once the account is gone; and by maintenance anybody's.
    let own = format!("SET buffetbot.user_id = '{a}'; SELECT erase_audit('{a}')");
    client.batch_execute(&own).await.expect("her own");
    assert!(values().await < before);
    drop((anybody, client));
    nobody.drop().await;
}
