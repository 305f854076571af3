//! Calendar days of an exchange.

use std::fmt;
use std::str::FromStr;

use chrono::{
    DateTime, Datelike, Days, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, TimeZone, Utc,
};
use diesel::deserialize::{self, FromSql};
use diesel::pg::{Pg, PgValue};
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::Timestamptz;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, shown};

/// A day as the exchange's calendar has it, stored as midnight UTC of that date, so that every
/// source's idea of when the day began leads to one row.
///
/// Of a time with an offset it is the *local* day: midnight in New York and midnight UTC of one
/// date are the same day. Converting to UTC first would move a Tokyo midnight to the day before.
///
/// ```
/// use buffetbot_db::types::TradingDay;
/// let day: TradingDay = "2024-01-02".parse()?;
/// assert_eq!("2024-01-02T00:00:00-05:00".parse::<TradingDay>()?, day);
/// assert_eq!("2024-01-02 00:00:00+09:00".parse::<TradingDay>()?, day);
/// assert_eq!(day.midnight_utc().to_rfc3339(), "2024-01-02T00:00:00+00:00");
/// # Ok::<(), buffetbot_db::Error>(())
/// ```
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    diesel::expression::AsExpression,
    diesel::deserialize::FromSqlRow,
)]
#[diesel(sql_type = Timestamptz)]
#[serde(try_from = "String", into = "String")]
pub struct TradingDay(NaiveDate);

/// The last year that is stored: four digits, as every format of dates has them.
const LAST_YEAR: i32 = 9999;

impl TradingDay {
    /// The date.
    pub const fn date(self) -> NaiveDate {
        self.0
    }

    /// How the day is stored.
    pub fn midnight_utc(self) -> DateTime<Utc> {
        self.0.and_time(NaiveTime::MIN).and_utc()
    }

    /// Refuses what is not a day of the common era, such as the ends of chrono's range.
    pub(crate) fn check(self, field: &'static str) -> Result<()> {
        if (1..=LAST_YEAR).contains(&self.0.year()) {
            return Ok(());
        }
        Err(Error::invalid(field, format!("{}: expected a year from 1 to {LAST_YEAR}", self.0)))
    }

    /// The stored times of the days `from` to `to`, both included: at or after the first, before
    /// the second. Open ends may be given as the ends of chrono's range. Of days that cannot be stored
    /// there are no times: the bounds of days outside are equal.
    pub(crate) fn bounds(from: NaiveDate, to: NaiveDate) -> (DateTime<Utc>, DateTime<Utc>) {
        let first = NaiveDate::from_ymd_opt(1, 1, 1).unwrap_or(NaiveDate::MIN);
        let end = NaiveDate::from_ymd_opt(LAST_YEAR + 1, 1, 1).unwrap_or(NaiveDate::MAX);
        let day_after_to = to.checked_add_days(Days::new(1)).unwrap_or(NaiveDate::MAX);
        let start_of = |day: NaiveDate| TradingDay(day.clamp(first, end)).midnight_utc();
        (start_of(from), start_of(day_after_to))
    }
}

impl From<NaiveDate> for TradingDay {
    fn from(date: NaiveDate) -> Self {
        TradingDay(date)
    }
}

impl<Tz: TimeZone> From<DateTime<Tz>> for TradingDay {
    /// The local day.
    fn from(at: DateTime<Tz>) -> Self {
        TradingDay(at.date_naive())
    }
}

impl From<TradingDay> for NaiveDate {
    fn from(day: TradingDay) -> Self {
        day.0
    }
}

impl fmt::Display for TradingDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for TradingDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TradingDay({})", self.0)
    }
}

/// The forms of a time behind a date, with and without an offset.
const LOCAL_FORMATS: [&str; 2] = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M"];
const OFFSET_FORMATS: [&str; 2] = ["%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%d %H:%M%#z"];

impl FromStr for TradingDay {
    type Err = Error;

    /// From `2024-01-02`, alone or followed by a time (after a space or `T`) and perhaps an offset
    /// (`-05:00`, `-0500`, `Z`), which does not move the day.
    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        parse(text).ok_or_else(|| {
            let reason = format!("{}: expected a date like 2024-01-31, ISO 8601", shown(text));
            Error::invalid("date", reason)
        })
    }
}

fn parse(text: &str) -> Option<TradingDay> {
    local_time(text).map(|(local, _)| TradingDay(local.date()))
}

/// A time as text, in the forms that a [`TradingDay`] is read from: a date alone is its midnight,
/// a time without an offset is UTC.
pub(crate) fn parse_time(text: &str) -> Result<DateTime<Utc>> {
    let text = text.trim();
    let utc = local_time(text).and_then(|(local, offset)| match offset {
        Some(offset) => Some(local.and_local_timezone(offset).single()?.to_utc()),
        None => Some(local.and_utc()),
    });
    utc.ok_or_else(|| {
        let reason = format!("{}: expected a time like 2024-01-31T16:00:00Z", shown(text));
        Error::invalid("time", reason)
    })
}

fn local_time(text: &str) -> Option<(NaiveDateTime, Option<FixedOffset>)> {
    // chrono's %Y takes any number of digits, and signs.
    let date = text.get(..10)?;
    let is_plain = date.bytes().enumerate().all(|(i, b)| match i {
        4 | 7 => b == b'-',
        _ => b.is_ascii_digit(),
    });
    if !is_plain {
        return None;
    }
    if text.len() == 10 {
        let date = NaiveDate::parse_from_str(date, "%Y-%m-%d").ok()?;
        return Some((date.and_time(NaiveTime::MIN), None));
    }
    let time = text[10..].strip_prefix(['T', 't', ' '])?;
    let time = time.replace('z', "Z").replace(' ', "");
    let text = format!("{date} {time}");
    let local = LOCAL_FORMATS.iter().find_map(|f| NaiveDateTime::parse_from_str(&text, f).ok());
    let with_offset =
        || OFFSET_FORMATS.iter().find_map(|f| DateTime::parse_from_str(&text, f).ok());
    match local {
        Some(local) => Some((local, None)),
        None => with_offset().map(|at| (at.naive_local(), Some(*at.offset()))),
    }
}

impl TryFrom<String> for TradingDay {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<TradingDay> for String {
    fn from(day: TradingDay) -> String {
        day.to_string()
    }
}

impl ToSql<Timestamptz, Pg> for TradingDay {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        ToSql::<Timestamptz, Pg>::to_sql(&self.midnight_utc(), &mut out.reborrow())
    }
}

impl FromSql<Timestamptz, Pg> for TradingDay {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        DateTime::<Utc>::from_sql(value).map(TradingDay::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_does_not_move_the_day() {
        let day = TradingDay(NaiveDate::from_ymd_opt(2014, 3, 9).expect("a date"));
        for text in [
            "2014-03-09",
            " 2014-03-09 ",
            "2014-03-09 00:00",
            "2014-03-09 00:00:00",
            "2014-03-09T00:00:00.000",
            "2014-03-09 00:00:00-05:00",
            "2014-03-09 00:00:00 -0500",
            "2014-03-09T23:59:59+14:00",
            "2014-03-09T00:00:00Z",
            "2014-03-09t00:00:00z",
        ] {
            assert_eq!(text.parse::<TradingDay>().expect(text), day, "{text}");
        }
    }

    #[test]
    fn what_is_no_day_is_refused() {
        for text in [
            "",
            "null",
            "14-03-09",
            "+2014-03-09",
            "2014-02-30",
            "09/03/2014",
            "20140309",
            "2014-03-09 25:00:00",
            "2014-03-09 noon",
            "2014-03-09x",
            "2014-03-0é",
        ] {
            assert!(text.parse::<TradingDay>().is_err(), "{text}");
        }
        let ymd = |y, m, d| NaiveDate::from_ymd_opt(y, m, d).expect("a date");
        let ends = [ymd(1, 1, 1), ymd(9999, 12, 31)];
        assert!(ends.iter().all(|day| TradingDay(*day).check("date").is_ok()));
        assert!(
            [ymd(0, 12, 31), ymd(10_000, 1, 1)]
                .iter()
                .all(|day| TradingDay(*day).check("date").is_err())
        );
        assert!(TradingDay(NaiveDate::MAX).check("date").is_err());
        assert!(TradingDay(NaiveDate::MIN).check("date").is_err());
    }

    #[test]
    fn days_outside_of_the_calendar_have_no_times() {
        let ymd = |y, m, d| NaiveDate::from_ymd_opt(y, m, d).expect("a date");
        for (from, to) in [
            (ymd(10_000, 1, 1), ymd(10_000, 1, 1)),
            (ymd(10_000, 1, 1), NaiveDate::MAX),
            (NaiveDate::MAX, NaiveDate::MAX),
            (ymd(0, 12, 31), ymd(0, 12, 31)),
            (NaiveDate::MIN, ymd(0, 12, 31)),
            (NaiveDate::MIN, NaiveDate::MIN),
        ] {
            let (start, end) = TradingDay::bounds(from, to);
            assert_eq!(start, end, "{from} to {to}");
        }
        let (start, end) = TradingDay::bounds(NaiveDate::MIN, NaiveDate::MAX);
        assert_eq!((start.date_naive(), end.date_naive()), (ymd(1, 1, 1), ymd(10_000, 1, 1)));
        let (start, end) = TradingDay::bounds(ymd(2024, 1, 2), ymd(2024, 1, 2));
        assert_eq!((start.date_naive(), end.date_naive()), (ymd(2024, 1, 2), ymd(2024, 1, 3)));
    }
}
