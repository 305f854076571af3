//! What is kept beside an account: it is in the export, and gone after an erasure, also from memory.

use std::time::Duration;

use crate::api::*;

use super::*;
use crate::catalog::connect;
use crate::support::{eventually, portfolio};

/// Text that is in one account's rows only.
const SECRET: &str = "SECRETIVE";

/// Somebody with rows in every table that has any of a user.
struct Somebody {
    user: User,
    portfolio: Portfolio,
    key: AnalysisKey,
}

impl Somebody {
    async fn new(db: &Database, email: &str, secret: &str) -> Self {
        let ticker: Ticker = parsed(secret);
        let user = user(db, email).await;
        let patch = ProfilePatch::default().first_name(secret);
        db.users().update_profile(user.id, &patch).await.expect("changed");
        let portfolio = portfolio(db, &user, secret).await;
        let position = NewPosition::new(portfolio.id, ticker.clone(), parsed::<Shares>("10"));
        let position = position.notes(secret);
        db.positions().create(&position).await.expect("a position");
        let key = AnalysisKey::new(&ticker, AnalysisType::Risk)
            .portfolio(portfolio.id)
            .parameters(json!({"fear": secret}))
            .expect("parameters");
        // Failed, so that there is a lease; then computed.
        let policy = Policy::ttl(Duration::from_secs(3_600)).retry_after(Duration::ZERO);
        let fail = |_| async { Err::<NewAnalysis, _>("the model is down") };
        db.get_or_compute(&key, &policy, fail).await.expect_err("it fails");
        Somebody { user, portfolio, key }
    }

    fn result(&self) -> NewAnalysis {
        let result = NewAnalysis::new(self.key.ticker.clone(), AnalysisType::Risk);
        result.summary(self.key.ticker.to_string())
    }

    /// Stores two results, of which the second counts, and has memory keep it.
    async fn is_analysed(&self, db: &Database) {
        for _ in 0..2 {
            let result = self.result().portfolio(self.portfolio.id).ttl(Duration::from_secs(3_600));
            let result = result.parameters(json!({"fear": self.key.ticker})).expect("parameters");
            db.analyses().create(&result).await.expect("stored");
        }
        assert!(self.is_served(db).await && self.is_served(db).await);
    }

    /// Takes a lease, as of a computation that is under way.
    async fn is_being_analysed(&self, client: &tokio_postgres::Client) {
        let lease = "INSERT INTO cache_leases (space, ticker, name, parameters_key, portfolio_id, taken_at, expires_at)
            VALUES ('analyses', $1::text, 'under way', '\\x00', $2::text::uuid, now(), now() + interval '1 hour')";
        let (ticker, portfolio) = (self.key.ticker.to_string(), self.portfolio.id.to_string());
        client.execute(lease, &[&ticker, &portfolio]).await.expect("taken");
    }

    /// Whether the result is there without computing it.
    async fn is_served(&self, db: &Database) -> bool {
        let policy = Policy::ttl(Duration::from_secs(3_600)).retry_after(Duration::ZERO);
        let fail = |_| async { Err::<NewAnalysis, _>("the model is down") };
        db.get_or_compute(&self.key, &policy, fail).await.is_ok()
    }
}

/// Every table of the schema with rows whose text has this in it, and how many.
async fn found(client: &tokio_postgres::Client, text: &str) -> Vec<(String, i64)> {
    let tables =
        "SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'public'::regnamespace
        AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY 1";
    let mut found = Vec::new();
    for row in client.query(tables, &[]).await.expect("the catalog") {
        let table: String = row.get(0);
        let count =
            format!("SELECT count(*) FROM {table} t WHERE t::text LIKE '%' || $1::text || '%'");
        let count: i64 = client.query_one(&count, &[&text]).await.expect("counted").get(0);
        if count > 0 {
            found.push((table, count));
        }
    }
    found
}

fn names(found: &[(String, i64)]) -> Vec<&str> {
    found.iter().map(|(table, _)| &**table).collect()
}

#[tokio::test]
async fn e3_an_erasure_leaves_nothing_but_that_something_was_changed() {
    let test = TestDatabase::new().await.expect("a database");
    let db = Database::clone(&test).with_cache(CacheOptions::default()).expect("a cache");
    let client = connect(&test).await;
    let bystander = Somebody::new(&db, "bystander@example.com", "BYSTANDING").await;
    bystander.is_analysed(&db).await;
    let of_bystander = found(&client, "BYSTANDING").await;
    let before = found(&client, &bystander.portfolio.id.to_string()).await;
    for way in ["pool", "in the user's name", "unit of work", "retention", "a program of before"] {
        let ada = Somebody::new(&db, "secretive@example.com", SECRET).await;
        ada.is_analysed(&db).await;
        ada.is_being_analysed(&client).await;
        let portfolio = ada.portfolio.id.to_string();
        let kept = ["analysis_results", "audit_log", "cache_changes", "cache_leases", "events"];
        let there = found(&client, SECRET).await;
        let tables = names(&there);
        assert!(kept.iter().all(|table| tables.contains(table)), "{way}: {tables:?}");

        let id = ada.user.id;
        match way {
            "pool" => _ = db.users().erase(id).await.expect("erased").expect("there"),
            "in the user's name" => {
                _ = db.as_user(id).users().erase(id).await.expect("erased").expect("there");
            }
            "unit of work" => {
                let uow = db.begin().await.expect("begun");
                uow.users().erase(id).await.expect("erased").expect("there");
                uow.commit().await.expect("done");
            }
            "retention" => {
                db.users().deactivate(id).await.expect("changed");
                assert_eq!(db.users().erase_inactive(10, Duration::ZERO).await.expect("erased"), 1);
            }
            _ => {
                assert!(db.users().delete(id).await.expect("deleted"));
                let erase = format!("SELECT erase_audit('{id}')");
                client.batch_execute(&erase).await.expect("erased");
            }
        }
        assert!(!ada.is_served(&db).await, "{way}: memory has it");
        assert!(!ada.is_served(&db).await, "{way}: memory has it again");
        let asked_for_since =
            "DELETE FROM cache_leases WHERE portfolio_id = $1::text::uuid AND name <> 'under way'";
        client.execute(asked_for_since, &[&portfolio]).await.expect("deleted");
        let left = found(&client, SECRET).await;
        assert_eq!(left, [], "{way}");
        assert_eq!(found(&client, "secretive@").await, [], "{way}");
        assert_eq!(names(&found(&client, &id.to_string()).await), ["audit_log"], "{way}");
        // That all of its results are gone is what other processes have to hear.
        let left = found(&client, &portfolio).await;
        assert_eq!(names(&left), ["audit_log", "cache_changes"], "{way}");
        assert_eq!(left[1].1, 1, "{way}");
    }
    assert!(bystander.is_served(&db).await, "nobody else's");
    assert_eq!(found(&client, "BYSTANDING").await, of_bystander);
    assert_eq!(found(&client, &bystander.portfolio.id.to_string()).await, before);
}

/// Positions and private results end with a portfolio as with an account.
#[tokio::test]
async fn e3_memory_serves_nothing_of_what_is_deleted() {
    let test = TestDatabase::new().await.expect("a database");
    let db = Database::clone(&test).with_cache(CacheOptions::default()).expect("a cache");
    for way in [
        "a portfolio",
        "a portfolio in the user's name",
        "an account",
        "an account in the user's name",
    ] {
        let ada = Somebody::new(&db, "secretive@example.com", SECRET).await;
        ada.is_analysed(&db).await;
        let scope = db.as_user(ada.user.id);
        let gone = match way {
            "a portfolio" => db.portfolios().delete(ada.portfolio.id).await,
            "a portfolio in the user's name" => scope.portfolios().delete(ada.portfolio.id).await,
            "an account" => db.users().delete(ada.user.id).await,
            _ => scope.users().delete(ada.user.id).await,
        };
        assert!(gone.expect("deleted"), "{way}");
        assert!(!ada.is_served(&db).await, "{way}");
        if way.contains("portfolio") {
            assert!(db.users().delete(ada.user.id).await.expect("deleted"));
        }
    }
}

#[tokio::test]
async fn e3_a_deleted_portfolio_leaves_nothing_that_an_export_or_erasure_misses() {
    let test = TestDatabase::new().await.expect("a database");
    let process = || Database::clone(&test).with_cache(CacheOptions::default()).expect("a cache");
    let (db, there) = (process(), process());
    let client = connect(&test).await;
    let bystander = Somebody::new(&db, "bystander@example.com", "BYSTANDING").await;
    bystander.is_analysed(&db).await;
    let of_bystander = found(&client, "BYSTANDING").await;
    for way in ["pool", "in the user's name", "unit of work", "with older results only"] {
        let ada = Somebody::new(&db, "secretive@example.com", SECRET).await;
        ada.is_analysed(&db).await;
        ada.is_analysed(&there).await;
        ada.is_being_analysed(&client).await;
        let id = ada.portfolio.id;
        match way {
            "pool" => assert!(db.portfolios().delete(id).await.expect("deleted")),
            "in the user's name" => {
                assert!(db.as_user(ada.user.id).portfolios().delete(id).await.expect("deleted"));
            }
            "unit of work" => {
                let uow = db.begin().await.expect("begun");
                assert!(uow.portfolios().delete(id).await.expect("deleted"));
                uow.commit().await.expect("done");
            }
            _ => {
                // Nothing that could be served is there any more: the log alone has the keys.
                let sql = format!("DELETE FROM analysis_results WHERE portfolio_id = '{id}'");
                client.batch_execute(&sql).await.expect("deleted");
                assert!(db.portfolios().delete(id).await.expect("deleted"));
            }
        }
        let left = found(&client, SECRET).await;
        let tables = names(&left);
        assert!(!tables.contains(&"cache_changes"), "{way}: {left:?}");
        assert!(!tables.contains(&"cache_leases"), "{way}: {left:?}");
        let told = format!("SELECT count(*) FROM cache_changes WHERE portfolio_id = '{id}'");
        let told: i64 = client.query_one(&told, &[]).await.expect("counted").get(0);
        assert_eq!(told, 1, "{way}: one entry a portfolio");
        for process in [&db, &there] {
            eventually("it is forgotten", async || !ada.is_served(process).await).await;
        }
        // Asked for since, in vain.
        let asked = format!("DELETE FROM cache_leases WHERE portfolio_id = '{id}'");
        client.batch_execute(&asked).await.expect("deleted");
        let export = db.users().export(ada.user.id).await.expect("read").expect("there");
        let export: serde_json::Value = export.decode().expect("JSON");
        assert_eq!(export["cache_changes"], json!([]), "{way}");
        // Retention takes what the erasure knew the portfolio by.
        db.audit().sweep(1_000, Duration::ZERO).await.expect("swept");
        db.users().erase(ada.user.id).await.expect("erased").expect("there");
        assert_eq!(found(&client, SECRET).await, [], "{way}");
    }
    assert!(bystander.is_served(&db).await, "nobody else's");
    let now = found(&client, "BYSTANDING").await;
    assert!(
        of_bystander.iter().filter(|(table, _)| table != "audit_log").all(|row| now.contains(row))
    );
}

#[tokio::test]
async fn e3_other_processes_forget_the_results_of_an_erased_portfolio_and_no_others() {
    let test = TestDatabase::new().await.expect("a database");
    let process = || Database::clone(&test).with_cache(CacheOptions::default()).expect("a cache");
    let (here, there) = (process(), process());
    let ada = Somebody::new(&here, "secretive@example.com", SECRET).await;
    let bob = Somebody::new(&here, "bystander@example.com", "BYSTANDING").await;
    for somebody in [&ada, &bob] {
        somebody.is_analysed(&here).await;
        somebody.is_analysed(&there).await;
    }
    let hits = || there.cache().counters().memory_hits;
    let is_remembered = async |somebody: &Somebody| {
        let before = hits();
        somebody.is_served(&there).await && hits() > before
    };
    eventually("both are in memory, and stay", async || {
        tokio::time::sleep(Duration::from_millis(50)).await;
        is_remembered(&ada).await & is_remembered(&bob).await
    })
    .await;
    here.users().erase(ada.user.id).await.expect("erased").expect("there");
    eventually("it is forgotten", async || !ada.is_served(&there).await).await;
    assert!(is_remembered(&bob).await, "from memory, as before");
}

#[tokio::test]
async fn e3_an_export_has_the_rows_of_every_table_that_users_own_rows_in() {
    let test = TestDatabase::new().await.expect("a database");
    let db = Database::clone(&test).with_cache(CacheOptions::default()).expect("a cache");
    let ada = Somebody::new(&db, "secretive@example.com", SECRET).await;
    ada.is_analysed(&db).await;
    let bob = Somebody::new(&db, "bystander@example.com", "BYSTANDING").await;
    bob.is_analysed(&db).await;
    let client = connect(&test).await;
    ada.is_being_analysed(&client).await;
    // Where a policy compares the user with a row, users own rows.
    let owned = "SELECT DISTINCT tablename::text FROM pg_policies WHERE qual LIKE '%= ( SELECT tenant_id()%' ORDER BY 1";
    let owned: Vec<String> =
        client.query(owned, &[]).await.expect("read").iter().map(|row| row.get(0)).collect();
    for (whose, export) in [
        ("anybody's", db.users().export(ada.user.id).await),
        ("the user's own", db.as_user(ada.user.id).users().export(ada.user.id).await),
    ] {
        let export = export.expect("read").expect("there");
        assert!(!export.as_str().contains("BYSTANDING") && !export.as_str().contains("argon2"));
        let export: serde_json::Value = export.decode().expect("JSON");
        for table in &owned {
            let key = if table == "analysis_results" { "analyses" } else { table };
            if table == "users" {
                assert_eq!(export["user"]["first_name"], SECRET);
                continue;
            }
            let rows = export[key].as_array().unwrap_or_else(|| panic!("{whose}: no {key}"));
            let (user, portfolio) = (ada.user.id.to_string(), ada.portfolio.id.to_string());
            let counted = format!(
                "SELECT count(*) FROM {table} t WHERE t::text LIKE '%{user}%' OR t::text LIKE '%{portfolio}%'"
            );
            let counted: i64 = client.query_one(&counted, &[]).await.expect("counted").get(0);
            assert!(counted > 0, "{table}: nothing is tried");
            assert_eq!(rows.len() as i64, counted, "{whose}: {table}");
        }
    }
}
