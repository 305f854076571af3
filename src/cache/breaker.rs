//! Leaves out a level that is down, so that its failures cost one caller now and then a timeout,
//! instead of every caller one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a level is left out after its first failure; doubled with every try that is let through.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Whether a level may be used. Down from its first failure until a try after it works.
#[derive(Debug)]
pub(crate) struct CircuitBreaker {
    /// What the log calls the level.
    level: &'static str,
    /// `outage` is `None`: spares callers the lock while all is well.
    up: AtomicBool,
    outage: Mutex<Option<Outage>>,
}

#[derive(Debug)]
struct Outage {
    since: Instant,
    /// When the next caller may try.
    next_try: Instant,
    pause: Duration,
    /// Whether a caller was let through since the level went down. Until then, what works was begun
    /// before the failure and says nothing about the present.
    tried: bool,
}

impl CircuitBreaker {
    /// A breaker of a level that is up.
    pub fn new(level: &'static str) -> Self {
        CircuitBreaker { level, up: AtomicBool::new(true), outage: Mutex::new(None) }
    }

    /// Whether the level is up, without asking to try it.
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Acquire)
    }

    /// Whether the caller may use the level now. While it is down one caller is let through after
    /// each pause; if it never reports the result, that costs no more than the next pause.
    pub fn allows(&self) -> bool {
        self.is_up() || self.allows_at(Instant::now())
    }

    /// The level failed. `reason` is logged when this takes the level down: no secrets, no data.
    pub fn failed(&self, reason: &str) {
        self.failed_at(Instant::now(), reason);
    }

    /// The level did what it was asked.
    pub fn worked(&self) {
        if !self.is_up() {
            self.worked_at(Instant::now());
        }
    }

    fn allows_at(&self, now: Instant) -> bool {
        let mut outage = self.lock();
        let Some(outage) = outage.as_mut() else { return true };
        if now < outage.next_try {
            return false;
        }
        outage.tried = true;
        outage.pause = (outage.pause * 2).min(LONGEST_PAUSE);
        outage.next_try = now + outage.pause;
        true
    }

    fn failed_at(&self, now: Instant, reason: &str) {
        let mut outage = self.lock();
        // The failures of all who were under way are one outage, and a try has taken its pause already.
        if outage.is_some() {
            return;
        }
        let (pause, next_try) = (FIRST_PAUSE, now + FIRST_PAUSE);
        *outage = Some(Outage { since: now, next_try, pause, tried: false });
        self.up.store(false, Ordering::Release);
        tracing::warn!(
            target: "buffetbot_db::cache",
            level = self.level, reason, "cache level is down and left out until it answers"
        );
    }

    fn worked_at(&self, now: Instant) {
        let mut outage = self.lock();
        let Some(ended) = outage.take_if(|outage| outage.tried) else { return };
        self.up.store(true, Ordering::Release);
        let down_for = now.saturating_duration_since(ended.since);
        tracing::info!(
            target: "buffetbot_db::cache",
            level = self.level, ?down_for, "cache level is back"
        );
    }

    fn lock(&self) -> MutexGuard<'_, Option<Outage>> {
        // Nothing under this lock leaves the state half changed.
        self.outage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn pauses_double_to_a_limit_and_each_lets_one_through() {
        let breaker = CircuitBreaker::new("test");
        assert!(breaker.allows() && breaker.is_up());
        let mut now = Instant::now();
        breaker.failed_at(now, "refused");
        assert!(!breaker.is_up());
        for pause in [500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000] {
            assert!(!breaker.allows_at(now + MS * (pause - 1)), "{pause}");
            now += MS * pause;
            assert!(breaker.allows_at(now), "{pause}");
            assert!(!breaker.allows_at(now), "one at a time: {pause}");
            breaker.failed_at(now + MS, "refused");
        }
        breaker.worked_at(now);
        assert!(breaker.is_up() && breaker.allows());
        breaker.failed_at(now, "refused");
        assert!(
            breaker.allows_at(now + FIRST_PAUSE),
            "the next outage begins with the first pause"
        );
    }

    #[test]
    fn what_was_begun_before_the_failure_does_not_end_the_outage() {
        let (breaker, now) = (CircuitBreaker::new("test"), Instant::now());
        breaker.failed_at(now, "refused");
        breaker.failed_at(now + MS * 400, "refused, too");
        breaker.worked_at(now + MS);
        assert!(!breaker.is_up());
        assert!(
            breaker.allows_at(now + FIRST_PAUSE),
            "later failures of one outage extend no pause"
        );
        breaker.worked_at(now + FIRST_PAUSE);
        assert!(breaker.is_up());
    }

    #[test]
    fn a_try_that_never_reports_is_followed_by_another() {
        let (breaker, now) = (CircuitBreaker::new("test"), Instant::now());
        breaker.failed_at(now, "refused");
        assert!(breaker.allows_at(now + FIRST_PAUSE));
        assert!(!breaker.allows_at(now + FIRST_PAUSE * 2));
        assert!(breaker.allows_at(now + FIRST_PAUSE * 3));
    }
}
