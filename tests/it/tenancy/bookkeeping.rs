//! What a transaction in a user's name can do with the tables that keep the crate's own books.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::api::*;
use buffetbot_db::testing::TestDatabase;
use tokio_postgres::Client;

use super::{member, person};
use crate::catalog::connect;
use crate::support::{parsed, repository};

/// As the application role, in the name of this user or of nobody.
async fn tenant(db: &TestDatabase, user: Option<UserId>) -> Client {
    let client = connect(db).await;
    let name = user.map(|id| format!("; SET buffetbot.user_id = '{id}'")).unwrap_or_default();
    let begin = format!("SET SESSION AUTHORIZATION buffetbot_app{name}");
    client.batch_execute(&begin).await.expect("the role");
    client
}

/// Rows of the bookkeeping, with everything in them.
async fn books(client: &Client) -> Vec<String> {
    let rows = client
        .query(
            "SELECT 'consumer ' || c::text FROM event_consumers c UNION ALL SELECT 'change ' || c::text FROM cache_changes c
             UNION ALL SELECT 'lease ' || l::text FROM cache_leases l UNION ALL SELECT 'event ' || e::text FROM events e
             UNION ALL SELECT 'revision ' || r::text FROM price_revisions r
             UNION ALL SELECT 'migration ' || m::text FROM __diesel_schema_migrations m ORDER BY 1",
            &[],
        )
        .await
        .expect("all of them");
    rows.iter().map(|row| row.get(0)).collect()
}

async fn filled(db: &TestDatabase) {
    db.events().consumer("engine", EventFilter::new()).await.expect("registered");
    let day: chrono::NaiveDate = parsed("2024-01-02");
    let bar = |close: &str| NewPriceBar::new(parsed("AAPL"), day, parsed(close));
    db.prices().upsert_many(&[bar("1")]).await.expect("stored");
    db.prices().upsert_many(&[bar("2")]).await.expect("corrected, with a revision");
    let key = CacheKey::new(&parsed("AAPL"), DataType::NEWS);
    let (document, options) =
        (Document::encode(&[1]).expect("a document"), PutOptions::ttl(Duration::from_secs(60)));
    for _ in 0..2 {
        db.market_cache().put(&key, &document, &options).await.expect("stored, with a change");
    }
    let lease = "INSERT INTO cache_leases (space, ticker, name, parameters_key, token, taken_at, expires_at)
        VALUES ('market_data', 'AAPL', 'news', cache_parameters_key(NULL), 1, now(), now() + interval '1 minute')";
    connect(db).await.batch_execute(lease).await.expect("a lease");
}

#[tokio::test]
async fn a5_a_tenant_changes_no_consumer_log_or_lease() {
    let db = TestDatabase::new().await.expect("a database");
    let mine = person(&*db, "a@example.com").await;
    filled(&db).await;
    let admin = connect(&db).await;
    let before = books(&admin).await;
    assert!(before.len() > 8, "{before:?}");
    let client = tenant(&db, Some(mine.user.id)).await;
    for statement in [
        "UPDATE event_consumers SET seen = pg_current_snapshot(), reading = NULL",
        "UPDATE event_consumers SET name = 'other'",
        "DELETE FROM event_consumers",
        "INSERT INTO event_consumers (name, seen) VALUES ('mine', pg_current_snapshot())",
        "DELETE FROM cache_changes",
        "UPDATE cache_changes SET ticker = 'MSFT'",
        "INSERT INTO cache_changes (version, space) VALUES (nextval('cache_version'), 'market_data')",
        "UPDATE cache_leases SET expires_at = now() + interval '1 year'",
        "UPDATE cache_leases SET token = NULL, failures = 9",
        "INSERT INTO cache_leases (space, ticker, name, parameters_key, token, taken_at, expires_at)
            VALUES ('market_data', 'MSFT', 'news', cache_parameters_key(NULL), 1, now(), now() + interval '1 year')",
        "INSERT INTO cache_leases (space, ticker, name, parameters_key, token, taken_at, expires_at)
            VALUES ('market_data', 'AAPL', 'news', cache_parameters_key(NULL), 1, now(), now() + interval '1 year')
            ON CONFLICT (ticker, name, parameters_key, space, portfolio_id)
            DO UPDATE SET expires_at = excluded.expires_at",
        "DELETE FROM events",
        "UPDATE events SET ticker = 'MSFT'",
        "INSERT INTO events (kind, ticker, payload) VALUES ('prices_updated', 'AAPL', '{}')",
        "UPDATE price_revisions SET close_price = 3",
        "DELETE FROM price_revisions",
        "DELETE FROM __diesel_schema_migrations",
        "SELECT setval('cache_version', 1)",
        "SELECT nextval('events_id_seq')",
        "SELECT sweep_cache_log()",
    ] {
        // Refused, or without effect.
        let _ = client.batch_execute(statement).await;
        assert_eq!(books(&admin).await, before, "{statement}");
    }
    // What it reads of leases and changes is what concerns it.
    let seen = client.query_one("SELECT count(*) FROM event_consumers", &[]).await.expect("read");
    assert_eq!(seen.get::<_, i64>(0), 0);
    // An invalidation takes the lease away, so that a fetch under way does not bring back what was there.
    let scope = db.as_user(mine.user.id);
    let selector = CacheSelector::ticker(&parsed("AAPL"));
    scope.market_cache().invalidate(&selector).await.expect("invalidated");
    let after = books(&admin).await;
    assert!(!after.iter().any(|row| row.starts_with("lease")), "{after:?}");
}

#[tokio::test]
async fn a5_versions_and_revisions_are_kept_by_triggers_alone() {
    let db = TestDatabase::new().await.expect("a database");
    let (mine, theirs) = (person(&*db, "a@example.com").await, person(&*db, "b@example.com").await);
    filled(&db).await;
    let (client, admin) = (tenant(&db, Some(mine.user.id)).await, connect(&db).await);
    // Versions to come make nobody else's writes fail.
    client
        .batch_execute(&format!(
            "INSERT INTO analysis_results (portfolio_id, ticker, analysis_type, version)
             SELECT '{}', 'Z', 'risk_analysis', last_value + n FROM cache_version, generate_series(1, 50) n",
            mine.portfolio.id
        ))
        .await
        .expect("rows of her own");
    let analysis =
        NewAnalysis::new(parsed("AAPL"), AnalysisType::Risk).portfolio(theirs.portfolio.id);
    for _ in 0..60 {
        let analysis = NewAnalysis { id: AnalysisId::generate(), ..analysis.clone() };
        db.as_user(theirs.user.id).analyses().create(&analysis).await.expect("stored");
    }
    // Of a correction the revision is kept, whatever stands beside it.
    let kept = async || -> i64 {
        let sql = "SELECT count(*) FROM price_revisions WHERE close_price = 2";
        admin.query_one(sql, &[]).await.expect("read").get(0)
    };
    for (wrong, refused) in [
        ("CREATE TEMP TABLE price_revisions (LIKE public.price_revisions INCLUDING ALL)", false),
        ("INSERT INTO public.price_revisions (ticker, date, replaced_at, id, close_price, is_suspect, created_at)
            SELECT ticker, date, now(), id, 555, false, created_at FROM price_history", true),
        ("UPDATE price_history SET created_at = now()", true),
        ("UPDATE price_history SET corrected_at = NULL", true),
    ] {
        assert_eq!(client.batch_execute(wrong).await.is_err(), refused, "{wrong}");
    }
    assert_eq!(kept().await, 0);
    client.batch_execute("UPDATE price_history SET close_price = 3").await.expect("everybody's");
    assert_eq!(kept().await, 1);

    // A position with the id of another's portfolio is not taken for it.
    let id = theirs.portfolio.id;
    client
        .batch_execute(&format!(
            "INSERT INTO positions (id, portfolio_id, ticker) VALUES ('{id}', '{}', 'TRAP')",
            mine.portfolio.id
        ))
        .await
        .expect("a position of her own");
    db.as_user(theirs.user.id).portfolios().delete(id).await.expect("deleted");
    let filter = AuditFilter::default().user_id(mine.user.id);
    let entries = db.audit().list(&filter, &PageRequest::first(100)).await.expect("read").items;
    assert!(
        !entries.iter().any(|entry| entry.row_id == uuid::Uuid::from(theirs.position.id)),
        "{entries:?}"
    );
}

#[tokio::test]
async fn a5_a_program_of_the_application_role_alone_has_leases_and_consumers() {
    let db = TestDatabase::new().await.expect("a database");
    let mine = person(&*db, "a@example.com").await;
    let login = member(&db, "buffetbot_app").await;
    let program =
        Database::connect(Config::new(&login.url).expect("a URL")).await.expect("connected");
    let mut consumer =
        program.events().consumer("engine", EventFilter::new()).await.expect("registered");
    let key = CacheKey::new(&parsed("AAPL"), DataType::NEWS);
    let policy = Policy::ttl(Duration::from_secs(60));
    for _ in 0..2 {
        let fetched = program
            .cache()
            .get_or_fetch::<Vec<i32>>(&key, &policy, |_| async { Ok::<_, BoxError>(vec![1]) });
        assert_eq!(*fetched.await.expect("fetched under a lease").value, [1]);
    }
    let selector = CacheSelector::key(&key);
    program.cache().invalidate(&selector).await.expect("invalidated");
    let bars = testing::fixtures::bars(&parsed("AAPL"), parsed("2024-01-02"), 3).expect("bars");
    program.prices().upsert_many(&bars).await.expect("stored");
    let delivery = consumer.next().await.expect("delivered");
    assert!(!delivery.events().is_empty());
    delivery.commit().await.expect("moved on");
    let state = program.events().consumers().await.expect("read");
    assert_eq!(state.len(), 1);
    assert!(program.events().forget("engine").await.expect("forgotten"));

    // It sweeps the log of private keys too, which it does not see.
    let admin = connect(&db).await;
    admin
        .batch_execute(
            "UPDATE cache_changes SET changed_at = now() - interval '2 hours';
             INSERT INTO cache_leases (space, ticker, name, parameters_key, portfolio_id, token, taken_at, expires_at)
                 SELECT 'analyses', 'AAPL', 'risk_analysis', cache_parameters_key(NULL), id, 1, now() - interval '3 hours',
                     now() - interval '2 hours' FROM portfolios",
        )
        .await
        .expect("old ones");
    let left = async || -> i64 {
        let sql =
            "SELECT (SELECT count(*) FROM cache_changes) + (SELECT count(*) FROM cache_leases)";
        admin.query_one(sql, &[]).await.expect("read").get(0)
    };
    assert!(left().await > 2);
    let connection = program.connection().await.expect("a connection");
    crate::support::batch(&connection, "SELECT sweep_cache_log()").await.expect("swept");
    assert_eq!(left().await, 0);
    drop((connection, consumer, mine, program));
    login.drop().await;
}

/// The part of the guide between these marks is a table: `| name | application role | maintenance role |`.
const MARKS: (&str, &str) = ("<!-- rights -->", "<!-- end of rights -->");

#[tokio::test]
async fn a5_the_guide_has_the_rights_of_each_role() {
    let db = TestDatabase::new().await.expect("a database");
    let rows = connect(&db)
        .await
        .query(
            "WITH things AS (
                 SELECT c.relname::text AS name, c.relacl AS acl FROM pg_class c
                 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
                 UNION ALL
                 SELECT p.oid::regprocedure::text, p.proacl FROM pg_proc p
                 WHERE p.pronamespace = 'public'::regnamespace AND p.prosecdef
                     AND p.prorettype <> 'trigger'::regtype
             )
             SELECT name, r.rolname::text, COALESCE(string_agg(a.privilege_type, ', ' ORDER BY array_position(
                 ARRAY['USAGE', 'SELECT', 'INSERT', 'UPDATE', 'DELETE', 'EXECUTE'], a.privilege_type)), '')
             FROM things CROSS JOIN pg_roles r LEFT JOIN LATERAL aclexplode(acl) a ON a.grantee = r.oid
             WHERE r.rolname IN ('buffetbot_app', 'buffetbot_maintenance') GROUP BY 1, 2",
            &[],
        )
        .await
        .expect("the catalog");
    let mut found: BTreeMap<String, [String; 2]> = BTreeMap::new();
    for row in rows {
        let (name, role, rights): (String, String, String) = (row.get(0), row.get(1), row.get(2));
        let position = usize::from(role == "buffetbot_maintenance");
        found.entry(name).or_default()[position] = rights;
    }
    let path = repository("docs/guide/tenants.md");
    let page = std::fs::read_to_string(path).expect("the guide");
    let (_, rest) = page.split_once(MARKS.0).expect("the table");
    let (table, _) = rest.split_once(MARKS.1).expect("its end");
    let written: BTreeMap<String, [String; 2]> = table
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let [name, rights @ ..] = &cells[..] else { panic!("{line}") };
            let cell = |i: usize| rights[i].replace('-', "").to_owned();
            (name.trim_matches('`').to_owned(), [cell(0), cell(1)])
        })
        .collect();
    let lines = |of: &BTreeMap<String, [String; 2]>| -> String {
        let dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        of.iter()
            .map(|(name, [a, m])| format!("| `{name}` | {} | {} |\n", dash(a), dash(m)))
            .collect()
    };
    assert_eq!(lines(&written), lines(&found), "docs/guide/tenants.md");
}
