//! What the doctor cannot try it says so of, and leaves nothing of what it tries.

use std::time::Duration;

use crate::api::*;
use buffetbot_db::testing::TestDatabase;
use uuid::Uuid;

use super::{MEND, sound, told};
use crate::catalog::connect;
use crate::support::eventually;

/// The one thing that could not be tried, of a database without a danger.
async fn unknown(db: &Database) -> String {
    assert_eq!(told(db, Severity::Danger).await, Vec::<String>::new());
    let mut told = told(db, Severity::Unknown).await;
    assert_eq!(told.len(), 1, "{told:?}");
    told.remove(0)
}

#[tokio::test]
async fn a_database_that_only_reads_could_not_be_tried() {
    let db = sound().await;
    let separator = if db.url().contains('?') { '&' } else { '?' };
    let url = format!("{}{separator}options=-c%20default_transaction_read_only%3Don", db.url());
    let standby = Database::connect(Config::new(&url).expect("a URL")).await.expect("connected");
    let told = unknown(&standby).await;
    assert!(told.contains("could not try") && told.contains("read-only"), "{told}");
    assert!(!standby.doctor().await.expect("examined").is_healthy());
    assert!(db.doctor().await.expect("examined").is_healthy());
}

#[tokio::test]
async fn a_table_that_is_locked_or_wants_more_could_not_be_tried() {
    let db = sound().await;
    let other = connect(&db).await;
    other.batch_execute("BEGIN; LOCK TABLE portfolios IN SHARE MODE").await.expect("locked");
    let told = unknown(&db).await;
    assert!(told.contains("portfolios: could not try") && told.contains("no lock"), "{told}");
    other.batch_execute("ROLLBACK").await.expect("let go");
    assert!(db.doctor().await.expect("examined").is_healthy());
    other.batch_execute("ALTER TABLE users ADD COLUMN region int NOT NULL").await.expect("added");
    let told = unknown(&db).await;
    assert!(told.contains("users: could not try") && told.contains("region"), "{told}");
}

#[tokio::test]
async fn a_login_without_rights_could_not_try() {
    let db = sound().await;
    let (plain, sweeper) = (
        format!("plain_{}", Uuid::new_v4().simple()),
        format!("sweep_{}", Uuid::new_v4().simple()),
    );
    let admin = connect(&db).await;
    admin
        .batch_execute(&format!(
            "CREATE ROLE {plain} LOGIN PASSWORD 'x';
             CREATE ROLE {sweeper} LOGIN PASSWORD 'x' IN ROLE buffetbot_maintenance"
        ))
        .await
        .expect("logins");
    for (login, expected) in [(&plain, 2), (&sweeper, 1)] {
        let url = db.url().replace("postgres@", &format!("{login}:x@"));
        let program = Database::connect(Config::new(&url).expect("a URL")).await.expect(login);
        let dangers = told(&program, Severity::Danger).await;
        assert_eq!(dangers.len(), 1, "{dangers:?}");
        assert!(dangers[0].contains("is not granted to the login"), "{dangers:?}");
        // Neither what is tried, nor of the plain login which migrations are applied.
        let unknown = told(&program, Severity::Unknown).await;
        assert_eq!(unknown.len(), expected, "{unknown:?}");
        assert!(unknown[0].contains("buffetbot_app: could not try"), "{unknown:?}");
        let logins = told(&program, Severity::Warning).await;
        let sees = logins.iter().any(|told| told.contains("may become buffetbot_maintenance"));
        assert_eq!(sees, *login == sweeper, "{logins:?}");
    }
    admin.batch_execute(&format!("DROP ROLE {plain}; DROP ROLE {sweeper}")).await.expect("gone");
}

#[tokio::test]
async fn tables_that_are_not_there_could_not_be_tried() {
    let empty = TestDatabase::empty().await.expect("an empty database");
    let told = told(&empty, Severity::Unknown).await;
    assert!(told.len() == 1 && told[0].contains("users: could not try"), "{told:?}");
}

/// How many rows there are of what the trial makes.
const ROWS: &str = "SELECT (SELECT count(*) FROM users) + (SELECT count(*) FROM portfolios)
    + (SELECT count(*) FROM positions) + (SELECT count(*) FROM analysis_results)
    + (SELECT count(*) FROM cache_leases) + (SELECT count(*) FROM cache_changes)
    + (SELECT count(*) FROM audit_log) + (SELECT count(*) FROM events)
    + (SELECT count(*) FROM event_consumers) + (SELECT count(*) FROM price_revisions)";

#[tokio::test]
async fn nothing_is_left_of_the_trial_also_where_it_is_dropped() {
    let db = TestDatabase::new().await.expect("a database");
    let client = connect(&db).await;
    client.batch_execute(MEND).await.expect("mended");
    let rows = async || -> i64 { client.query_one(ROWS, &[]).await.expect("read").get(0) };
    assert!(db.doctor().await.expect("examined").is_healthy());
    assert_eq!(rows().await, 0);
    let mut dropped = 0;
    for patience in (0..60).map(|n| Duration::from_millis(n * 5)) {
        dropped += u32::from(tokio::time::timeout(patience, db.doctor()).await.is_err());
    }
    assert!(dropped > 0);
    // Connections that were closed leave a moment later.
    eventually("no transaction is open", async || {
        let open = "SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL";
        client.query_one(open, &[]).await.expect("read").get::<_, i64>(0) == 0
    })
    .await;
    assert_eq!(rows().await, 0);
    assert!(db.doctor().await.expect("examined").is_healthy());
}
