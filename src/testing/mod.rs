//! Test support: a database of its own for each test, on real PostgreSQL.
//!
//! ```no_run
//! use buffetbot_db::testing::{TestDatabase, fixtures};
//! use buffetbot_db::Repositories;
//! use buffetbot_db::portfolios::PortfolioRepository;
//!
//! #[tokio::test]
//! async fn a_portfolio_has_an_owner() -> buffetbot_db::Result<()> {
//!     let db = TestDatabase::new().await?;
//!     let user = fixtures::user(&db).await?;
//!     let portfolio = fixtures::portfolio(&db, user.id).await?;
//!     assert_eq!(portfolio.user_id, user.id);
//!     Ok(())
//! }
//! ```
//!
//! In a crate that uses this one: `[dev-dependencies] buffetbot-db = { version = "...", features =
//! ["testing"] }`. Nothing else is needed: no server, no environment.
//!
//! # The server
//!
//! By default an [embedded](crate::embedded) one that needs no installation step. It is shared by all
//! test programs of this user that run at the same time (`cargo nextest` runs each test in a program of
//! its own) and vanishes about two seconds after the last of them, however they end. It does not wait
//! for the disk, so it is fast, and keeps nothing.
//!
//! With `TEST_DATABASE_URL` set, the server of that URL instead: PostgreSQL 15 or newer, a role that may
//! create databases (`ALTER ROLE ... CREATEDB`). The URL's own database is not written to.
//!
//! # The databases
//!
//! The migrations are run once, into the template `bdb_template_...`, which is named after their
//! content; each test gets a copy, `bdb_test_...`, in a few ten milliseconds. It is dropped with its
//! [`TestDatabase`], also when the test panics. What programs leave that were killed or did not drop
//! theirs, the next program to test on the server removes: a database is in use as long as its
//! program's own connection holds an advisory lock, whichever machine it is on. On a server named by
//! `TEST_DATABASE_URL` the template of the current migrations stays for the next run.

pub mod fixtures;
mod keeper;

use std::fmt;
use std::ops::Deref;

use crate::RepositorySet;
use crate::config::{Config, Environment};
use crate::database::Database;
use crate::embedded::EmbeddedServer;
use crate::error::Result;

/// The most connections that one test's pool opens.
const POOL_SIZE: u32 = 5;

/// A database for one test, dropped at the end; otherwise a [`Database`].
///
/// Dropping it ends its connections, including those of other pools and programs, and waits until the
/// server has dropped it: some ten milliseconds.
pub struct TestDatabase {
    database: Database,
    made: keeper::Made,
}

impl TestDatabase {
    /// A migrated database, with no rows. Its pool opens five connections at most.
    ///
    /// Below 100 ms, except for the first one on a server, which starts the server or runs the
    /// migrations. Works on any tokio runtime; the pool belongs to the runtime of the caller.
    ///
    /// # Errors
    /// [`Error::Embedded`](crate::Error::Embedded) where no server can be started,
    /// [`Error::Config`](crate::Error::Config) for an unusable `TEST_DATABASE_URL`, and those of the
    /// server, such as [`Error::Denied`](crate::Error::Denied) to a role that may not create databases.
    pub async fn new() -> Result<Self> {
        Self::with(|config| config).await
    }

    /// As [`new`](Self::new), with a configuration that `configure` has changed: pool size, timeouts,
    /// statement mode, an observer.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub async fn with(configure: impl FnOnce(Config) -> Config) -> Result<Self> {
        Self::make(keeper::Content::Migrated, configure).await
    }

    /// A database without any table, for tests of migrations.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub async fn empty() -> Result<Self> {
        Self::make(keeper::Content::Empty, |config| config).await
    }

    async fn make(
        content: keeper::Content,
        configure: impl FnOnce(Config) -> Config,
    ) -> Result<Self> {
        let made = keeper::make(content).await?;
        let database = Database::connect_lazy(configure(own_config(&made)))?;
        Ok(TestDatabase { database, made })
    }

    /// The configuration for another handle on the same database: a second pool, another role.
    pub fn config(&self) -> Config {
        own_config(&self.made)
    }

    /// The database's URL, for other programs; it may hold the password of `TEST_DATABASE_URL`.
    pub fn url(&self) -> &str {
        &self.made.url
    }

    /// The database's name.
    pub fn name(&self) -> &str {
        &self.made.name
    }

    /// The embedded server that it is on, for its [programs](EmbeddedServer::bin_dir); `None` on a
    /// server named by `TEST_DATABASE_URL`. Other tests use it too: do not stop it.
    pub fn server(&self) -> Option<&EmbeddedServer> {
        self.made.server.as_ref()
    }
}

fn own_config(made: &keeper::Made) -> Config {
    made.config.clone().pool_size(POOL_SIZE).pool_max_overflow(0).environment(Environment::Testing)
}

impl Deref for TestDatabase {
    type Target = Database;
    fn deref(&self) -> &Database {
        &self.database
    }
}

impl AsRef<RepositorySet> for TestDatabase {
    fn as_ref(&self) -> &RepositorySet {
        &self.database
    }
}

impl fmt::Debug for TestDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestDatabase").field("name", &self.made.name).finish_non_exhaustive()
    }
}
