//! Plans of the statements on users.

use diesel_async::SimpleAsyncConnection;

use super::*;
use crate::support::plan::{Recorder, assert_index};

const SEED: &str = "
    INSERT INTO users (email, username, hashed_password, is_active, created_at)
    SELECT 'U' || u || '@example.com', 'u' || u, '{hash}', u % 100 > 0,
        '2024-01-01Z'::timestamptz + (u / 10) * interval '1 minute'
    FROM generate_series(1, 20000) u;
    ANALYZE";

#[tokio::test]
async fn every_hot_statement_is_one_and_has_its_index() {
    let (db, recorder) = Recorder::database().await;
    let seed = SEED.replace("{hash}", crate::support::LITERAL_HASH);
    let connection = db.connection().await.expect("a connection");
    connection.as_diesel().batch_execute(&seed).await.expect("seeded");
    drop(connection);
    let users = db.users();
    let (filter, page) = (UserFilter::default(), PageRequest::first(10));

    recorder.take();
    let first = users.list(&filter, &page).await.expect("read");
    assert_index(&db, &recorder.only(), &["11"], "users", "users_created_idx").await;

    recorder.take();
    let page = PageRequest::after(10, first.next.expect("there are more"));
    users.list(&filter, &page).await.expect("read");
    let id = format!("'{}'", first.items[9].id);
    let arguments = ["'2024-01-02 12:00Z'", "'2024-01-02 12:00Z'", &*id, "11"];
    assert_index(&db, &recorder.only(), &arguments, "users", "users_created_idx").await;

    recorder.take();
    assert!(users.exists_email("u17@example.com").await.expect("read"));
    let arguments = ["'U17@example.com'"];
    assert_index(&db, &recorder.only(), &arguments, "users", "users_email_lower_key").await;

    recorder.take();
    assert!(users.exists_username("u17").await.expect("read"));
    assert_index(&db, &recorder.only(), &["'u17'"], "users", "users_username_key").await;

    recorder.take();
    users.record_login(first.items[0].id).await.expect("noted");
    assert_index(&db, &recorder.only(), &[&id], "users", "users_pkey").await;

    recorder.take();
    let changes = document(json!({"a": 1}));
    users.merge_preferences(first.items[0].id, &changes).await.expect("merged");
    assert_index(&db, &recorder.only(), &[&id, "'{}'"], "users", "users_pkey").await;

    recorder.take();
    users.export(first.items[0].id).await.expect("read").expect("there");
    recorder.only();
    recorder.take();
    users.erase(first.items[0].id).await.expect("erased").expect("there");
    // A transaction: what is kept beside the account goes with it, leases first.
    let erasure = recorder.take();
    assert_eq!(erasure.len(), 5, "{erasure:?}");
}
