//! One thread of the program makes and drops its test databases.
//!
//! It has a runtime of its own, so that it outlives that of any one test, and one connection, whose
//! advisory lock says that the program lives.

use std::sync::OnceLock;
use std::sync::mpsc as blocking;
use std::time::{Duration, Instant};

use diesel::QueryableByName;
use diesel::sql_types::{Bool, Integer, Text};
use tokio::sync::{mpsc, oneshot};

use crate::config::Config;
use crate::database::{Database, MIGRATIONS_HASH};
use crate::embedded::{EmbeddedOptions, EmbeddedServer};
use crate::error::{Error, Result};
use crate::postgres::PgConnection;

/// Names the server to use instead of an embedded one.
const URL_VARIABLE: &str = "TEST_DATABASE_URL";

const TEST_PREFIX: &str = "bdb_test_";
const TEMPLATE_PREFIX: &str = "bdb_template_";
/// A template in the making; one at a time, under a lock.
const BUILDING: &str = "bdb_building";

/// First key of the advisory locks: "bdbt" in ASCII. The second is a program's token, 0 for the
/// building of the template.
const LOCK_CLASS: i32 = i32::from_be_bytes(*b"bdbt");
const BUILD_LOCK: i32 = 0;

/// For what waits for other programs: one of them may be running the migrations.
const PATIENCE: Duration = Duration::from_secs(120);

/// SQLSTATE of "database is being accessed by other users".
const OBJECT_IN_USE: &str = "55006";

/// What is in a new database.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content {
    Migrated,
    Empty,
}

/// A database made for a test, dropped on the server with this; without a name, it was given up.
pub(super) struct Made {
    pub(super) name: String,
    pub(super) url: String,
    pub(super) config: Config,
    pub(super) server: Option<EmbeddedServer>,
}

enum Request {
    Make(Content, oneshot::Sender<Result<Made>>),
    Drop(String, blocking::Sender<()>),
}

/// A new database.
pub(super) async fn make(content: Content) -> Result<Made> {
    let (reply, made) = oneshot::channel();
    let sent = keeper()?.send(Request::Make(content, reply));
    match (sent, made.await) {
        (Ok(()), Ok(made)) => made,
        _ => Err(gone()),
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if self.name.is_empty() {
            return;
        }
        let (done, wait) = blocking::channel();
        let Ok(keeper) = keeper() else { return };
        if keeper.send(Request::Drop(std::mem::take(&mut self.name), done)).is_ok() {
            // Waited for, because the program may end next. What is not dropped in time, the next
            // program to test on the server drops.
            let _ = wait.recv_timeout(PATIENCE);
        }
    }
}

fn gone() -> Error {
    Error::unavailable("the thread that keeps the test databases has ended")
}

/// The way to the program's keeper, started when first needed.
fn keeper() -> Result<&'static mpsc::UnboundedSender<Request>> {
    static KEEPER: OnceLock<Option<mpsc::UnboundedSender<Request>>> = OnceLock::new();
    let start = || {
        let (sender, requests) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        std::thread::Builder::new()
            .name("bdb-test-keeper".into())
            .spawn(move || runtime.block_on(serve(requests)))
            .ok()?;
        Some(sender)
    };
    KEEPER.get_or_init(start).as_ref().ok_or_else(gone)
}

async fn serve(mut requests: mpsc::UnboundedReceiver<Request>) {
    let token = token();
    let mut shop: Option<Shop> = None;
    let mut number = 0_u32;
    while let Some(request) = requests.recv().await {
        // The server may have gone since the last request.
        if shop.as_ref().is_some_and(|shop| shop.admin.is_discarded()) {
            shop = None;
        }
        match request {
            Request::Make(content, reply) => {
                number += 1;
                let name = format!("{TEST_PREFIX}{token:08x}_{number}");
                let made = match open(&mut shop, token).await {
                    Ok(shop) => shop.make(content, name).await,
                    Err(error) => Err(error),
                };
                if let Err(Ok(mut unwanted)) = reply.send(made) {
                    // The test stopped waiting. Not left to its drop: that would ask this very thread.
                    let name = std::mem::take(&mut unwanted.name);
                    discard(&mut shop, token, &name).await;
                }
            }
            Request::Drop(name, done) => {
                discard(&mut shop, token, &name).await;
                // Nobody waits any more after its patience has ended.
                let _ = done.send(());
            }
        }
    }
}

/// Distinguishes programs; not 0, which is the template's.
fn token() -> i32 {
    use std::hash::{BuildHasher, RandomState};
    let random = RandomState::new().hash_one(std::process::id()) as u32;
    (random >> 1).max(1).cast_signed()
}

async fn open(shop: &mut Option<Shop>, token: i32) -> Result<&Shop> {
    if shop.is_none() {
        *shop = Some(Shop::open(token).await?);
    }
    shop.as_ref().ok_or_else(gone)
}

async fn discard(shop: &mut Option<Shop>, token: i32, name: &str) {
    let dropped = match open(shop, token).await {
        Ok(shop) => shop.discard(name).await,
        Err(error) => Err(error),
    };
    if let Err(error) = dropped {
        tracing::warn!(database = name, %error, "a test database stays until the next run");
    }
}

/// A connected server.
struct Shop {
    server: Option<EmbeddedServer>,
    url: String,
    config: Config,
    admin: PgConnection,
}

impl Shop {
    async fn open(token: i32) -> Result<Shop> {
        let (server, url) = match std::env::var(URL_VARIABLE) {
            Ok(url) if !url.is_empty() => (None, url),
            _ => {
                let options = EmbeddedOptions::shared("tests").setting(
                    "max_connections",
                    if cfg!(target_os = "linux") { "500" } else { "100" },
                );
                let server = EmbeddedServer::start(options).await?;
                let url = server.url("postgres");
                (Some(server), url)
            }
        };
        let config = Config::new(&url).map_err(|error| match error {
            Error::Config { reason, .. } => Error::Config { variable: URL_VARIABLE.into(), reason },
            other => other,
        })?;
        let patient = config.clone().lock_timeout(PATIENCE).statement_timeout(PATIENCE);
        let admin = Database::connect_lazy(patient)?.pool().connect_unpooled().await?;
        let shop = Shop { server, url, config, admin };
        shop.admin.batch(&format!("SELECT pg_advisory_lock({LOCK_CLASS}, {token})")).await?;
        shop.sweep().await?;
        Ok(shop)
    }

    async fn make(&self, content: Content, name: String) -> Result<Made> {
        match content {
            Content::Migrated => self.copy_template(&name).await?,
            // Unlike template1, never in use and never changed.
            Content::Empty => self.create(&name, "template0 ENCODING 'UTF8'").await?,
        }
        Ok(Made {
            url: with_database(&self.url, &name),
            config: self.config.clone().database(&name),
            server: self.server.clone(),
            name,
        })
    }

    /// A program with other migrations may drop the template between its making and its use; it is
    /// made again then.
    async fn copy_template(&self, name: &str) -> Result<()> {
        let began = Instant::now();
        loop {
            let template = self.template().await?;
            let created = self.create(name, &template).await;
            let gone = created.is_err() && self.names(&template).await?.is_empty();
            if !gone || began.elapsed() > PATIENCE {
                return created;
            }
        }
    }

    /// Copies files instead of logging each page: for small databases about half the time.
    async fn create(&self, name: &str, source: &str) -> Result<()> {
        let sql = format!("CREATE DATABASE {name} TEMPLATE {source} STRATEGY FILE_COPY");
        self.admin.batch(&sql).await
    }

    async fn discard(&self, name: &str) -> Result<()> {
        self.disconnect(name).await?;
        self.admin.batch(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await
    }

    /// Ends the connections to a database. DROP DATABASE does so too, but looks only every 100 ms
    /// whether they have gone.
    async fn disconnect(&self, name: &str) -> Result<()> {
        // Few, because the drop that follows deals with connections that stay.
        const LOOKS: u32 = 40;
        for _ in 0..LOOKS {
            let query = diesel::sql_query(
                "SELECT count(pg_terminate_backend(pid)) > 0 AS got FROM pg_stat_activity WHERE datname = $1",
            );
            let connected: Option<Got> =
                self.admin.fetch_optional(query.bind::<Text, _>(name)).await?;
            if !connected.is_some_and(|connected| connected.got) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    async fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let query = diesel::sql_query(
            "SELECT datname::text AS name FROM pg_database WHERE starts_with(datname, $1)",
        );
        let found: Vec<Name> = self.admin.fetch_all(query.bind::<Text, _>(prefix)).await?;
        Ok(found.into_iter().map(|row| row.name).collect())
    }

    /// Drops what dead programs left.
    async fn sweep(&self) -> Result<()> {
        for name in self.names(TEST_PREFIX).await? {
            let owner = name[TEST_PREFIX.len()..].split('_').next();
            let Some(owner) = owner.and_then(|token| i32::from_str_radix(token, 16).ok()) else {
                continue;
            };
            let query = diesel::sql_query("SELECT pg_try_advisory_lock($1, $2) AS got")
                .bind::<Integer, _>(LOCK_CLASS)
                .bind::<Integer, _>(owner);
            let dead: Option<Got> = self.admin.fetch_optional(query).await?;
            if dead.is_some_and(|dead| dead.got) {
                let dropped = self.discard(&name).await;
                self.unlock(owner).await?;
                dropped?;
            }
        }
        Ok(())
    }

    async fn unlock(&self, key: i32) -> Result<()> {
        self.admin.batch(&format!("SELECT pg_advisory_unlock({LOCK_CLASS}, {key})")).await
    }

    /// The template of the current migrations, made if it is not there.
    async fn template(&self) -> Result<String> {
        let name = format!("{TEMPLATE_PREFIX}{MIGRATIONS_HASH}");
        if self.names(&name).await?.is_empty() {
            let lock = format!("SELECT pg_advisory_lock({LOCK_CLASS}, {BUILD_LOCK})");
            self.admin.batch(&lock).await?;
            let built = self.build(&name).await;
            self.unlock(BUILD_LOCK).await?;
            built?;
        }
        Ok(name)
    }

    async fn build(&self, name: &str) -> Result<()> {
        let existing = self.names(TEMPLATE_PREFIX).await?;
        if existing.iter().any(|one| one == name) {
            // Another program was faster.
            return Ok(());
        }
        self.discard(BUILDING).await?;
        self.create(BUILDING, "template0 ENCODING 'UTF8'").await?;
        let building = Database::connect_lazy(self.config.clone().database(BUILDING))?;
        building.migrate().await?;
        match building.create_roles().await {
            // On a server where they cannot be made, everything but `as_user` can be tested.
            Err(Error::Denied { .. }) => tracing::warn!("no roles: this login may not make any"),
            made => made?,
        }
        // A template with a connection cannot be copied.
        self.admin.batch(&format!("ALTER DATABASE {BUILDING} ALLOW_CONNECTIONS false")).await?;
        self.rename(BUILDING, name).await?;
        for outdated in existing {
            self.discard(&outdated).await?;
        }
        Ok(())
    }

    async fn rename(&self, from: &str, to: &str) -> Result<()> {
        let began = Instant::now();
        loop {
            let renamed = self.admin.batch(&format!("ALTER DATABASE {from} RENAME TO {to}")).await;
            match renamed {
                // Closed connections leave a moment later.
                Err(Error::Database { sqlstate, .. })
                    if sqlstate == OBJECT_IN_USE && began.elapsed() < PATIENCE =>
                {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                other => return other,
            }
        }
    }
}

#[derive(QueryableByName)]
struct Name {
    #[diesel(sql_type = Text)]
    name: String,
}

#[derive(QueryableByName)]
struct Got {
    #[diesel(sql_type = Bool)]
    got: bool,
}

/// The URL of another database of the same server.
fn with_database(url: &str, name: &str) -> String {
    let (base, query) = match url.split_once('?') {
        Some((base, query)) => (base, format!("?{query}")),
        None => (url, String::new()),
    };
    let authority = base.find("://").map_or(0, |at| at + 3);
    let end = base[authority..].find('/').map_or(base.len(), |at| authority + at);
    format!("{}/{name}{query}", &base[..end])
}

#[cfg(test)]
mod tests {
    use super::with_database;

    #[test]
    fn replaces_the_database_of_a_url() {
        for (url, expected) in [
            ("postgres://u:p@h:1/db?sslmode=require", "postgres://u:p@h:1/t?sslmode=require"),
            ("postgres://h", "postgres://h/t"),
            ("postgres://h?a=b", "postgres://h/t?a=b"),
            ("postgres://u@%2Ftmp%2Fx/", "postgres://u@%2Ftmp%2Fx/t"),
            ("postgres://postgres@/postgres?host=%2Ft", "postgres://postgres@/t?host=%2Ft"),
        ] {
            assert_eq!(with_database(url, "t"), expected);
        }
    }
}
