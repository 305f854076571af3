//! The New York Stock Exchange.

use chrono::{Datelike, Days, NaiveDate, NaiveTime, Weekday};

use super::{TradingCalendar, Weekdays};

/// The trading days of the New York Stock Exchange, which are those of Nasdaq too.
///
/// From 1950-01-03 to 2015-12-31 they are exactly the days of the S&P 500's daily history, which a test
/// shows (Saturdays, on which there were short sessions until 1952, are closed here as they have no bars
/// there). Later days follow the exchange's published rules ("Holidays and Trading Hours", nyse.com) and
/// its closures known at the end of 2025; the mourning for a president, say, cannot be foreseen. Of days
/// before 1950 nothing is known: the rules of 1950 are applied.
///
/// # Holidays
///
/// | holiday | day | since | until |
/// |---|---|---|---|
/// | New Year's Day | 1 January | | |
/// | Martin Luther King's birthday | third Monday of January | 1998 | |
/// | Lincoln's birthday | 12 February | | 1953 |
/// | Washington's birthday | 22 February; from 1971 the third Monday of February | | |
/// | Good Friday | the Friday before Easter | | |
/// | Memorial Day | 30 May; from 1971 the last Monday of May | | |
/// | Juneteenth | 19 June | 2022 | |
/// | Independence Day | 4 July | | |
/// | Labor Day | first Monday of September | | |
/// | Columbus Day | 12 October | | 1953 |
/// | Election Day | Tuesday after the first Monday of November; from 1969 of presidential elections | | 1980 |
/// | Veterans Day | 11 November | | 1953 |
/// | Thanksgiving | fourth Thursday of November | | |
/// | Christmas | 25 December | | |
///
/// One that falls on a Sunday is kept on Monday, one on a Saturday on Friday: but not New Year's Day and
/// those that ended in 1953, nor five that the exchange traded before.
///
/// # Early closes
///
/// At 13:00 in New York, from 1993 on: the day after Thanksgiving; 24 December; 3 July, if it is not a
/// Wednesday before 2013, in which case (1996, 2002) it was Friday, 5 July; and 1997-12-26, 1999-12-31 and
/// 2003-12-26. Those before 1993 are not in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Nyse;

/// The first year whose early closes are known.
const EARLY_CLOSES_SINCE: i32 = 1993;

/// Days on which the exchange traded before a holiday that fell on a Saturday, as year, month, day.
const TRADED: [(i32, u32, u32); 5] =
    [(1953, 5, 29), (1953, 7, 3), (1958, 2, 21), (1959, 5, 29), (1970, 5, 29)];

/// Days closed for one reason or another.
const CLOSED: [(i32, u32, u32); 26] = [
    (1956, 12, 24), // Before Christmas.
    (1958, 12, 26), // After Christmas.
    (1961, 5, 29),  // Before Memorial Day.
    (1963, 11, 25), // Funeral of J. F. Kennedy.
    (1968, 2, 12),  // Lincoln's birthday.
    (1968, 4, 9),   // Mourning for M. L. King.
    (1968, 7, 5),   // After Independence Day.
    (1968, 11, 11), // Veterans Day.
    (1969, 2, 10),  // Snow.
    (1969, 3, 31),  // Funeral of D. D. Eisenhower.
    (1969, 7, 21),  // The first landing on the moon.
    (1972, 12, 28), // Funeral of H. S. Truman.
    (1973, 1, 25),  // Funeral of L. B. Johnson.
    (1977, 7, 14),  // Power failure.
    (1985, 9, 27),  // Hurricane Gloria.
    (1994, 4, 27),  // Funeral of R. M. Nixon.
    (2001, 9, 11),  // Attack on the World Trade Center, and the three days after.
    (2001, 9, 12),
    (2001, 9, 13),
    (2001, 9, 14),
    (2004, 6, 11),  // Funeral of R. W. Reagan.
    (2007, 1, 2),   // Mourning for G. R. Ford.
    (2012, 10, 29), // Hurricane Sandy.
    (2012, 10, 30),
    (2018, 12, 5), // Mourning for G. H. W. Bush.
    (2025, 1, 9),  // Mourning for J. E. Carter.
];

/// Wednesdays from the first day to the last were closed for the paperwork of too many trades, but not in
/// weeks with a holiday.
const WEDNESDAYS: [(i32, u32, u32); 2] = [(1968, 6, 12), (1968, 12, 18)];
const TRADED_WEDNESDAYS: [(i32, u32, u32); 5] =
    [(1968, 7, 3), (1968, 9, 4), (1968, 11, 6), (1968, 11, 13), (1968, 11, 27)];

impl TradingCalendar for Nyse {
    fn is_open(&self, day: NaiveDate) -> bool {
        let date = (day.year(), day.month(), day.day());
        Weekdays.is_open(day)
            && !CLOSED.contains(&date)
            && !is_closed_wednesday(day, date)
            && (!is_holiday(day) || TRADED.contains(&date))
    }

    fn early_close(&self, day: NaiveDate) -> Option<NaiveTime> {
        let (year, weekday) = (day.year(), day.weekday());
        let is_early = match (day.month(), day.day()) {
            (7, 3) if year >= 1995 => weekday != Weekday::Wed || year >= 2013,
            (7, 5) if (1995..2013).contains(&year) => weekday == Weekday::Fri,
            (11, _) => day.pred_opt().is_some_and(is_thanksgiving),
            (12, 24) => true,
            (12, 26) => year == 1997 || year == 2003,
            (12, 31) => year == 1999,
            _ => false,
        };
        let is_early = is_early && year >= EARLY_CLOSES_SINCE && self.is_open(day);
        is_early.then(|| NaiveTime::from_hms_opt(13, 0, 0)).flatten()
    }
}

fn is_closed_wednesday(day: NaiveDate, date: (i32, u32, u32)) -> bool {
    let [first, last] = WEDNESDAYS;
    day.weekday() == Weekday::Wed
        && (first..=last).contains(&date)
        && !TRADED_WEDNESDAYS.contains(&date)
}

/// Whether a holiday is kept on that weekday.
fn is_holiday(day: NaiveDate) -> bool {
    is_good_friday(day)
        || is_movable(day)
        || is_fixed(day) && day.weekday() != Weekday::Sat
        || day.weekday() == Weekday::Mon && day.pred_opt().is_some_and(is_fixed)
        || day.weekday() == Weekday::Fri && day.succ_opt().is_some_and(is_kept_on_friday)
}

/// Holidays of one date, on whichever weekday.
fn is_fixed(day: NaiveDate) -> bool {
    let year = day.year();
    match (day.month(), day.day()) {
        (1, 1) | (7, 4) | (12, 25) => true,
        (2, 12) | (10, 12) | (11, 11) => year <= 1953,
        (2, 22) | (5, 30) => year <= 1970,
        (6, 19) => year >= 2022,
        _ => false,
    }
}

fn is_kept_on_friday(saturday: NaiveDate) -> bool {
    let date = (saturday.month(), saturday.day());
    is_fixed(saturday) && !matches!(date, (1, 1) | (2, 12) | (10, 12) | (11, 11))
}

/// Holidays of a weekday in a month.
fn is_movable(day: NaiveDate) -> bool {
    let year = day.year();
    let week = day.day().div_ceil(7);
    match (day.month(), day.weekday()) {
        (1, Weekday::Mon) => week == 3 && year >= 1998,
        (2, Weekday::Mon) => week == 3 && year >= 1971,
        (5, Weekday::Mon) => day.day() > 24 && year >= 1971,
        (9, Weekday::Mon) => week == 1,
        (11, Weekday::Tue) => {
            let is_kept = year <= 1968 || (year <= 1980 && year % 4 == 0);
            (2..=8).contains(&day.day()) && is_kept
        }
        _ => is_thanksgiving(day),
    }
}

fn is_thanksgiving(day: NaiveDate) -> bool {
    day.month() == 11 && day.weekday() == Weekday::Thu && day.day().div_ceil(7) == 4
}

fn is_good_friday(day: NaiveDate) -> bool {
    day.weekday() == Weekday::Fri
        && day
            .checked_add_days(Days::new(2))
            .is_some_and(|sunday| easter(day.year()) == Some(sunday))
}

/// Easter Sunday of the Gregorian calendar, by the "anonymous" algorithm (Nature, 20 April 1876, p. 487; J.
/// Meeus, Astronomical Algorithms, chapter 8).
fn easter(year: i32) -> Option<NaiveDate> {
    let (golden, century, of_century) = (year % 19, year / 100, year % 100);
    let (leap_centuries, rest) = (century / 4, century % 4);
    let correction = (century - (century + 8) / 25 + 1) / 3;
    let epact = (19 * golden + century - leap_centuries - correction + 15) % 30;
    let to_sunday = (32 + 2 * rest + 2 * (of_century / 4) - epact - of_century % 4) % 7;
    let late = (golden + 11 * epact + 22 * to_sunday) / 451;
    let sum = epact + to_sunday - 7 * late + 114;
    NaiveDate::from_ymd_opt(year, (sum / 31).unsigned_abs(), (sum % 31 + 1).unsigned_abs())
}
