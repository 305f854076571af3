//! What is lent comes back clean, or not at all; a unit of work notices what SQL beside its repositories did.

mod costs;
mod pooler;
mod returned;
mod search_path;
mod session;
mod unit;

use buffetbot_db::testing::TestDatabase;
use buffetbot_db::users::{User, UserFilter};

use crate::support::{database, somebody};

/// A database with a pool of one, the application roles and a user.
async fn one() -> (TestDatabase, User) {
    furnished(database(1).await).await
}

async fn furnished(db: TestDatabase) -> (TestDatabase, User) {
    db.create_roles().await.expect("roles");
    let user = db.users().create(&somebody()).await.expect("a user");
    (db, user)
}

/// Users that a session beside the pool sees: what is committed.
async fn committed(observer: &tokio_postgres::Client) -> i64 {
    observer.query_one("SELECT count(*) FROM public.users", &[]).await.expect("counted").get(0)
}

/// The next callers of the pool work, and what they write is there.
async fn works(db: &TestDatabase, observer: &tokio_postgres::Client) {
    let before = committed(observer).await;
    let made = db.users().create(&somebody()).await.expect("created");
    assert_eq!(committed(observer).await, before + 1, "an acknowledged write is committed");
    let found = db.users().find(made.id).await.expect("read");
    assert_eq!(found, Some(made));
    let counted = db.users().count(&UserFilter::default()).await.expect("counted");
    assert_eq!(counted, before as u64 + 1);
}
