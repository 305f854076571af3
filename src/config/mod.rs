//! How to reach the database and how to behave towards it.

mod startup;
mod statements;
mod tls;
mod url;
mod variables;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

pub use self::statements::{QueryObserver, QueryReport, StatementMode};
pub use self::tls::{Certificates, SslMode};
use crate::error::{Error, Result};
use crate::types::span;
use url::parse_url;

/// The variable that names the [`Environment`].
pub(crate) const ENVIRONMENT: &str = "ENVIRONMENT";

/// The variable that names the role of [`Database::as_user`](crate::Database::as_user).
pub(crate) const APPLICATION_ROLE: &str = "DB_APPLICATION_ROLE";

/// The kind of place that the program runs in; some destructive calls refuse production.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Environment {
    /// A developer's machine.
    #[default]
    Development,
    /// Automated tests.
    Testing,
    /// A rehearsal environment.
    Staging,
    /// Production.
    Production,
}

impl FromStr for Environment {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "development" => Environment::Development,
            "testing" => Environment::Testing,
            "staging" => Environment::Staging,
            "production" => Environment::Production,
            _ => {
                return Err(invalid(
                    ENVIRONMENT,
                    "expected development, testing, staging or production",
                ));
            }
        })
    }
}

/// Configuration of a [`Database`](crate::Database): a server, a pool, limits. `Debug` shows no
/// secrets.
///
/// ```
/// use std::time::Duration;
/// use buffetbot_db::Config;
/// let config = Config::new("postgres://app:s%2Fcret@db.example.com/buffetbot")?
///     .pool_size(10)
///     .statement_timeout(Duration::from_secs(20));
/// assert!(!format!("{config:?}").contains("cret"));
/// # Ok::<(), buffetbot_db::Error>(())
/// ```
#[derive(Clone)]
pub struct Config {
    driver: tokio_postgres::Config,
    pub(crate) replicas: Vec<tokio_postgres::Config>,
    pub(crate) ssl_mode: SslMode,
    pub(crate) certificates: Certificates,
    pub(crate) environment: Environment,
    pub(crate) application_role: String,
    pub(crate) pool_size: u32,
    pub(crate) pool_max_overflow: u32,
    pub(crate) pool_timeout: Duration,
    pub(crate) pool_recycle: Option<Duration>,
    pub(crate) ping_after: Duration,
    pub(crate) connect_timeout: Duration,
    statement_timeout: Option<Duration>,
    answer_timeout: Option<Duration>,
    lock_timeout: Option<Duration>,
    idle_in_transaction_timeout: Option<Duration>,
    pub(crate) statement_mode: StatementMode,
    transaction_pooler: bool,
    pub(crate) statement_cache: usize,
    pub(crate) slow_query: Option<Duration>,
    pub(crate) observer: Option<QueryObserver>,
}

/// Time limits and pool sizes that nobody asked to change.
mod default {
    use std::time::Duration;
    pub const APPLICATION_ROLE: &str = "buffetbot_app";
    pub const POOL_SIZE: u32 = 20;
    pub const POOL_MAX_OVERFLOW: u32 = 30;
    pub const POOL_TIMEOUT: Duration = Duration::from_secs(30);
    pub const POOL_RECYCLE: Duration = Duration::from_secs(3600);
    /// A ping on every checkout costs half a cached read; a connection used this lately is alive.
    pub const PING_AFTER: Duration = Duration::from_secs(5);
    pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
    pub const STATEMENT_TIMEOUT: Duration = Duration::from_secs(60);
    /// Beyond `statement_timeout`: by then a server that can be reached has answered.
    pub const ANSWER_AFTER: Duration = Duration::from_secs(30);
    pub const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
    pub const IDLE_IN_TRANSACTION_TIMEOUT: Duration = Duration::from_secs(60);
    pub const STATEMENT_CACHE: usize = 256;
    pub const SLOW_QUERY: Duration = Duration::from_millis(500);
}

impl Config {
    /// Configuration for the server of a `postgres://user:password@host:port/name` URL; a unix
    /// socket's directory goes into the host, percent-encoded. It is read as libpq reads it, with the
    /// parameters that the driver has, and `sslmode`, `sslrootcert`, `sslcert` and `sslkey`. What
    /// `options` says of a limit stands.
    ///
    /// # Errors
    /// [`Error::Config`] of `DATABASE_URL`, which names a parameter that is not known. An unescaped `@`, `/`
    /// or `?` in a password is refused. The URL is not shown, it may hold a password.
    pub fn new(url: &str) -> Result<Self> {
        Self::from_url(url, "DATABASE_URL")
    }

    fn from_url(url: &str, variable: &'static str) -> Result<Self> {
        let parsed = parse_url(url, variable)?;
        Ok(Config {
            driver: parsed.driver,
            replicas: Vec::new(),
            ssl_mode: parsed.ssl_mode.unwrap_or_default(),
            certificates: parsed.certificates,
            environment: Environment::default(),
            application_role: default::APPLICATION_ROLE.into(),
            pool_size: default::POOL_SIZE,
            pool_max_overflow: default::POOL_MAX_OVERFLOW,
            pool_timeout: default::POOL_TIMEOUT,
            pool_recycle: Some(default::POOL_RECYCLE),
            ping_after: default::PING_AFTER,
            connect_timeout: parsed.connect_timeout.unwrap_or(default::CONNECT_TIMEOUT),
            statement_timeout: Some(default::STATEMENT_TIMEOUT),
            answer_timeout: None,
            lock_timeout: Some(default::LOCK_TIMEOUT),
            idle_in_transaction_timeout: Some(default::IDLE_IN_TRANSACTION_TIMEOUT),
            statement_mode: StatementMode::default(),
            transaction_pooler: false,
            statement_cache: default::STATEMENT_CACHE,
            slow_query: Some(default::SLOW_QUERY),
            observer: None,
        })
    }

    /// # Errors
    /// [`Error::Config`] of a name that no role can have. `none` would stand for the login itself.
    pub(crate) fn check_application_role(&self) -> Result<()> {
        let name = &*self.application_role;
        let wrong = name.is_empty() || name.len() > 63 || name.contains('\0');
        match wrong || ["none", "public"].contains(&name) || name.starts_with("pg_") {
            true => Err(invalid(APPLICATION_ROLE, "not the name of a role that can be made")),
            false => Ok(()),
        }
    }

    /// Connections kept open (20).
    pub fn pool_size(self, n: u32) -> Self {
        Config { pool_size: n, ..self }
    }

    /// Connections opened beyond the kept ones under load (30).
    pub fn pool_max_overflow(self, n: u32) -> Self {
        Config { pool_max_overflow: n, ..self }
    }

    /// Longest wait for a pooled connection (30 s). Connecting is refused where it is zero.
    pub fn pool_timeout(self, limit: Duration) -> Self {
        Config { pool_timeout: limit, ..self }
    }

    /// Age at which a connection is replaced, give or take a tenth (1 h); `None`: never; less than 100 ms counts
    /// as 100 ms.
    pub fn pool_recycle(self, age: Option<Duration>) -> Self {
        Config { pool_recycle: age, ..self }
    }

    /// Idle time after which a connection is tried before it is handed out (5 s).
    pub fn ping_after(self, idle: Duration) -> Self {
        Config { ping_after: idle, ..self }
    }

    /// Longest time for making one connection, name look-up, TLS and login included (10 s). Connecting is
    /// refused where it is zero.
    pub fn connect_timeout(self, limit: Duration) -> Self {
        Config { connect_timeout: limit, ..self }
    }

    /// The server's `statement_timeout` (60 s); zero: none. As its other limits it is rounded up to whole
    /// milliseconds, and more than 24.8 days, the server's longest, count as that.
    pub fn statement_timeout(self, limit: Duration) -> Self {
        Config { statement_timeout: Some(limit), ..self }
    }

    /// Longest wait for the server's next message on a statement (30 s more than `statement_timeout`; no limit where that
    /// has no limit or is not set at connect); zero: no limit. The server stops a statement by itself; this is for a network that
    /// swallows the answer, which no keepalive notices where something in between acknowledges what was sent.
    /// Statements that take longer, by a `statement_timeout` of their own, need it longer.
    pub fn answer_timeout(self, limit: Duration) -> Self {
        Config { answer_timeout: Some(limit), ..self }
    }

    /// The server's `lock_timeout` (10 s); zero: none.
    pub fn lock_timeout(self, limit: Duration) -> Self {
        Config { lock_timeout: Some(limit), ..self }
    }

    /// The server's `idle_in_transaction_session_timeout` (60 s); zero: none.
    pub fn idle_in_transaction_timeout(self, limit: Duration) -> Self {
        Config { idle_in_transaction_timeout: Some(limit), ..self }
    }

    /// How statements are sent; [`StatementMode::OneTrip`] for PgBouncer before 1.21, which implies
    /// [`transaction_pooler`](Self::transaction_pooler).
    pub fn statement_mode(self, mode: StatementMode) -> Self {
        Config { statement_mode: mode, ..self }
    }

    /// Whether a pooler in transaction mode stands in between, such as PgBouncer from 1.21 on (no). Then the
    /// three limits above are not set at connect, because a pooler refuses startup options: set
    /// them for the role (`ALTER ROLE ... SET statement_timeout = ...`). Nothing is set for a session, and
    /// connections are lent inside of transactions only, by
    /// [`UnitOfWork::connection`](crate::UnitOfWork::connection).
    pub fn transaction_pooler(self, stands_between: bool) -> Self {
        Config { transaction_pooler: stands_between, ..self }
    }

    pub(crate) fn is_behind_transaction_pooler(&self) -> bool {
        self.transaction_pooler || self.statement_mode == StatementMode::OneTrip
    }

    /// Prepared statements kept per connection (256).
    pub fn statement_cache(self, n: usize) -> Self {
        Config { statement_cache: n, ..self }
    }

    /// Time from which a statement is logged as slow (500 ms); `None`: never.
    pub fn slow_query(self, limit: Option<Duration>) -> Self {
        Config { slow_query: limit, ..self }
    }

    /// Called after every statement.
    pub fn observer(self, observer: QueryObserver) -> Self {
        Config { observer: Some(observer), ..self }
    }

    /// How TLS is used (`prefer`).
    pub fn ssl_mode(self, mode: SslMode) -> Self {
        Config { ssl_mode: mode, ..self }
    }

    /// Certificates for TLS.
    pub fn certificates(self, certificates: Certificates) -> Self {
        Config { certificates, ..self }
    }

    /// The kind of place that the program runs in (development).
    pub fn environment(self, environment: Environment) -> Self {
        Config { environment, ..self }
    }

    /// The role that [`Database::as_user`](crate::Database::as_user) takes on (`buffetbot_app`).
    pub fn application_role(self, name: impl Into<String>) -> Self {
        Config { application_role: name.into(), ..self }
    }

    /// The same configuration for another database of the server.
    pub fn database(mut self, name: &str) -> Self {
        self.driver.dbname(name);
        self
    }

    pub(crate) fn pool_max(&self) -> u32 {
        self.pool_size.max(1).saturating_add(self.pool_max_overflow)
    }

    /// Longest wait for the server's next answer.
    pub(crate) fn answer_limit(&self) -> Option<Duration> {
        let set = self.statement_timeout.filter(|_| !self.is_behind_transaction_pooler());
        let options = self.driver.get_options().unwrap_or_default();
        let set = startup::statement_timeout(options).unwrap_or(set);
        let usual = || {
            let limit = set.filter(|limit| !limit.is_zero());
            limit.map(|limit| span::sum(limit, default::ANSWER_AFTER))
        };
        self.answer_timeout.or_else(usual).filter(|limit| !limit.is_zero())
    }

    /// # Errors
    /// [`Error::Config`] of a limit within which nothing can be done.
    pub(crate) fn check_spans(&self) -> Result<()> {
        for (name, limit) in
            [("DB_POOL_TIMEOUT", self.pool_timeout), ("connect_timeout", self.connect_timeout)]
        {
            if limit.is_zero() {
                return Err(invalid(name, "must be longer than zero"));
            }
        }
        Ok(())
    }

    /// The driver's configuration, with everything that is set at connect.
    pub(crate) fn driver(&self) -> tokio_postgres::Config {
        let mut driver = self.driver.clone();
        if driver.get_hosts().is_empty() && driver.get_hostaddrs().is_empty() {
            driver.host("localhost");
        }
        driver
            .ssl_mode(match self.ssl_mode {
                SslMode::Disable => tokio_postgres::config::SslMode::Disable,
                SslMode::Prefer => tokio_postgres::config::SslMode::Prefer,
                _ => tokio_postgres::config::SslMode::Require,
            })
            .connect_timeout(self.connect_timeout);
        if driver.get_application_name().is_none() {
            driver.application_name("buffetbot-db");
        }
        if !self.is_behind_transaction_pooler() {
            let mut options = String::new();
            for (name, limit) in [
                ("statement_timeout", self.statement_timeout),
                ("lock_timeout", self.lock_timeout),
                ("idle_in_transaction_session_timeout", self.idle_in_transaction_timeout),
            ] {
                if let Some(limit) = limit {
                    options.push_str(&format!("-c {name}={} ", span::server_limit(limit)));
                }
            }
            // Behind ours, because of several settings of one name the server takes the last.
            options.push_str(driver.get_options().unwrap_or_default());
            driver.options(options);
        }
        driver
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("hosts", &self.driver.get_hosts())
            .field("ports", &self.driver.get_ports())
            .field("user", &self.driver.get_user())
            .field("database", &self.driver.get_dbname())
            .field("replicas", &self.replicas.len())
            .field("ssl_mode", &self.ssl_mode)
            .field("environment", &self.environment)
            .field("application_role", &self.application_role)
            .field("pool_size", &self.pool_size)
            .field("pool_max_overflow", &self.pool_max_overflow)
            .field("pool_timeout", &self.pool_timeout)
            .field("pool_recycle", &self.pool_recycle)
            .field("connect_timeout", &self.connect_timeout)
            .field("statement_mode", &self.statement_mode)
            .field("transaction_pooler", &self.is_behind_transaction_pooler())
            .finish_non_exhaustive()
    }
}

fn invalid(variable: &'static str, reason: &str) -> Error {
    Error::Config { variable: variable.into(), reason: reason.into() }
}
