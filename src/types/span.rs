//! Spans of time: the one place where they are added, limited and converted, so that no length overflows or is
//! rounded down to zero.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use diesel::data_types::PgInterval;

use crate::error::{Error, Result};

/// The longest span that is counted with, 100 years: added to any clock of today it stays far inside the calendars
/// of PostgreSQL and of chrono. What is longer counts as this long.
pub(crate) const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// The longest age that rows are asked for, about 1,900 years: subtracted from any clock of today it stays in the
/// common era, in which all days lie that are stored.
const LONGEST_AGE: Duration = Duration::from_secs(1_900 * 365 * 24 * 60 * 60);

/// # Errors
/// [`Error::Invalid`] of `field`: zero.
pub(crate) fn check(field: &'static str, span: Duration) -> Result<()> {
    match span.is_zero() {
        true => Err(Error::invalid(field, "must be longer than zero")),
        false => Ok(()),
    }
}

/// The time so much after another.
pub(crate) fn after(start: Instant, span: Duration) -> Instant {
    start + span.min(LONGEST)
}

/// The time so much after another, if the calendar has it.
pub(crate) fn later(time: DateTime<Utc>, span: Duration) -> Option<DateTime<Utc>> {
    time.checked_add_signed(TimeDelta::from_std(span.min(LONGEST)).ok()?)
}

/// Both spans, one after the other.
pub(crate) fn sum(first: Duration, then: Duration) -> Duration {
    first.min(LONGEST) + then.min(LONGEST)
}

/// This share of a span, of 0 or above.
pub(crate) fn share(span: Duration, share: f64) -> Duration {
    Duration::try_from_secs_f64(span.min(LONGEST).as_secs_f64() * share).unwrap_or(LONGEST)
}

/// The span as an interval of the database, rounded up to whole microseconds, its unit.
pub(crate) fn interval(span: Duration) -> PgInterval {
    PgInterval::from_microseconds(micros(span.min(LONGEST)))
}

/// [`sum`] as an interval of the database.
pub(crate) fn interval_of_sum(first: Duration, then: Duration) -> PgInterval {
    PgInterval::from_microseconds(micros(sum(first, then)))
}

/// As [`interval`], of the age from which on rows are meant.
pub(crate) fn age(span: Duration) -> PgInterval {
    PgInterval::from_microseconds(micros(span.min(LONGEST_AGE)))
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_nanos().div_ceil(1_000)).unwrap_or(i64::MAX)
}

/// The span as a limit of the server, in milliseconds: rounded up, because zero means no limit, and at most
/// 2,147,483,647 (24.8 days), the server's longest.
pub(crate) fn server_limit(span: Duration) -> i32 {
    i32::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: [Duration; 2] = [Duration::from_nanos(1), Duration::from_micros(7)];

    #[test]
    fn every_span_is_an_interval() {
        let microseconds = |span| interval(span).microseconds;
        assert_eq!(SHORT.map(microseconds), [1, 7]);
        assert_eq!(microseconds(Duration::MAX), 3_153_600_000_000_000);
        assert_eq!(
            interval_of_sum(Duration::MAX, Duration::MAX).microseconds,
            6_307_200_000_000_000
        );
        assert_eq!(SHORT.map(|span| age(span).microseconds), [1, 7]);
        assert!(age(Duration::MAX).microseconds < 2_000 * 365 * 86_400_000_000);
        assert!(check("ttl", Duration::from_nanos(1)).is_ok());
        assert!(
            matches!(check("ttl", Duration::ZERO), Err(Error::Invalid { field, .. }) if field == "ttl")
        );
    }

    #[test]
    fn nothing_overflows() {
        let now = Instant::now();
        assert_eq!(after(now, Duration::MAX), now + LONGEST);
        assert_eq!(sum(Duration::MAX, Duration::MAX), LONGEST * 2);
        assert_eq!(share(Duration::MAX, 1.0), LONGEST);
        assert_eq!(share(Duration::MAX, f64::NAN), LONGEST);
        assert_eq!(share(Duration::from_secs(10), 0.5), Duration::from_secs(5));
    }

    #[test]
    fn limits_of_the_server_are_never_rounded_to_none() {
        let micros = [0, 1, 900, 1_000, 1_001].map(Duration::from_micros);
        assert_eq!(micros.map(server_limit), [0, 1, 1, 1, 2]);
        let days = [24, 25].map(|n| Duration::from_secs(n * 86_400));
        assert_eq!(days.map(server_limit), [2_073_600_000, i32::MAX]);
        assert_eq!(server_limit(Duration::MAX), i32::MAX);
    }
}
