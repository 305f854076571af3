//! The log of changes: complete, silent about passwords, and only added to.

use std::time::Duration;

use crate::api::*;
use buffetbot_db::testing::TestDatabase;
use tokio_postgres::error::SqlState;

use crate::catalog::connect;
use crate::support::{every_page, hash, parsed, portfolio, user};

/// Every entry, the oldest first.
async fn entries(db: &impl Repositories, filter: AuditFilter) -> Vec<AuditEntry> {
    let mut entries = every_page(3, async |page| db.audit().list(&filter, &page).await).await;
    assert_eq!(db.audit().count(&filter).await.expect("read"), entries.len() as u64);
    entries.reverse();
    entries
}

fn what(entries: &[AuditEntry]) -> Vec<(AuditedTable, Operation)> {
    entries.iter().map(|entry| (entry.table_name, entry.operation)).collect()
}

fn value(document: &Option<Document>) -> serde_json::Value {
    document.as_ref().map_or(serde_json::Value::Null, |d| d.decode().expect("JSON"))
}

#[tokio::test]
async fn every_change_is_told_with_what_was_before() {
    use AuditedTable::*;
    use Operation::*;
    let db = TestDatabase::new().await.expect("a database");
    let ada = user(&*db, "ada@example.com").await;
    let core = portfolio(&*db, &ada, "Core").await;
    let scope = db.as_user(ada.id);
    let patch = UserPatch::default().first_name("Ada");
    scope.users().update(ada.id, &patch).await.expect("changed");
    // Sets nothing anew.
    scope.users().update(ada.id, &patch).await.expect("the same");
    let position = NewPosition::new(core.id, parsed("AAPL"), parsed::<Shares>("10.5"));
    let position = scope.positions().create(&position).await.expect("made");
    scope.positions().remove(core.id, position.id).await.expect("removed");
    db.portfolios().delete(core.id).await.expect("deleted, with its position");

    let all = entries(&*db, AuditFilter::default()).await;
    assert_eq!(
        what(&all),
        [
            (Users, Insert),
            (Portfolios, Insert),
            (Users, Update),
            (Positions, Insert),
            (Positions, Update),
            (Portfolios, Delete),
            (Positions, Delete),
        ]
    );
    assert!(all.iter().all(|entry| entry.user_id == ada.id && !entry.login.is_empty()));
    let by_herself: Vec<_> = all.iter().map(|entry| entry.actor_id == Some(ada.id)).collect();
    assert_eq!(by_herself, [false, false, true, true, true, false, false]);
    assert_eq!(value(&all[2].before), serde_json::json!({"first_name": null}));
    assert_eq!(value(&all[2].after), serde_json::json!({"first_name": "Ada"}));
    assert_eq!(value(&all[0].after)["email"], "ada@example.com");
    assert_eq!(value(&all[4].after), serde_json::json!({"is_active": false}));
    assert_eq!((value(&all[6].before)["ticker"].clone(), &all[6].after), ("AAPL".into(), &None));

    let of_position = AuditFilter::default().row_id(position.id.0);
    assert_eq!(entries(&*db, of_position).await.len(), 3);
    let of_table = AuditFilter::default().table_name(Portfolios);
    assert_eq!(entries(&*db, of_table).await.len(), 2);
    let by_actor = AuditFilter::default().actor_id(ada.id);
    assert_eq!(entries(&*db, by_actor).await.len(), 3);
    let times = AuditFilter::default().from(all[2].recorded_at).before(all[4].recorded_at);
    assert_eq!(entries(&*db, times).await, &all[2..4]);
}

#[tokio::test]
async fn a_users_own_entries_are_the_only_ones_to_be_seen_in_that_name() {
    let db = TestDatabase::new().await.expect("a database");
    let (ada, bob) = (user(&*db, "ada@example.com").await, user(&*db, "bob@example.com").await);
    portfolio(&*db, &bob, "Bob's").await;
    let scope = db.as_user(ada.id);
    let seen = entries(&scope, AuditFilter::default()).await;
    assert_eq!(seen.len(), 1);
    let of_bob = AuditFilter::default().user_id(bob.id);
    assert_eq!(entries(&scope, of_bob).await, []);
    assert_eq!(entries(&*db, of_bob).await.len(), 2);
    let error = scope.audit().sweep(100, Duration::ZERO).await.expect_err("not a tenant's");
    assert!(matches!(error, Error::Denied { .. }), "{error:?}");
}

#[tokio::test]
async fn no_password_hash_is_in_it_but_that_it_was_changed() {
    let db = TestDatabase::new().await.expect("a database");
    let ada = user(&*db, "ada@example.com").await;
    let other = PasswordHash::new("$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW")
        .expect("a hash");
    db.users().set_password(ada.id, &other).await.expect("changed");
    db.users().delete(ada.id).await.expect("deleted");
    let all = entries(&*db, AuditFilter::default()).await;
    assert_eq!(all.len(), 3);
    assert_eq!(value(&all[1].after), serde_json::json!({"hashed_password": "changed"}));
    let rows = connect(&db).await.query("SELECT a::text FROM audit_log a", &[]).await;
    for row in rows.expect("every row") {
        let text: String = row.get(0);
        for secret in [hash().expose(), other.expose(), "argon2", "$2b$"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

#[tokio::test]
async fn nothing_is_taken_out_but_by_retention_and_erasure() {
    let db = TestDatabase::new().await.expect("a database");
    let ada = user(&*db, "ada@example.com").await;
    let bob = user(&*db, "bob@example.com").await;
    let client = connect(&db).await;
    for statement in
        ["DELETE FROM audit_log", "UPDATE audit_log SET login = 'x'", "TRUNCATE audit_log"]
    {
        let refused = client.execute(statement, &[]).await.expect_err(statement);
        assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{statement}");
    }
    // Of an account that is there nothing is erased.
    let erase = format!("SELECT erase_audit('{}')", ada.id);
    client.execute(&erase, &[]).await.expect_err("she is there");

    portfolio(&*db, &ada, "Core").await;
    db.users().erase(ada.id).await.expect("erased").expect("there");
    let of_ada = AuditFilter::default().user_id(ada.id);
    let left = entries(&*db, of_ada).await;
    assert_eq!(left.len(), 4, "two made, two deleted");
    assert!(left.iter().all(|entry| entry.before.is_none() && entry.after.is_none()), "{left:?}");
    let of_bob = AuditFilter::default().user_id(bob.id);
    assert!(entries(&*db, of_bob).await[0].after.is_some(), "nobody else's");

    db.users().deactivate(bob.id).await.expect("changed");
    assert_eq!(db.users().erase_inactive(10, Duration::ZERO).await.expect("erased"), 1);
    let left = entries(&*db, of_bob).await;
    assert!(left.iter().all(|entry| entry.before.is_none() && entry.after.is_none()), "{left:?}");

    let day = Duration::from_secs(86_400);
    assert_eq!(db.audit().sweep(100, day).await.expect("swept").deleted, 0);
    let swept = db.audit().sweep(3, Duration::ZERO).await.expect("swept");
    assert_eq!((swept.deleted, swept.more_left), (3, true));
    let uow = db.begin().await.expect("begun");
    uow.audit().sweep(100, Duration::ZERO).await.expect("swept");
    let connection = uow.connection().await.expect("a connection");
    let left = crate::support::batch(&connection, "DELETE FROM audit_log").await;
    left.expect_err("protected again in the same transaction");
    drop(connection);
    drop(uow);
    assert_eq!(db.audit().count(&AuditFilter::default()).await.expect("read"), 4, "rolled back");
}

#[tokio::test]
async fn e4_what_could_not_be_recorded_is_refused() {
    let db = TestDatabase::new().await.expect("a database");
    let ada = user(&*db, "ada@example.com").await;
    let client = connect(&db).await;
    for statement in [
        "TRUNCATE users CASCADE",
        "TRUNCATE portfolios CASCADE",
        "TRUNCATE positions",
        "TRUNCATE price_history",
        "TRUNCATE price_revisions",
        "TRUNCATE corporate_actions",
        "TRUNCATE analysis_results",
        "TRUNCATE events",
        "TRUNCATE options_data, events",
    ] {
        let refused = client.execute(statement, &[]).await.expect_err(statement);
        assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{statement}");
    }
    assert!(db.users().exists(ada.id).await.expect("read"));
    // What is made again, or has no history, may go; and the remedy after a move to another cluster is this.
    for table in ["market_data_cache", "options_data", "knowledge_points"] {
        client.batch_execute(&format!("TRUNCATE {table}")).await.expect(table);
    }
}

#[tokio::test]
async fn what_is_rolled_back_is_not_in_it() {
    let db = TestDatabase::new().await.expect("a database");
    let uow = db.begin().await.expect("begun");
    user(&uow, "ada@example.com").await;
    assert_eq!(uow.audit().count(&AuditFilter::default()).await.expect("read"), 1);
    uow.rollback().await.expect("undone");
    assert_eq!(db.audit().count(&AuditFilter::default()).await.expect("read"), 0);
}
