//! The days on which an exchange trades.

mod nyse;

use chrono::{Datelike, NaiveDate, NaiveTime, Weekday};

pub use nyse::Nyse;

/// Longest that an exchange is looked for to open: no market was closed for so many days.
const LONGEST_CLOSURE: usize = 400;

/// Which days an exchange trades on: what [`gaps`](crate::prices::PriceRepository::gaps) measures by. Dates are the
/// exchange's.
pub trait TradingCalendar: Send + Sync {
    /// Whether the exchange trades on that day, be it for some hours.
    fn is_open(&self, day: NaiveDate) -> bool;

    /// When trading ends on a day on which it ends before its usual time: by the exchange's clock. `None`
    /// of other days.
    fn early_close(&self, day: NaiveDate) -> Option<NaiveTime> {
        let _ = day;
        None
    }

    /// The trading days from one day to another, both included, rising.
    fn open_days(
        &self,
        from: NaiveDate,
        to: NaiveDate,
    ) -> Box<dyn Iterator<Item = NaiveDate> + '_> {
        let days = from.iter_days().take_while(move |day| *day <= to);
        Box::new(days.filter(|day| self.is_open(*day)))
    }

    /// The first trading day after `day`; `None` of a market that opens no more.
    fn next_open(&self, day: NaiveDate) -> Option<NaiveDate> {
        let mut days = day.iter_days().skip(1).take(LONGEST_CLOSURE);
        days.find(|day| self.is_open(*day))
    }

    /// The last trading day before `day`; `None` of a market that was not open yet.
    fn previous_open(&self, day: NaiveDate) -> Option<NaiveDate> {
        let mut days = std::iter::successors(day.pred_opt(), NaiveDate::pred_opt);
        days.by_ref().take(LONGEST_CLOSURE).find(|day| self.is_open(*day))
    }
}

/// Every Monday to Friday: what is left where no holidays are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Weekdays;

impl TradingCalendar for Weekdays {
    fn is_open(&self, day: NaiveDate) -> bool {
        !matches!(day.weekday(), Weekday::Sat | Weekday::Sun)
    }
}
