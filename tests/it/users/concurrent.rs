//! Several writers at once.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn of_eight_accounts_for_one_address_one_is_made() {
    let db = TestDatabase::new().await.expect("a database");
    let tasks: Vec<_> = (0..8)
        .map(|i| {
            let db = (*db).clone();
            let email = if i % 2 == 0 { "ada@example.com" } else { "ADA@example.com" };
            tokio::spawn(async move { db.users().create(&NewUser::new(email, hash())).await })
        })
        .collect();
    let mut made = 0;
    for task in tasks {
        match task.await.expect("no panic") {
            Ok(_) => made += 1,
            Err(error) => assert!(matches!(error, Error::Conflict { .. }), "{error}"),
        }
    }
    assert_eq!(made, 1);
    assert_eq!(db.users().count(&UserFilter::default()).await.expect("read"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn merges_at_once_lose_nothing() {
    let db = TestDatabase::new().await.expect("a database");
    let id = user(&*db, "ada@example.com").await.id;
    let tasks: Vec<_> = (0..16)
        .map(|i| {
            let db = (*db).clone();
            tokio::spawn(async move {
                let changes = Document::encode(&json!({ format!("key{i}"): i })).expect("JSON");
                db.users().merge_preferences(id, &changes).await
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic").expect("merged");
    }
    let merged = db.users().preferences(id).await.expect("read").expect("there");
    let merged: serde_json::Map<String, serde_json::Value> = merged.decode().expect("an object");
    assert_eq!(merged.len(), 16);
}
