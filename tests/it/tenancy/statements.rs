//! What monitoring keeps of statements in users' names: as much of many users as of one.

use std::collections::BTreeSet;

use crate::api::*;
use tokio_postgres::Client;

use super::person;
use crate::support::raw;
use crate::support::server::{ServerOptions, TcpServer};

/// How many texts `pg_stat_statements` has, and how many of them have this in them.
async fn kept(client: &Client, text: &str) -> (i64, i64) {
    let counted =
        "SELECT count(*), count(*) FILTER (WHERE strpos(query, $1) > 0) FROM pg_stat_statements";
    let row = client.query_one(counted, &[&text]).await.expect("kept");
    (row.get(0), row.get(1))
}

/// Everything that begins a transaction in a user's name.
async fn every_way(db: &Database, user: UserId) {
    let scope = db.as_user(user);
    scope.users().find(user).await.expect("read").expect("there");
    scope.users().record_login(user).await.expect("written");
    let preferences = Document::encode(&serde_json::json!({"theme": "dark"})).expect("a document");
    scope.users().merge_preferences(user, &preferences).await.expect("written");
    let uow = scope.begin().await.expect("begun");
    uow.users().record_login(user).await.expect("written");
    for _ in 0..3 {
        let work = async |uow: &UnitOfWork| uow.users().record_login(user).await.map(drop);
        uow.savepoint(work).await.expect("written");
    }
    let connection = uow.connection().await.expect("lent");
    crate::support::batch(&connection, "SELECT 1").await.expect("run");
    drop(connection);
    uow.users().find(user).await.expect("read").expect("there");
    uow.commit().await.expect("done");
}

#[tokio::test]
async fn e5_pg_stat_statements_keeps_one_text_for_all_users() {
    let options = |_: &_| ServerOptions {
        settings: vec![
            "shared_preload_libraries=pg_stat_statements".into(),
            "pg_stat_statements.track=all".into(),
            "pg_stat_statements.track_utility=on".into(),
        ],
        ..ServerOptions::default()
    };
    let server = TcpServer::start_with(options).await;
    let connect = async || {
        let config = Config::new(&server.url()).expect("a URL").pool_size(1);
        Database::connect(config).await.expect("connected")
    };
    let db = connect().await;
    db.migrate().await.expect("migrated");
    db.create_roles().await.expect("roles");
    let admin = raw(&server.url()).await;
    admin.batch_execute("CREATE EXTENSION pg_stat_statements").await.expect("at hand");
    let mut users = Vec::new();
    for n in 0..12 {
        users.push(person(&db, &format!("u{n}@example.com")).await.user.id);
    }
    // Twice, so that every text has been there once; a plan that is kept has another one than the first.
    for user in &users[..2] {
        every_way(&db, *user).await;
        db.doctor().await.expect("asked");
    }
    let before = kept(&admin, "buffetbot.user_id").await;
    assert!(before.1 > 0, "utility statements are kept");
    for user in &users[2..] {
        every_way(&db, *user).await;
    }
    // A program of its own, with the marks of its own.
    every_way(&connect().await, users[0]).await;
    db.doctor().await.expect("asked");
    let texts = admin
        .query("SELECT query FROM pg_stat_statements ORDER BY query", &[])
        .await
        .expect("kept");
    let texts: Vec<String> = texts.iter().map(|row| row.get(0)).collect();
    assert_eq!(kept(&admin, "buffetbot.user_id").await.1, before.1, "{texts:#?}");
    // From version 17 the extension puts a placeholder for the name of a savepoint, also of others than a transaction's.
    let of_savepoint = |text: &&String| {
        ["SAVEPOINT savepoint_", "SAVEPOINT $"].iter().any(|start| text.starts_with(start))
    };
    let savepoints: BTreeSet<&String> = texts.iter().filter(of_savepoint).collect();
    assert_eq!(savepoints.len(), 1, "{texts:#?}");
    let named = texts.iter().filter(|text| users.iter().any(|id| text.contains(&id.to_string())));
    assert_eq!(named.count(), 0, "{texts:#?}");

    // A distributed server does not pass on what a function has set.
    let citus = "INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
        VALUES (99999, 'citus', 10, 'public'::regnamespace, false, '1')";
    admin.batch_execute(citus).await.expect("as if it were there");
    let distributed = connect().await;
    every_way(&distributed, users[0]).await;
    let passed_on = format!("SET LOCAL buffetbot.user_id = '{}'", users[0]);
    // From version 18 the extension puts a placeholder for the literal.
    let placeholder = "SET LOCAL buffetbot.user_id = $1";
    let literals = kept(&admin, &passed_on).await.1 + kept(&admin, placeholder).await.1;
    assert!(literals > 0, "a literal that is passed on");
}
