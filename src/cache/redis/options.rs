//! Where Redis is and how it is used.

use std::fmt;
use std::time::Duration;

use redis::{ConnectionInfo, ErrorKind, IntoConnectionInfo};

use crate::error::{Error, Result};
use crate::types::span;

/// A Redis server as a level of the cache, between memory and PostgreSQL. It is never needed: while it
/// is down, or slow, the cache works without it.
#[derive(Clone)]
pub struct RedisOptions {
    pub(super) server: ConnectionInfo,
    pub(super) prefix: String,
    pub(super) timeout: Duration,
}

impl RedisOptions {
    /// The server of `url`: `redis://[[user]:password@]host[:port][/database]`, or
    /// `unix:///path[?db=database&user=user&pass=password]`. Nothing is connected yet.
    ///
    /// # Errors
    /// [`Error::Config`] of `REDIS_URL`; the URL is not shown, it may hold a password.
    pub fn new(url: &str) -> Result<Self> {
        let server = url.into_connection_info().map_err(|error| refused(error.kind()))?;
        if !server.addr().is_supported() {
            return Err(refused(ErrorKind::InvalidClientConfig));
        }
        let (prefix, timeout) = ("buffetbot".into(), Duration::from_millis(250));
        Ok(RedisOptions { server, prefix, timeout })
    }

    /// What all keys begin with, after a brace; `buffetbot` unless set.
    pub fn prefix(self, prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), ..self }
    }

    /// How long an operation, with the connecting that it may need, takes at most: 250 ms unless set; zero is refused.
    pub fn timeout(self, limit: Duration) -> Self {
        Self { timeout: limit, ..self }
    }

    pub(crate) fn validate(&self) -> Result<()> {
        span::check("timeout", self.timeout)
    }
}

pub(super) fn refused(kind: ErrorKind) -> Error {
    let reason = match kind {
        ErrorKind::InvalidClientConfig => "this kind of connection, such as TLS, is not built in",
        _ => "expected redis://[[user]:password@]host[:port][/database] or unix:///path",
    };
    Error::Config { variable: "REDIS_URL".into(), reason: reason.into() }
}

/// Without the server: its URL may hold a password.
impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOptions")
            .field("prefix", &self.prefix)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
