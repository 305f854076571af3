//! Configuration from environment variables.

use std::path::PathBuf;
use std::time::Duration;

use super::tls::{Certificates, SslMode};
use super::url::parse_url;
use super::{APPLICATION_ROLE, Config, ENVIRONMENT, invalid};
use crate::error::Result;

/// What [`Config::from_env`] reads.
const VARIABLES: [&str; 17] = [
    "DATABASE_URL",
    "DB_HOST",
    "DB_PORT",
    "DB_USERNAME",
    "DB_PASSWORD",
    "DB_NAME",
    "DB_POOL_SIZE",
    "DB_POOL_MAX_OVERFLOW",
    "DB_POOL_TIMEOUT",
    "DB_POOL_RECYCLE",
    "DB_SSL_MODE",
    "DB_SSL_CA",
    "DB_SSL_CERT",
    "DB_SSL_KEY",
    "DB_REPLICA_URLS",
    APPLICATION_ROLE,
    ENVIRONMENT,
];

impl Config {
    /// Configuration from the environment: `DATABASE_URL`, or `DB_HOST` (localhost), `DB_PORT`
    /// (5432), `DB_USERNAME`, `DB_PASSWORD`, `DB_NAME`; and `DB_POOL_SIZE`, `DB_POOL_MAX_OVERFLOW`,
    /// `DB_POOL_TIMEOUT` (s), `DB_POOL_RECYCLE` (s; 0: never), `DB_SSL_MODE`, `DB_SSL_CA`, `DB_SSL_CERT`,
    /// `DB_SSL_KEY`, `DB_REPLICA_URLS` (comma-separated), `DB_APPLICATION_ROLE`,
    /// `ENVIRONMENT`.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) naming the variable.
    pub fn from_env() -> Result<Self> {
        for name in VARIABLES {
            if let Err(std::env::VarError::NotUnicode(_)) = std::env::var(name) {
                return Err(invalid(name, "not valid UTF-8"));
            }
        }
        Self::from_vars(|name| std::env::var(name).ok())
    }

    /// As [`from_env`](Self::from_env), of any source of variables. An empty variable counts as
    /// absent.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) naming the variable.
    pub fn from_vars(lookup: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let var = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let mut config = match var("DATABASE_URL") {
            Some(url) => Self::new(&url)?,
            None => Self::from_parts(&var)?,
        };
        let seconds = |name| number(&var, name).map(|n| n.map(|n| Duration::from_secs(n.into())));
        if let Some(n) = number(&var, "DB_POOL_SIZE")? {
            config = config.pool_size(n);
        }
        if let Some(n) = number(&var, "DB_POOL_MAX_OVERFLOW")? {
            config = config.pool_max_overflow(n);
        }
        if let Some(limit) = seconds("DB_POOL_TIMEOUT")? {
            config = config.pool_timeout(limit);
        }
        if let Some(age) = seconds("DB_POOL_RECYCLE")? {
            config = config.pool_recycle(Some(age).filter(|age| !age.is_zero()));
        }
        if let Some(mode) = var("DB_SSL_MODE") {
            config.ssl_mode = SslMode::parse(&mode, "DB_SSL_MODE")?;
        }
        let path = |name: &str| var(name).map(PathBuf::from);
        let given = Certificates {
            ca: path("DB_SSL_CA"),
            cert: path("DB_SSL_CERT"),
            key: path("DB_SSL_KEY"),
        };
        let from_url = std::mem::take(&mut config.certificates);
        config.certificates = Certificates {
            ca: given.ca.or(from_url.ca),
            cert: given.cert.or(from_url.cert),
            key: given.key.or(from_url.key),
        };
        for url in var("DB_REPLICA_URLS").iter().flat_map(|urls| separate_urls(urls)) {
            config.replicas.push(parse_url(url, "DB_REPLICA_URLS")?.driver);
        }
        if let Some(role) = var(APPLICATION_ROLE) {
            config.application_role = role;
        }
        if let Some(environment) = var(ENVIRONMENT) {
            config.environment = environment.parse()?;
        }
        config.checked()
    }

    /// The parts go to the driver as they are: no character of a password needs escaping.
    fn from_parts(var: &impl Fn(&str) -> Option<String>) -> Result<Self> {
        let mut config = Self::new("postgres://")?;
        config.driver.host(var("DB_HOST").unwrap_or_else(|| "localhost".into()));
        let port = number(var, "DB_PORT")?.unwrap_or(5432);
        let port = u16::try_from(port).ok().filter(|port| *port != 0);
        config.driver.port(port.ok_or_else(|| invalid("DB_PORT", "expected a port, 1 to 65535"))?);
        let needed = |name: &'static str| {
            var(name).ok_or_else(|| invalid(name, "not set, and neither is DATABASE_URL"))
        };
        config.driver.user(needed("DB_USERNAME")?).dbname(needed("DB_NAME")?);
        if let Some(password) = var("DB_PASSWORD") {
            config.driver.password(password);
        }
        Ok(config)
    }

    fn checked(self) -> Result<Self> {
        self.check_application_role()?;
        if self.pool_size == 0 {
            return Err(invalid("DB_POOL_SIZE", "must be at least 1"));
        }
        self.check_spans()?;
        Ok(self)
    }
}

fn number(var: &impl Fn(&str) -> Option<String>, name: &'static str) -> Result<Option<u32>> {
    let parse =
        |text: String| text.trim().parse().map_err(|_| invalid(name, "expected a whole number"));
    var(name).map(parse).transpose()
}

/// The URLs of a list. A comma in the place of user, password and hosts belongs to the URL, unless a scheme follows it.
fn separate_urls(urls: &str) -> Vec<&str> {
    let mut separate = Vec::new();
    let mut begin = 0;
    for (comma, _) in urls.match_indices(',') {
        let (url, next) = (&urls[begin..comma], urls[comma + 1..].trim_start());
        let is_past_hosts = url.split_once("://").is_none_or(|(_, rest)| rest.contains(['/', '?']));
        if is_past_hosts || next.starts_with("postgres://") || next.starts_with("postgresql://") {
            separate.push(url.trim());
            begin = comma + 1;
        }
    }
    separate.push(urls[begin..].trim());
    separate
}
