//! Statements in the name of one user, bound by the row-level security policies.

use std::ops::Deref;
use std::sync::Arc;

use diesel::QueryableByName;
use diesel::sql_types::{Array, Bool, Text};
use futures_util::future::BoxFuture;
use tokio::join;
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::pg_connection::PgConnection;
use super::pool::{Pool, Pooled};
use super::rendered_query::{Effect, RenderedQuery};
use crate::config;
use crate::error::{Error, Result};
use crate::types::UserId;
use crate::types::text::quote_literal;

/// What is to be known of the tables to determine whether their policies bind a role.
pub(crate) struct OwnedTables {
    /// Those in which users own rows, and whether they also hold rows that nobody owns.
    pub names: Vec<(&'static str, bool)>,
    /// One of them, as the search path finds it: the others are beside it.
    pub home: &'static str,
    /// In SQL, whether the policy `p` of `pg_policy` asks who the user is, each time it is asked.
    pub asks: &'static str,
}

/// The role that tenants' statements run as, and whether it was found fit for that, on a server that takes names so.
#[derive(Clone)]
pub(crate) struct ApplicationRole {
    name: Arc<str>,
    owned: Arc<OwnedTables>,
    fit: Arc<OnceCell<Naming>>,
}

/// How a server is given the name of a user.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Naming {
    Setting,
    /// Where monitoring keeps the text of each SET, one for each user. It takes 10 us longer.
    Function,
}

/// In SQL, whether it is [`Naming::Function`]. A distributed server does not pass on what a function has set; from version
/// 18 on the value of a SET is left out of its text.
const BY_FUNCTION: &str = "COALESCE(
    pg_catalog.current_setting('pg_stat_statements.track_utility', true) = 'on'
    AND pg_catalog.current_setting('pg_stat_statements.track', true) <> 'none'
    AND pg_catalog.current_setting('server_version_num')::pg_catalog.int4 < 180000
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'citus'), false)";

impl Naming {
    fn new(by_function: bool) -> Self {
        if by_function { Naming::Function } else { Naming::Setting }
    }

    /// That of the server at the other end.
    ///
    /// # Errors
    /// Those of a query.
    pub async fn of(connection: &PgConnection) -> Result<Self> {
        let shown = connection.ask(&format!("SELECT {BY_FUNCTION}")).await?;
        Ok(Naming::new(shown.first().is_some_and(|shown| shown == "t")))
    }

    /// The statement that names a user, or nobody, until the transaction ends. No row comes back. An id needs no
    /// escaping.
    pub fn statement(self, user: Option<&Uuid>) -> String {
        let user = user.map(Uuid::to_string).unwrap_or_default();
        match self {
            Naming::Setting => format!("SET LOCAL {USER} = '{user}'"),
            Naming::Function => {
                format!("SELECT WHERE pg_catalog.set_config('{USER}', '{user}', true) IS NULL")
            }
        }
    }
}

#[derive(QueryableByName)]
struct Fitness {
    #[diesel(sql_type = Bool)]
    bypasses: bool,
    #[diesel(sql_type = Bool)]
    owns: bool,
    #[diesel(sql_type = Bool)]
    granted: bool,
    #[diesel(sql_type = Bool)]
    by_function: bool,
    /// Tables that users own rows in, and that show the role rows without asking who the user is.
    #[diesel(sql_type = Array<Text>)]
    unbound: Vec<String>,
    /// All such tables, and those that the role may read and that hold nobody else's rows.
    #[diesel(sql_type = Array<Text>)]
    owned: Vec<String>,
    #[diesel(sql_type = Array<Text>)]
    readable: Vec<String>,
}

/// Of the role and of who asks. An owner's policy lets all its members see every row, as any policy that does not ask for
/// the user does, unless a restrictive one asks.
const FITNESS: &str = "
    WITH policies AS (
        SELECT p.polrelid, p.polpermissive, p.polcmd, {asks} AS asks
        FROM pg_roles r CROSS JOIN pg_policy p
        WHERE r.rolname = $1 AND (0 = ANY (p.polroles) OR EXISTS (
            SELECT FROM unnest(p.polroles) other WHERE other <> 0 AND pg_has_role(r.oid, other, 'USAGE')))
    ), owned AS (
        SELECT c.oid, c.relname, c.relowner, c.oid::regclass::text AS name, NOT c.relrowsecurity OR EXISTS (
            SELECT FROM policies p
            WHERE p.polrelid = c.oid AND p.polpermissive AND NOT p.asks
                AND NOT EXISTS (SELECT FROM policies q WHERE q.polrelid = c.oid AND NOT q.polpermissive AND q.asks
                    AND q.polcmd IN ('*', p.polcmd))) AS unbound
        FROM pg_class c JOIN pg_class home ON home.oid = to_regclass($4)
        WHERE c.relnamespace = home.relnamespace AND c.relname = ANY ($2)
    )
    SELECT rolsuper OR rolbypassrls AS bypasses,
        EXISTS (SELECT FROM owned WHERE pg_has_role(r.oid, relowner, 'USAGE')) AS owns,
        pg_has_role(session_user, r.oid, 'MEMBER') AS granted,
        {by_function} AS by_function,
        ARRAY(SELECT name FROM owned WHERE unbound ORDER BY name) AS unbound,
        ARRAY(SELECT name FROM owned ORDER BY name) AS owned,
        ARRAY(SELECT name FROM owned WHERE relname = ANY ($3) AND has_any_column_privilege(r.oid, oid, 'SELECT')
            ORDER BY name) AS readable
    FROM pg_roles r WHERE rolname = $1";

#[derive(QueryableByName)]
struct Unbound {
    #[diesel(sql_type = Text)]
    name: String,
}

/// As the role, in the name of an unknown user: the tables on which no policy binds it, or where it sees
/// rows all the same.
fn seen(fitness: &Fitness) -> String {
    let tables = fitness.owned.iter().map(|name| {
        let literal = quote_literal(name);
        let rows = match fitness.readable.contains(name) {
            true => format!(" OR EXISTS (SELECT FROM {name})"),
            false => String::new(),
        };
        format!("SELECT {literal} AS name WHERE NOT row_security_active({literal}){rows}")
    });
    tables.collect::<Vec<_>>().join(" UNION ALL ")
}

impl ApplicationRole {
    pub fn new(name: &str, owned: OwnedTables) -> Self {
        ApplicationRole { name: name.into(), owned: owned.into(), fit: Arc::default() }
    }

    fn unfit(&self, reason: &str) -> Error {
        let reason = format!("the role {:?} {reason}", self.name);
        Error::Config { variable: config::APPLICATION_ROLE.into(), reason }
    }

    /// Asked once, before the first statement: a role that the policies do not bind is refused as one that is
    /// missing.
    async fn check(&self, connection: &PgConnection) -> Result<Naming> {
        let check = async || {
            let (mut names, mut unshared) = (Vec::new(), Vec::new());
            for &(name, is_shared) in &self.owned.names {
                names.push(name);
                if !is_shared {
                    unshared.push(name);
                }
            }
            let query = diesel::sql_query(
                FITNESS.replace("{asks}", self.owned.asks).replace("{by_function}", BY_FUNCTION),
            )
            .bind::<Text, _>(&*self.name)
            .bind::<Array<Text>, _>(names)
            .bind::<Array<Text>, _>(unshared)
            .bind::<Text, _>(self.owned.home);
            match connection.fetch_optional::<_, Fitness, _>(query).await? {
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
                Some(fitness) if !fitness.unbound.is_empty() => Err(self.unbound(&fitness.unbound)),
                Some(fitness) => self.try_on(connection, &fitness).await,
            }
        };
        self.fit.get_or_try_init(check).await.copied()
    }

    /// What the catalog says, by its effect: a policy may ask for the user and let every row through.
    async fn try_on(&self, connection: &PgConnection, fitness: &Fitness) -> Result<Naming> {
        let naming = Naming::new(fitness.by_function);
        if fitness.owned.is_empty() {
            return Ok(naming);
        }
        let nobody = Tenant::new(self, UserId::generate());
        let begin = format!("BEGIN READ ONLY; {}", nobody.assume_by(naming));
        let seen: Result<Vec<Unbound>> = match connection.batch(&begin).await {
            Ok(()) => connection.fetch_all(diesel::sql_query(seen(fitness))).await,
            Err(Error::Denied { .. }) => Err(self.unfit("is not granted to this login")),
            Err(error) => Err(error),
        };
        // Where this fails, the caller gives the connection back, which rolls it back or discards it.
        let ended = connection.batch("ROLLBACK").await;
        let seen: Vec<String> = seen?.into_iter().map(|table| table.name).collect();
        ended?;
        if seen.is_empty() { Ok(naming) } else { Err(self.unbound(&seen)) }
    }

    fn unbound(&self, tables: &[String]) -> Error {
        let tables = tables.join(", ");
        self.unfit(&format!("is not bound by the policies of {tables}; Database::doctor says why"))
    }
}

/// The setting that the policies read.
const USER: &str = "buffetbot.user_id";

/// One user, for the transactions that run in the user's name.
#[derive(Clone)]
pub(crate) struct Tenant {
    role: ApplicationRole,
    user: UserId,
}

impl Tenant {
    pub fn new(role: &ApplicationRole, user: UserId) -> Self {
        Tenant { role: role.clone(), user }
    }

    fn assume_by(&self, naming: Naming) -> String {
        let quoted = self.role.name.replace('"', "\"\"");
        format!("{}; SET LOCAL ROLE \"{quoted}\"", naming.statement(Some(&self.user.0)))
    }

    /// What a transaction in the user's name has to show: the role, and the user by this setting.
    pub fn shows(&self) -> (&str, &'static str, UserId) {
        (&self.role.name, USER, self.user)
    }

    /// What makes a transaction one in the user's name, where the role is fit.
    ///
    /// # Errors
    /// [`Error::Config`] where it is not.
    pub async fn assume(&self, connection: &PgConnection) -> Result<String> {
        Ok(self.assume_by(self.role.check(connection).await?))
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
    pub async fn reading(&self, pool: &Pool) -> Result<TenantConnection> {
        let named = TenantConnection { connection: pool.checkout().await?, open: true };
        self.begin(&named, "BEGIN").await?;
        Ok(named)
    }

    /// Runs one statement as a transaction. One that only reads is sent right behind the transaction's
    /// begin, and nobody waits for its end: one round trip. Of one that writes, each step is waited for, so
    /// that it can never run outside of the transaction and what is reported as done is committed.
    pub async fn statement<T>(
        &self,
        pool: &Pool,
        built: &RenderedQuery,
        run: impl for<'a> Fn(&'a PgConnection, &'a RenderedQuery) -> BoxFuture<'a, Result<T>>,
    ) -> Result<T> {
        let mut named = TenantConnection { connection: pool.checkout().await?, open: true };
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
        named: &mut TenantConnection,
        built: &RenderedQuery,
        run: &impl for<'a> Fn(&'a PgConnection, &'a RenderedQuery) -> BoxFuture<'a, Result<T>>,
    ) -> Result<T> {
        if built.effect == Effect::Reads {
            // Before the pipeline: what it asks must not come between its two statements.
            self.role.check(named).await?;
            // Polled in this order, so sent in this order. Where the begin fails, its cause is returned, not that
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
pub(crate) struct TenantConnection {
    connection: Pooled,
    open: bool,
}

impl TenantConnection {
    fn undo(&mut self) {
        if std::mem::take(&mut self.open) {
            self.connection.send_now("ROLLBACK");
        }
    }
}

impl Deref for TenantConnection {
    type Target = PgConnection;
    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl Drop for TenantConnection {
    fn drop(&mut self) {
        self.undo();
    }
}
