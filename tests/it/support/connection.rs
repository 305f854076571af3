//! For tests of the connection layer: databases with a pool of one's own, bare statements, and a look at
//! the server from outside.

use std::future::Future;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use buffetbot_db::embedded::{EmbeddedOptions, EmbeddedServer};
use buffetbot_db::postgres::PgConnection;
use buffetbot_db::testing::TestDatabase;
use buffetbot_db::{Config, Database, Result};
use diesel::QueryableByName;
use diesel::sql_types::BigInt;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use tokio::sync::OnceCell;

/// More than any of these tests needs, on any machine.
pub const GENEROUS: Duration = Duration::from_secs(60);

/// A database of the test's own with the tables, and a pool of `size` without overflow.
pub async fn database(size: u32) -> TestDatabase {
    database_with(|config| config.pool_size(size)).await
}

/// A database of the test's own with the tables, and a pool without overflow.
pub async fn database_with(configure: impl FnOnce(Config) -> Config) -> TestDatabase {
    TestDatabase::with(|config| configure(config.pool_max_overflow(0))).await.unwrap()
}

/// The directory of PostgreSQL's programs.
pub async fn programs() -> PathBuf {
    static PROGRAMS: OnceCell<PathBuf> = OnceCell::const_new();
    let locate = async || {
        let server = EmbeddedServer::start(EmbeddedOptions::ephemeral()).await.unwrap();
        server.bin_dir().to_owned()
    };
    PROGRAMS.get_or_init(locate).await.clone()
}

/// The plain driver, to look at the server from outside of what is tested.
pub async fn raw(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

#[derive(QueryableByName, Debug, Clone, PartialEq)]
pub struct Number {
    #[diesel(sql_type = BigInt)]
    pub n: i64,
}

/// The value `n` of the query's only row.
pub async fn number(connection: &PgConnection, sql: &str) -> Result<i64> {
    let row: Number = diesel::sql_query(sql).get_result(&mut &*connection).await?;
    Ok(row.n)
}

/// The server's process behind a connection.
pub async fn pid(connection: &PgConnection) -> i64 {
    number(connection, "SELECT pg_backend_pid()::bigint AS n").await.unwrap()
}

/// The server's process behind whatever connection the pool lends now.
pub async fn pool_pid(db: &Database) -> i64 {
    pid(&db.connection().await.unwrap()).await
}

/// Runs one statement, prepared; how many rows it changed or returned.
pub async fn execute(connection: &PgConnection, sql: &str) -> Result<usize> {
    Ok(diesel::sql_query(sql).execute(&mut &*connection).await?)
}

/// Statements without binds or rows, by the simple protocol.
pub async fn batch(connection: &PgConnection, sql: &str) -> Result<()> {
    Ok((&mut &*connection).batch_execute(sql).await?)
}

/// Waits until `check` holds; `what` is said when it never does.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut check: impl FnMut() -> F) {
    let started = Instant::now();
    while !check().await {
        assert!(started.elapsed() < GENEROUS, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Statements of this database that the server is executing now, besides the asking one.
pub async fn active(observer: &tokio_postgres::Client) -> i64 {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
               AND pid <> pg_backend_pid() AND backend_type = 'client backend'
               AND state <> 'idle'";
    observer.query_one(sql, &[]).await.unwrap().get(0)
}
