//! Migrations, embedded in the crate and applied all or none.
//!
//! A run is one transaction that holds a transaction-scoped advisory lock: of several programs that
//! start at once one migrates, the others wait and find nothing left to do, also behind PgBouncer,
//! where session-scoped locks do not hold.

use diesel::migration::{Migration, MigrationSource, MigrationVersion};
use diesel::pg::Pg;
use diesel::sql_types::{Bool, Text};
use diesel::{Connection as _, QueryableByName};
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::Database;
use crate::config;
use crate::config::Environment;
use crate::error::{Error, Result};
use crate::postgres::PgConnection;

/// The migrations, in the order of their versions.
pub const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations");

/// Changes with the content of any migration, for caches of migrated databases.
pub const MIGRATIONS_HASH: &str = env!("BUFFETBOT_MIGRATIONS_HASH");

/// The advisory lock of a run: "buffetbo" in ASCII, so that others' locks are unlikely to be the same.
const LOCK: i64 = i64::from_be_bytes(*b"buffetbo");

/// The blocking form that Diesel's migration traits need.
type Blocking = AsyncConnectionWrapper<PgConnection>;

impl Database {
    /// Brings the schema up to date; returns the names of the migrations applied, none when it was.
    ///
    /// Works on any tokio runtime. The configured statement and lock timeouts do not count while
    /// waiting for another program's run; while migrating, the lock timeout does.
    ///
    /// # Errors
    /// [`Error::Migration`] naming the migration that failed, [`Error::Denied`] where the role may
    /// not create tables; the schema is as it was before.
    pub async fn migrate(&self) -> Result<Vec<String>> {
        self.in_one_run(|connection| {
            let pending = connection.pending_migrations(MIGRATIONS)?;
            connection.run_migrations(&pending)?;
            Ok(pending.iter().map(|m| m.name().to_string()).collect())
        })
        .await
    }

    /// Undoes the latest `n` migrations (fewer where fewer are applied); returns their names, latest
    /// first. Data of dropped tables and columns is lost; values that the narrower columns cannot
    /// hold make it fail.
    ///
    /// # Errors
    /// [`Error::Config`] in production, where [`rollback_forced`](Self::rollback_forced) is meant;
    /// [`Error::Migration`], and then nothing is undone.
    pub async fn rollback(&self, n: usize) -> Result<Vec<String>> {
        if self.config().environment == Environment::Production {
            return Err(Error::Config {
                variable: config::ENVIRONMENT.into(),
                reason: "rolling back destroys data and is refused in production unless forced"
                    .into(),
            });
        }
        self.rollback_forced(n).await
    }

    /// As [`rollback`](Self::rollback), in production too.
    ///
    /// # Errors
    /// [`Error::Migration`], and then nothing is undone.
    pub async fn rollback_forced(&self, n: usize) -> Result<Vec<String>> {
        self.in_one_run(move |connection| {
            // Latest first, as the harness gives them.
            let applied = connection.applied_migrations()?;
            let known = MIGRATIONS.migrations()?;
            applied
                .iter()
                .take(n)
                .map(|version| {
                    let migration = known
                        .iter()
                        .find(|m| m.name().version() == *version)
                        .ok_or_else(|| format!("this program does not know migration {version}"))?;
                    connection.revert_migration(&**migration)?;
                    Ok(migration.name().to_string())
                })
                .collect()
        })
        .await
    }

    /// The names of the migrations that [`migrate`](Self::migrate) would apply, in their order.
    /// Writes nothing.
    ///
    /// # Errors
    /// Those of a query.
    pub async fn pending(&self) -> Result<Vec<String>> {
        let connection = self.pool().checkout().await?;
        // The table is made by the first run.
        let exists: Option<Exists> = connection
            .fetch_optional(diesel::sql_query(
                "SELECT to_regclass('__diesel_schema_migrations') IS NOT NULL AS found",
            ))
            .await?;
        let applied: Vec<Version> = match exists {
            Some(Exists { found: true }) => {
                let query = "SELECT version::text FROM __diesel_schema_migrations";
                connection.fetch_all(diesel::sql_query(query)).await?
            }
            _ => Vec::new(),
        };
        let known: Vec<Box<dyn Migration<Pg>>> = MIGRATIONS.migrations().map_err(failed)?;
        let is_applied = |version: MigrationVersion<'_>| {
            applied.iter().any(|a| MigrationVersion::from(a.version.as_str()) == version)
        };
        let pending = known.iter().filter(|m| !is_applied(m.name().version()));
        Ok(pending.map(|m| m.name().to_string()).collect())
    }

    /// Runs `work` in one transaction, under the lock, on a connection and a thread of its own: the
    /// migration traits are blocking ones.
    async fn in_one_run<F>(&self, work: F) -> Result<Vec<String>>
    where
        F: FnOnce(&mut Blocking) -> diesel::migration::Result<Vec<String>> + Send + 'static,
    {
        let connection = self.pool().connect_unpooled().await?;
        connection.disable_timeouts(true);
        let run = move || {
            let mut connection = Blocking::from(connection);
            connection.transaction(|connection| {
                lock(connection)?;
                work(connection).map_err(failed)
            })
        };
        match tokio::task::spawn_blocking(run).await {
            Ok(result) => result,
            Err(panic) => Err(Error::Migration(panic.to_string())),
        }
    }
}

/// Waits for the lock without a time limit; the program that holds it is migrating.
fn lock(connection: &mut Blocking) -> Result<()> {
    use diesel::connection::SimpleConnection;
    Ok(connection.batch_execute(&format!(
        "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0;
         SELECT pg_advisory_xact_lock({LOCK});
         SET LOCAL lock_timeout TO DEFAULT"
    ))?)
}

fn failed(error: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::Migration(error.to_string())
}

#[derive(QueryableByName)]
struct Exists {
    #[diesel(sql_type = Bool)]
    found: bool,
}

#[derive(QueryableByName)]
struct Version {
    #[diesel(sql_type = Text)]
    version: String,
}
