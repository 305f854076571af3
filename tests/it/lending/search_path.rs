//! B2: the crate's own statements find its tables where the configuration says, never first among temporary ones.

use buffetbot_db::testing::TestDatabase;
use buffetbot_db::types::PageRequest;
use buffetbot_db::users::UserFilter;
use buffetbot_db::{Config, Database, Error};

use super::one;
use crate::support::{batch, database, number, raw, somebody, user};

const TAKEN: &str = "CREATE TEMP TABLE users AS SELECT * FROM public.users LIMIT 0;
                     GRANT ALL ON users TO PUBLIC";

#[tokio::test]
async fn b2_a_unit_reads_the_real_table_beside_a_temporary_one_of_its_name() {
    let (db, user) = one().await;
    for scoped in [false, true] {
        let unit = match scoped {
            true => db.as_user(user.id).begin().await.unwrap(),
            false => db.begin().await.unwrap(),
        };
        let page = PageRequest::first(10);
        batch(&unit.connection().await.unwrap(), TAKEN).await.unwrap();
        assert!(unit.users().find(user.id).await.unwrap().is_some());
        let seen = unit.users().list(&UserFilter::default(), &page).await.unwrap();
        assert_eq!(seen.items.len(), 1);
        unit.users().verify(user.id).await.unwrap();
        unit.savepoint(async |unit| {
            batch(&*unit.connection().await?, "CREATE TEMP TABLE portfolios (id uuid)").await?;
            unit.users().find(user.id).await.map(|found| assert!(found.is_some()))
        })
        .await
        .unwrap();
        unit.commit().await.unwrap();
    }
    let observer = raw(db.url()).await;
    let sql = "SELECT is_verified FROM users";
    assert!(observer.query_one(sql, &[]).await.unwrap().get::<_, bool>(0), "in the real table");
}

#[tokio::test]
async fn b2_a_temporary_table_stays_invisible_while_its_borrower_holds_the_connection() {
    let (db, user) = one().await;
    let unit = db.begin().await.unwrap();
    let connection = unit.connection().await.unwrap();
    batch(&connection, TAKEN).await.unwrap();
    assert!(unit.users().find(user.id).await.unwrap().is_some());
    // One's own SQL finds it by its schema.
    let own = number(&connection, "SELECT count(*) AS n FROM pg_temp.users").await.unwrap();
    assert_eq!(own, 0);
}

/// The setting that the pool's connections have.
async fn path(db: &Database) -> String {
    let connection = db.connection().await.unwrap();
    setting(&connection).await
}

async fn setting(connection: &buffetbot_db::postgres::PgConnection) -> String {
    use diesel_async::RunQueryDsl;
    #[derive(diesel::QueryableByName)]
    struct Path {
        #[diesel(sql_type = diesel::sql_types::Text)]
        path: String,
    }
    let sql = "SELECT current_setting('search_path') AS path";
    let path: Path = diesel::sql_query(sql).get_result(&mut &*connection).await.unwrap();
    path.path
}

#[tokio::test]
async fn b2_the_configured_search_path_is_honoured_and_restored() {
    let db = database(1).await;
    assert_eq!(path(&db).await, "\"$user\", public, pg_temp");
    let observer = raw(db.url()).await;
    observer
        .batch_execute("CREATE SCHEMA app; CREATE SCHEMA \"Odd, 'ünï' \\ name\"")
        .await
        .unwrap();
    let set = |path: &str| {
        format!(
            "DO $do$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = {path}', current_database()); END $do$"
        )
    };
    for (configured, expected) in [
        ("app, public", "app, public, pg_temp"),
        ("\"Odd, ''ünï'' \\ name\", public", "\"Odd, 'ünï' \\\\ name\", public, pg_temp"),
        ("public, pg_temp, app", "public, app, pg_temp"),
        ("pg_temp, public", "public, pg_temp"),
        ("PG_TEMP, \"pg_temp\", public", "public, pg_temp"),
        ("nowhere", "nowhere"),
        ("''''", "\"\""),
    ] {
        observer.batch_execute(&set(configured)).await.unwrap();
        let config = Config::new(db.url()).unwrap().pool_size(1).pool_max_overflow(0);
        let other = Database::connect(config).await.unwrap();
        let expected = expected.replace("\\\\", "\\");
        assert_eq!(path(&other).await, expected, "{configured}");
        batch(&other.connection().await.unwrap(), "SET search_path = nowhere; SET client_encoding = LATIN1; SET standard_conforming_strings = off").await.unwrap();
        assert_eq!(path(&other).await, expected, "{configured}, after a borrower");
    }
    // In the URL.
    let config = |path: &str| {
        let url = format!("{}&options=-c%20search_path%3D{path}", db.url());
        Config::new(&url).unwrap().pool_size(1).pool_max_overflow(0)
    };
    let other = Database::connect(config("app,public")).await.unwrap();
    assert_eq!(path(&other).await, "app,public, pg_temp");
    assert_eq!(other.users().count(&UserFilter::default()).await.unwrap(), 0);
}

#[tokio::test]
async fn b2_without_any_schema_nothing_is_made_among_the_temporary_tables() {
    let db = database(1).await;
    let url = format!("{}&options=-c%20search_path%3Dnowhere", db.url());
    let other = Database::connect(Config::new(&url).unwrap()).await.unwrap();
    let made = batch(&other.connection().await.unwrap(), "CREATE TABLE lost (n int)").await;
    assert!(
        matches!(&made, Err(Error::Database { sqlstate, .. }) if sqlstate == "3F000"),
        "{made:?}"
    );
    other.migrate().await.expect_err("no schema to migrate");
}

#[tokio::test]
async fn b2_tables_are_made_where_they_were() {
    let db: TestDatabase = database(1).await;
    let observer = raw(db.url()).await;
    observer.batch_execute("CREATE SCHEMA app").await.unwrap();
    let url = format!("{}&options=-c%20search_path%3Dapp", db.url());
    let other = Database::connect(Config::new(&url).unwrap()).await.unwrap();
    other.migrate().await.unwrap();
    other.users().create(&somebody()).await.unwrap();
    batch(&other.connection().await.unwrap(), "CREATE TABLE mine (n int)").await.unwrap();
    let sql = "SELECT (SELECT count(*) FROM app.users), (SELECT count(*) FROM public.users),
                      to_regclass('app.mine') IS NOT NULL";
    let row = observer.query_one(sql, &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1), row.get::<_, bool>(2)), (1, 0, true));
    let somebody = user(&other, "ada@example.com").await;
    assert!(other.users().find(somebody.id).await.unwrap().is_some());
}
