//! What the tests of several modules share.

#[macro_use]
pub mod handle;
pub mod log;
pub mod plan;
pub mod process;
pub mod server;

use std::fmt::Debug;
use std::future::Future;
use std::str::FromStr;
use std::time::{Duration, Instant};

use buffetbot_db::embedded::{EmbeddedOptions, EmbeddedServer};
use buffetbot_db::{
    Config, Database, NewPortfolio, NewUser, Page, PageRequest, PasswordHash, PgConnection,
    Portfolio, PortfolioRepository, Repositories, Result, RiskTolerance, User, UserRepository,
};
use diesel::QueryableByName;
use diesel::sql_types::BigInt;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use tokio::sync::OnceCell;

/// More than any of these tests needs, on any machine.
pub const GENEROUS: Duration = Duration::from_secs(60);

static SERVER: OnceCell<EmbeddedServer> = OnceCell::const_new();

/// The server that the tests share.
pub async fn server() -> &'static EmbeddedServer {
    let options =
        || EmbeddedOptions::shared("buffetbot-connection").setting("max_connections", "300");
    SERVER.get_or_init(async || EmbeddedServer::start(options()).await.unwrap()).await
}

/// An empty database of the test's own on the shared server: its URL.
pub async fn empty_database() -> String {
    let name = format!("t{}", uuid::Uuid::new_v4().simple());
    let client = raw(&server().await.url("postgres")).await;
    client.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    server().await.url(&name)
}

/// A configuration for an empty database of the test's own.
pub async fn config() -> Config {
    Config::new(&empty_database().await).unwrap()
}

/// A database of the test's own with the tables, and a pool of `size` without overflow.
pub async fn migrated(size: u32) -> Database {
    let db = connect(config().await.pool_size(size).pool_max_overflow(0)).await;
    db.migrate().await.unwrap();
    db
}

pub async fn connect(config: Config) -> Database {
    Database::connect(config).await.unwrap()
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

/// Statements without binds or rows.
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

/// A user nobody else has.
pub fn somebody() -> NewUser {
    NewUser::new(format!("{}@example.com", uuid::Uuid::new_v4().simple()), hash())
}

/// A hash in the form that may be stored.
pub fn hash() -> PasswordHash {
    parsed(
        "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$RdescudvJCsgt3ub+b27dQ5Jo4Jd8CmKbn8xYb1Vt2k",
    )
}

/// A value that is known to parse: a decimal, a ticker, an id, a time.
pub fn parsed<T: FromStr<Err: Debug>>(text: &str) -> T {
    text.parse().expect(text)
}

/// A user of this address.
pub async fn user(repos: &impl Repositories, email: &str) -> User {
    repos.users().create(&NewUser::new(email, hash())).await.expect("a user")
}

/// A portfolio of this user.
pub async fn portfolio(repos: &impl Repositories, owner: &User, name: &str) -> Portfolio {
    let new = NewPortfolio::new(owner.id, name, RiskTolerance::Moderate);
    repos.portfolios().create(&new).await.expect("a portfolio")
}

/// Every row of a list, read in pages of `size`, none of which may be longer, or empty but the first.
pub async fn every_page<T>(
    size: u32,
    fetch: impl AsyncFn(PageRequest) -> Result<Page<T>>,
) -> Vec<T> {
    let mut rows = Vec::new();
    let mut request = PageRequest::first(size);
    loop {
        let page = fetch(request).await.expect("a page");
        assert!(page.items.len() <= size as usize);
        assert!(rows.is_empty() || !page.items.is_empty(), "an empty page was announced");
        rows.extend(page.items);
        match page.next {
            Some(cursor) => request = PageRequest::after(size, cursor),
            None => return rows,
        }
    }
}
