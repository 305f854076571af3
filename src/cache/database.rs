//! The database as a level that may be down.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::breaker::CircuitBreaker;
use super::counters::Counters;
use super::kind::{Cacheable, Read};
use super::lease;
use super::lease::LeaseOutcome;
use crate::error::{Error, Resource, Result, Unreadable};
use crate::postgres::Pool;
use crate::store::{EntryKeyRef, Session, Source, tables};

/// The pool, a limit on each use of it, and a breaker.
pub(crate) struct DatabaseLevel {
    pool: Pool,
    pub session: Session,
    breaker: CircuitBreaker,
    timeout: Duration,
    lease: Duration,
    pub counters: Arc<Counters>,
}

impl DatabaseLevel {
    pub fn new(pool: Pool, options: &super::CacheOptions, counters: Arc<Counters>) -> Self {
        DatabaseLevel {
            session: Session::new(Source::Pool(pool.clone(), None), &tables::MARKET_DATA_CACHE),
            pool,
            breaker: CircuitBreaker::new("PostgreSQL"),
            timeout: options.database_timeout,
            lease: options.lease,
            counters,
        }
    }

    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Runs statements within the limit. [`is_down`] of the error says whether the level is down.
    pub async fn run<R>(&self, work: impl Future<Output = Result<R>>) -> Result<R> {
        self.limited(work, Error::unavailable).await
    }

    /// As [`run`](Self::run), of statements that write: past the limit it is not known whether they did.
    pub async fn write<R>(&self, work: impl Future<Output = Result<R>>) -> Result<R> {
        self.limited(work, Error::outcome_unknown).await
    }

    async fn limited<R>(
        &self,
        work: impl Future<Output = Result<R>>,
        unanswered: impl FnOnce(String) -> Error,
    ) -> Result<R> {
        if !self.breaker.allows() {
            return Err(Error::unavailable("left out after a failure"));
        }
        let result = match tokio::time::timeout(self.timeout, work).await {
            Ok(result) => result,
            Err(_) => Err(unanswered(format!("no answer within {:?}", self.timeout))),
        };
        match &result {
            Err(error) if is_down(error) => {
                self.counters.database_errors.one();
                self.breaker.failed(&error.to_string());
            }
            _ => self.breaker.worked(),
        }
        result
    }

    /// The row of a key, fresh or not.
    pub async fn read<K: Cacheable>(
        &self,
        address: EntryKeyRef<'_>,
        pack: bool,
    ) -> Result<Option<Read<K::Value>>> {
        let work = async { K::read(&*self.session.connection().await?, address, pack).await };
        self.run(work).await.map_err(|error| of_entry(error, K::TABLE, address))
    }

    pub async fn take(&self, address: EntryKeyRef<'_>) -> Result<LeaseOutcome> {
        let work =
            async { lease::take(&*self.session.connection().await?, address, self.lease).await };
        self.run(work).await
    }

    pub async fn release(&self, address: EntryKeyRef<'_>, token: i64) -> Result<bool> {
        let work =
            async { lease::release(&*self.session.connection().await?, address, token).await };
        self.run(work).await
    }

    pub async fn fail(
        &self,
        address: EntryKeyRef<'_>,
        token: i64,
        pause: Duration,
    ) -> Result<bool> {
        let work =
            async { lease::fail(&*self.session.connection().await?, address, token, pause).await };
        self.run(work).await
    }

    /// Renews the lease while it is held; never returns. A renewal that fails is tried again at the
    /// next turn: the lease outlives two.
    pub async fn keep_renewing(
        &self,
        address: EntryKeyRef<'_>,
        token: i64,
    ) -> std::convert::Infallible {
        let mut held = true;
        loop {
            tokio::time::sleep(self.lease / 3).await;
            if held {
                let work = async {
                    let connection = self.session.connection().await?;
                    lease::renew(&connection, address, token, self.lease).await
                };
                held = self.run(work).await.unwrap_or(true);
            }
        }
    }
}

/// With the table, and where the row's id is not known, with the key that was looked up, in an error that lacks them.
fn of_entry(error: Error, of: &str, address: EntryKeyRef<'_>) -> Error {
    let or = |known: String, other: String| match known.as_str() {
        Unreadable::UNKNOWN => other,
        _ => known,
    };
    match error {
        Error::Corrupt { table, key, column, reason } => Error::Corrupt {
            table: or(table, of.to_owned()),
            key: or(key, format!("{} {}", address.ticker, address.name)),
            column,
            reason,
        },
        other => other,
    }
}

/// Whether the error says that the database cannot be reached, not that it refused something. No
/// connection to be had is no better than none that works.
pub(super) fn is_down(error: &Error) -> bool {
    matches!(
        error,
        Error::Unavailable { .. }
            | Error::OutcomeUnknown { .. }
            | Error::Busy { resource: Resource::PooledConnection, .. }
    )
}
