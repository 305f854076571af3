//! Times as bounds of a query. A column holds whole microseconds; a bound between two of them is moved to the one that
//! gives the answer of the exact bound.

use chrono::{DateTime, Utc};

/// The first time that PostgreSQL knows, in microseconds since 1970: 4714-11-24 BC. Its last lies beyond chrono's.
const FIRST: i64 = -210_866_803_200_000_000;

/// The first time of a column at or after `at`: for `>= at` and `< at`.
pub(crate) fn ceil(at: DateTime<Utc>) -> DateTime<Utc> {
    let is_between = !at.timestamp_subsec_nanos().is_multiple_of(1_000);
    held(at, at.timestamp_micros() + i64::from(is_between))
}

/// The last time of a column at or before `at`: for `<= at` and `> at`.
pub(crate) fn floor(at: DateTime<Utc>) -> DateTime<Utc> {
    held(at, at.timestamp_micros())
}

/// The microseconds of a column that holds `at`, since 2000: those between two go to the one nearer to 2000, as Diesel sends
/// them.
pub(crate) fn stored(at: DateTime<Utc>) -> i64 {
    // A constant: that it is a time was seen by the compiler.
    const EPOCH: DateTime<Utc> = DateTime::from_timestamp(946_684_800, 0).unwrap();
    // All of chrono's times are that near.
    (at - EPOCH).num_microseconds().unwrap_or(i64::MAX)
}

fn held(at: DateTime<Utc>, micros: i64) -> DateTime<Utc> {
    // One beyond chrono's last microsecond stays there.
    DateTime::from_timestamp_micros(micros.max(FIRST)).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a time")
    }

    #[test]
    fn a_bound_between_microseconds_goes_to_its_side() {
        for t in
            ["2024-01-02T03:04:05.000006Z", "1999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00Z"]
                .map(at)
        {
            let (little, micro) = (TimeDelta::nanoseconds(1), TimeDelta::microseconds(1));
            assert_eq!((floor(t), ceil(t)), (t, t));
            assert_eq!((floor(t + little), ceil(t + little)), (t, t + micro));
            assert_eq!((floor(t - little), ceil(t - little)), (t - micro, t));
        }
    }

    #[test]
    fn times_within_a_microsecond_are_stored_as_one() {
        for t in ["2024-01-02T03:04:05.000006Z", "1999-12-31T23:59:59.999999Z"].map(at) {
            let (half, micro) = (TimeDelta::nanoseconds(500), TimeDelta::microseconds(1));
            let beyond = if stored(t) < 0 { t - half } else { t + half };
            assert_eq!(stored(beyond), stored(t), "{t}");
            assert_eq!(stored(t + micro), stored(t) + 1, "{t}");
        }
        assert!(stored(DateTime::<Utc>::MIN_UTC) < stored(DateTime::<Utc>::MAX_UTC));
    }

    #[test]
    fn every_time_of_chrono_can_be_compared_with() {
        let first = at("-4713-11-24T00:00:00Z");
        for bound in [floor, ceil] {
            assert_eq!(bound(DateTime::<Utc>::MIN_UTC), first);
            assert!(bound(DateTime::<Utc>::MAX_UTC) > at("9999-12-31T00:00:00Z"));
        }
    }
}
