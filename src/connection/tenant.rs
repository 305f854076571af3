//! Statements in the name of one user, bound by the row-level security policies.

use std::ops::Deref;
use std::sync::Arc;

use diesel::QueryableByName;
use diesel::sql_types::{Bool, Text};
use futures_util::future::BoxFuture;
use tokio::join;
use tokio::sync::OnceCell;

use super::pg_connection::PgConnection;
use super::pool::{Pool, Pooled};
use super::statement::Built;
use crate::config;
use crate::error::{Error, Result};
use crate::types::UserId;

/// The role that tenants' statements run as, and whether it was found fit for that.
#[derive(Clone)]
pub(crate) struct ApplicationRole {
    name: Arc<str>,
    fit: Arc<OnceCell<()>>,
}

#[derive(QueryableByName)]
struct Fitness {
    #[diesel(sql_type = Bool)]
    bypasses: bool,
    #[diesel(sql_type = Bool)]
    owns: bool,
    #[diesel(sql_type = Bool)]
    granted: bool,
}

/// Of the role and of who asks. An owner's policy lets all its members see every row.
const FITNESS: &str = "
    SELECT rolsuper OR rolbypassrls AS bypasses,
        EXISTS (SELECT FROM pg_class
            WHERE oid = to_regclass('users') AND pg_has_role(r.oid, relowner, 'USAGE')) AS owns,
        pg_has_role(r.oid, 'MEMBER') AS granted
    FROM pg_roles r WHERE rolname = $1";

impl ApplicationRole {
    pub fn new(name: &str) -> Self {
        ApplicationRole { name: name.into(), fit: Arc::default() }
    }

    fn unfit(&self, reason: &str) -> Error {
        let reason = format!("the role {:?} {reason}", self.name);
        Error::Config { variable: config::APPLICATION_ROLE.into(), reason }
    }

    /// Asked once, before the first statement: a role that the policies do not bind is refused as one that is
    /// missing.
    async fn check(&self, connection: &PgConnection) -> Result<()> {
        let check = async || {
            let query = diesel::sql_query(FITNESS).bind::<Text, _>(&*self.name);
            match connection.fetch_optional(query).await? {
                None => Err(self.unfit("does not exist; Database::create_roles makes it")),
                Some(Fitness { bypasses: true, .. }) => {
                    Err(self.unfit("bypasses row-level security (SUPERUSER or BYPASSRLS)"))
                }
                Some(Fitness { owns: true, .. }) => {
                    Err(self.unfit("owns the tables, or is a member of the role that does"))
                }
                Some(Fitness { granted: false, .. }) => {
                    Err(self.unfit("is not granted to this login"))
                }
                Some(_) => Ok(()),
            }
        };
        self.fit.get_or_try_init(check).await.copied()
    }
}

/// The setting that the policies read.
const USER: &str = "buffetbot.user_id";

/// One user, as the transactions that run in the user's name are told.
#[derive(Clone)]
pub(crate) struct Tenant {
    role: ApplicationRole,
    user: UserId,
    assume: Arc<str>,
}

impl Tenant {
    pub fn new(role: &ApplicationRole, user: UserId) -> Self {
        let quoted = role.name.replace('"', "\"\"");
        // A literal, because a sharded server does not pass on what set_config() sets; an id needs no escaping.
        let assume = format!("SET LOCAL ROLE \"{quoted}\"; SET LOCAL {USER} = '{user}'");
        Tenant { role: role.clone(), user, assume: assume.into() }
    }

    /// What a transaction in the user's name has to show: the role, and the user by this setting.
    pub fn shows(&self) -> (&str, &'static str, UserId) {
        (&self.role.name, USER, self.user)
    }

    /// What makes a transaction one in the user's name, where the role is fit.
    ///
    /// # Errors
    /// [`Error::Config`] where it is not.
    pub async fn assume(&self, connection: &PgConnection) -> Result<&str> {
        self.role.check(connection).await?;
        Ok(&self.assume)
    }

    /// Begins a transaction in the user's name; `begin` is the BEGIN. Whatever runs after a failure of it
    /// runs in an aborted transaction.
    ///
    /// # Errors
    /// [`Error::Config`] where the role is not fit.
    pub async fn begin(&self, connection: &PgConnection, begin: &str) -> Result<()> {
        let assume = self.assume(connection).await?;
        connection.batch(&format!("{begin}; {assume}")).await
    }

    /// A connection with a transaction for reading.
    pub async fn reading(&self, pool: &Pool) -> Result<Named> {
        let named = Named { connection: pool.checkout().await?, open: true };
        self.begin(&named, "BEGIN").await?;
        Ok(named)
    }

    /// Runs one statement as a transaction. One that only reads is sent right behind the transaction's
    /// begin, and nobody waits for its end: one round trip. Of one that writes, each step is waited for, so
    /// that it can never run outside of the transaction and what is reported as done is committed.
    pub async fn statement<T>(
        &self,
        pool: &Pool,
        built: &Built,
        run: impl for<'a> Fn(&'a PgConnection, &'a Built) -> BoxFuture<'a, Result<T>>,
    ) -> Result<T> {
        let mut named = Named { connection: pool.checkout().await?, open: true };
        let first = self.attempt(&mut named, built, &run).await;
        match first {
            // The plan that a migration made stale is forgotten now. It had no effect.
            Err(Error::Retryable { sqlstate }) if ["0A000", "26000"].contains(&&*sqlstate) => {
                named.undo();
                named.open = true;
                self.attempt(&mut named, built, &run).await
            }
            other => other,
        }
    }

    async fn attempt<T>(
        &self,
        named: &mut Named,
        built: &Built,
        run: &impl for<'a> Fn(&'a PgConnection, &'a Built) -> BoxFuture<'a, Result<T>>,
    ) -> Result<T> {
        if built.only_reads() {
            // Before the pipeline: what it asks must not come between its two statements.
            self.role.check(named).await?;
            // Polled in this order, so sent in this order. Where the begin fails, its cause is told, not that
            // the statement ran in an aborted transaction.
            let connection: &PgConnection = named;
            let (begun, read) =
                join!(biased; self.begin(connection, "BEGIN"), run(connection, built));
            return begun.and(read);
        }
        self.begin(named, "BEGIN").await?;
        let written = run(named, built).await?;
        named.open = false;
        named.connection.commit().await?;
        Ok(written)
    }
}

/// A connection with a transaction in somebody's name, which ends with the loan: what was not committed is
/// undone.
pub(crate) struct Named {
    connection: Pooled,
    open: bool,
}

impl Named {
    fn undo(&mut self) {
        if std::mem::take(&mut self.open) {
            self.connection.send_now("ROLLBACK");
        }
    }
}

impl Deref for Named {
    type Target = PgConnection;
    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        self.undo();
    }
}
