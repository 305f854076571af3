//! What a cache is made of.

use std::time::Duration;

use super::policy::Policy;
#[cfg(feature = "redis")]
use crate::cache::redis::RedisOptions;
use crate::error::Result;
use crate::types::span;

/// The levels of a cache and its defaults. See [`Database::with_cache`](crate::Database::with_cache).
#[derive(Debug, Clone)]
pub struct CacheOptions {
    pub(crate) memory: u64,
    pub(crate) database: bool,
    pub(crate) policy: Policy,
    pub(crate) poll_every: Duration,
    pub(crate) max_staleness: Duration,
    pub(crate) lease: Duration,
    pub(crate) database_timeout: Duration,
    #[cfg(feature = "redis")]
    pub(crate) redis: Option<RedisOptions>,
}

impl Default for CacheOptions {
    fn default() -> Self {
        CacheOptions {
            memory: 64 << 20,
            database: true,
            policy: Policy::default(),
            poll_every: Duration::from_secs(1),
            max_staleness: Duration::from_secs(3),
            lease: Duration::from_secs(5),
            database_timeout: Duration::from_secs(5),
            #[cfg(feature = "redis")]
            redis: None,
        }
    }
}

impl CacheOptions {
    /// Bytes of the memory level (64 MiB); 0 leaves it out. A value weighs what its JSON text
    /// does, plus about 250 bytes: a struct takes about that, a `serde_json::Value` several times
    /// as much.
    pub fn memory(self, memory: u64) -> Self {
        CacheOptions { memory, ..self }
    }

    /// Whether PostgreSQL is a level (yes). Without it nothing is shared between processes, and
    /// nothing outlives them, unless Redis is there; and a fetch that is under way may bring back what
    /// was put or invalidated meanwhile.
    pub fn database(self, database: bool) -> Self {
        CacheOptions { database, ..self }
    }

    /// The policy of calls that ask for [`Cache::policy`](super::Cache::policy).
    pub fn policy(self, policy: Policy) -> Self {
        CacheOptions { policy, ..self }
    }

    /// How often the log of changes is read when no notification comes (1 s; zero is refused, less than
    /// 5 ms counts as 5 ms).
    pub fn poll_every(self, poll_every: Duration) -> Self {
        CacheOptions { poll_every, ..self }
    }

    /// The staleness bound: a value in memory is served without asking the database only while
    /// the log of changes was read this lately (3 s).
    pub fn max_staleness(self, max_staleness: Duration) -> Self {
        CacheOptions { max_staleness, ..self }
    }

    /// How long a fetch stays reserved for a process that has died (5 s; zero is refused, less than
    /// 100 ms counts as 100 ms, more than a minute as a minute); one that lives renews.
    pub fn lease(self, lease: Duration) -> Self {
        CacheOptions { lease, ..self }
    }

    /// How long one read or write of the database level may take (5 s; zero is refused) before the call continues
    /// without that level.
    pub fn database_timeout(self, database_timeout: Duration) -> Self {
        CacheOptions { database_timeout, ..self }
    }

    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) of a span that cannot be zero, or of the policy.
    pub(crate) fn validate(&self) -> Result<()> {
        self.policy.validate()?;
        span::check("poll_every", self.poll_every)?;
        span::check("lease", self.lease)?;
        span::check("database_timeout", self.database_timeout)?;
        #[cfg(feature = "redis")]
        if let Some(redis) = &self.redis {
            redis.validate()?;
        }
        Ok(())
    }

    /// With a level in Redis, between memory and PostgreSQL.
    #[cfg(feature = "redis")]
    pub fn redis(self, redis: RedisOptions) -> Self {
        CacheOptions { redis: Some(redis), ..self }
    }
}
