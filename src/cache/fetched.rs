//! What a fetch is given and returns.

use std::future::Future;
use std::time::Duration;

use super::cached::Cached;
use super::policy::Policy;
use crate::error::Result;
use crate::types::UnitInterval;

/// The error of a fetch: any error, or a text.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A fetch: a closure that is given the value that was there before, if any (fresh, stale or beyond;
/// for a conditional request), and returns a future of the new one: a `T`, or a [`Fetched`] that says
/// more about it. It runs on a separate task and continues when its caller leaves, so that it must
/// own what it uses.
///
/// ```
/// # use buffetbot_db::cache::Policy;
/// # use buffetbot_db::prelude::*;
/// # async fn example(db: &Database, key: &CacheKey, policy: &Policy) -> Result<()> {
/// let price = db.cache().get_or_fetch::<f64>(key, policy, |_| async { Ok::<_, Error>(430.47) });
/// println!("{:?}", price.await?.value);
/// # Ok(())
/// # }
/// ```
pub trait Fetch<T, N = T>:
    FnOnce(Option<Cached<T>>) -> <Self as Fetch<T, N>>::Future + Send + 'static
{
    /// The closure's future.
    type Future: Future<Output = Result<Self::Value, Self::Error>> + Send + 'static;
    /// `N` or [`Fetched<N>`]; `N` is `T`, but for analyses, where it is what is stored.
    type Value: Into<Fetched<N>> + Send;
    /// What becomes [`Error::Fetch`](crate::Error::Fetch).
    type Error: Into<BoxError>;
}

impl<T, N, F, Fut, V, E> Fetch<T, N> for F
where
    F: FnOnce(Option<Cached<T>>) -> Fut + Send + 'static,
    Fut: Future<Output = Result<V, E>> + Send + 'static,
    V: Into<Fetched<N>> + Send,
    E: Into<BoxError>,
{
    type Future = Fut;
    type Value = V;
    type Error = E;
}

/// The outcome of a fetch, with whatever differs from the call's policy.
#[derive(Debug, Clone)]
pub struct Fetched<T> {
    /// `None`: the value that was there before is still right.
    pub(crate) value: Option<T>,
    policy: Option<Policy>,
    ttl: Option<Duration>,
    source: Option<String>,
    quality: Option<UnitInterval>,
}

impl<T> Fetched<T> {
    /// A new value.
    pub fn new(value: T) -> Self {
        Fetched { value: Some(value), policy: None, ttl: None, source: None, quality: None }
    }

    /// The provider says that the value which the fetch was given is still right: it is fresh again.
    /// An error where the fetch was given none.
    pub fn unchanged() -> Self {
        Fetched { value: None, policy: None, ttl: None, source: None, quality: None }
    }

    /// Kept by another policy than the call's.
    pub fn policy(self, policy: Policy) -> Self {
        Fetched { policy: Some(policy), ..self }
    }

    /// Fresh for this long, whatever the policy says; zero counts as a microsecond.
    pub fn ttl(self, ttl: Duration) -> Self {
        Fetched { ttl: Some(ttl), ..self }
    }

    /// From this provider.
    pub fn source(self, source: impl Into<String>) -> Self {
        Fetched { source: Some(source.into()), ..self }
    }

    /// Of this quality.
    pub fn quality(self, quality: UnitInterval) -> Self {
        Fetched { quality: Some(quality), ..self }
    }

    /// The policy for this value: its own, else the call's.
    ///
    /// # Errors
    /// `Invalid` of a field of its own policy.
    pub(crate) fn settle(&mut self, call: &Policy) -> Result<Policy> {
        let mut policy = self.policy.take().unwrap_or_else(|| call.clone());
        if let Some(ttl) = self.ttl {
            // The provider says that it is outdated at once: as short as can be stored.
            let ttl = ttl.max(Duration::from_micros(1));
            policy.ttl = ttl;
            policy.negative_ttl = ttl;
        }
        policy.source = self.source.take().or(policy.source);
        policy.quality = self.quality.take().or(policy.quality);
        policy.validate()?;
        Ok(policy)
    }
}

impl<T> From<T> for Fetched<T> {
    fn from(value: T) -> Self {
        Fetched::new(value)
    }
}
