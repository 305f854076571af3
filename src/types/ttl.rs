//! Times to live as intervals of the database.

use std::time::Duration;

use diesel::data_types::PgInterval;

use crate::error::{Error, Result};

/// The longest time to live that is stored, 100 years: added to any clock of today it stays far
/// inside the calendars of PostgreSQL and of chrono.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// # Errors
/// [`Error::Invalid`] of field `ttl`: zero.
pub(crate) fn check(ttl: Duration) -> Result<()> {
    match ttl.is_zero() {
        true => Err(Error::invalid("ttl", "must be longer than zero")),
        false => Ok(()),
    }
}

/// The span rounded up to whole microseconds, the database's unit, so that a time to live never
/// becomes none; more than 100 years count as 100 years.
pub(crate) fn interval(span: Duration) -> PgInterval {
    let microseconds = span.min(LONGEST).as_nanos().div_ceil(1_000);
    PgInterval::from_microseconds(i64::try_from(microseconds).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_span_is_an_interval() {
        let microseconds = |span| interval(span).microseconds;
        assert_eq!(microseconds(Duration::from_nanos(1)), 1);
        assert_eq!(microseconds(Duration::from_micros(7)), 7);
        assert_eq!(microseconds(Duration::MAX), 3_153_600_000_000_000);
        assert!(check(Duration::from_nanos(1)).is_ok());
        assert!(
            matches!(check(Duration::ZERO), Err(Error::Invalid { field, .. }) if field == "ttl")
        );
    }
}
