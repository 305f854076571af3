//! How long a value is kept and how hard a fetch is tried.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::types::{Tag, UnitInterval, span};

/// How a value is cached and fetched. Every span is counted by the database's clock or by a monotonic
/// one, never by the process's wall clock. More than 100 years count as 100 years; what zero is refused for says so.
///
/// ```
/// use std::time::Duration;
/// use buffetbot_db::cache::Policy;
/// let policy = Policy::ttl(Duration::from_secs(3600))
///     .stale_for(Duration::from_secs(86_400))
///     .source("alphavantage");
/// # let _ = policy;
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// How long a value is fresh (1 h); zero is refused.
    pub ttl: Duration,
    /// The largest share of a TTL that is left out at random, 0 to 1 (0.05): values stored together
    /// do not expire together.
    pub jitter: f64,
    /// How long after its expiry a value may be served, while it is fetched again or cannot be (0:
    /// not at all).
    pub stale_for: Duration,
    /// How long a negative result is fresh: a value that serializes to `null`, such as `None` (1 min);
    /// zero is refused.
    pub negative_ttl: Duration,
    /// The share of its TTL after which a value that is asked for is fetched again in the background,
    /// before it expires, 0 to 1 (none).
    pub eager: Option<f64>,
    /// How long a call that has a stale value waits for the fetch before it returns the stale one
    /// (0: not at all). The fetch continues.
    pub soft_timeout: Duration,
    /// How long a fetch may take, and a call may wait for one (30 s); zero is refused.
    pub hard_timeout: Duration,
    /// How long nobody fetches after a failure (1 s); it doubles with each failure in a row, up to
    /// `retry_at_most`.
    pub retry_after: Duration,
    /// The longest pause after a failure (1 min).
    pub retry_at_most: Duration,
    /// Name of the provider, at most 50 characters.
    pub source: Option<String>,
    /// Quality of the values.
    pub quality: Option<UnitInterval>,
    /// Names under which the values are invalidated together.
    pub tags: Vec<Tag>,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            ttl: Duration::from_secs(3600),
            jitter: 0.05,
            stale_for: Duration::ZERO,
            negative_ttl: Duration::from_secs(60),
            eager: None,
            soft_timeout: Duration::ZERO,
            hard_timeout: Duration::from_secs(30),
            retry_after: Duration::from_secs(1),
            retry_at_most: Duration::from_secs(60),
            source: None,
            quality: None,
            tags: Vec::new(),
        }
    }
}

impl Policy {
    /// Fresh for this long; defaults otherwise.
    pub fn ttl(ttl: Duration) -> Self {
        Policy { ttl, ..Policy::default() }
    }

    /// With another [`jitter`](Policy::jitter).
    pub fn jitter(self, jitter: f64) -> Self {
        Policy { jitter, ..self }
    }

    /// With a stale window: see [`stale_for`](Policy::stale_for).
    pub fn stale_for(self, stale_for: Duration) -> Self {
        Policy { stale_for, ..self }
    }

    /// With another [`negative_ttl`](Policy::negative_ttl).
    pub fn negative_ttl(self, negative_ttl: Duration) -> Self {
        Policy { negative_ttl, ..self }
    }

    /// With another [`soft_timeout`](Policy::soft_timeout).
    pub fn soft_timeout(self, soft_timeout: Duration) -> Self {
        Policy { soft_timeout, ..self }
    }

    /// With another [`hard_timeout`](Policy::hard_timeout).
    pub fn hard_timeout(self, hard_timeout: Duration) -> Self {
        Policy { hard_timeout, ..self }
    }

    /// With another [`retry_after`](Policy::retry_after).
    pub fn retry_after(self, retry_after: Duration) -> Self {
        Policy { retry_after, ..self }
    }

    /// With another [`retry_at_most`](Policy::retry_at_most).
    pub fn retry_at_most(self, retry_at_most: Duration) -> Self {
        Policy { retry_at_most, ..self }
    }

    /// Refreshed in the background after this share of its TTL: see [`eager`](Policy::eager).
    pub fn eager(self, share: f64) -> Self {
        Policy { eager: Some(share), ..self }
    }

    /// From this provider.
    pub fn source(self, source: impl Into<String>) -> Self {
        Policy { source: Some(source.into()), ..self }
    }

    /// Of this quality.
    pub fn quality(self, quality: UnitInterval) -> Self {
        Policy { quality: Some(quality), ..self }
    }

    /// Also under this tag.
    pub fn tag(mut self, tag: Tag) -> Self {
        self.tags.push(tag);
        self
    }

    /// # Errors
    /// [`Error::Invalid`] of the field that cannot be meant.
    pub(crate) fn validate(&self) -> Result<()> {
        span::check("ttl", self.ttl)?;
        span::check("negative_ttl", self.negative_ttl)?;
        span::check("hard_timeout", self.hard_timeout)?;
        let share = |field, value: f64| match (0.0..=1.0).contains(&value) {
            true => Ok(()),
            false => Err(Error::invalid(field, "must be a share between 0 and 1")),
        };
        share("jitter", self.jitter)?;
        share("eager", self.eager.unwrap_or_default())
    }

    /// The TTL of one value, with its jitter.
    pub(crate) fn jittered(&self, ttl: Duration) -> Duration {
        let random = f64::from(uuid::Uuid::new_v4().as_bytes()[0]) / 255.0;
        // Never none: a TTL of zero is refused.
        span::share(ttl, 1.0 - self.jitter * random).max(Duration::from_micros(1))
    }

    /// The pause after the `failures`th failure in a row.
    pub(crate) fn pause(&self, failures: u32) -> Duration {
        let doubled = self.retry_after.saturating_mul(2u32.saturating_pow(failures.max(1) - 1));
        doubled.min(self.retry_at_most.max(self.retry_after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let policy = Policy::default();
        let seconds: Vec<_> = [1, 2, 3, 7, 40].map(|n| policy.pause(n).as_secs()).into();
        assert_eq!(seconds, [1, 2, 4, 60, 60]);
    }

    #[test]
    fn jitter_only_shortens() {
        let policy = Policy::ttl(Duration::from_secs(100)).jitter(0.2);
        let ttls: Vec<_> = (0..200).map(|_| policy.jittered(policy.ttl)).collect();
        assert!(ttls.iter().all(|t| (80.0..=100.0).contains(&t.as_secs_f64())));
        assert!(ttls.iter().any(|t| *t != ttls[0]));
        assert_eq!(policy.jitter(0.0).jittered(Duration::from_secs(9)), Duration::from_secs(9));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let hour = Policy::default();
        assert!(hour.validate().is_ok());
        for policy in [
            Policy::ttl(Duration::ZERO),
            hour.clone().jitter(1.5),
            hour.clone().jitter(f64::NAN),
            hour.clone().eager(-0.1),
            hour.clone().negative_ttl(Duration::ZERO),
            hour.clone().hard_timeout(Duration::ZERO),
        ] {
            assert!(matches!(policy.validate(), Err(Error::Invalid { .. })), "{policy:?}");
        }
    }
}
