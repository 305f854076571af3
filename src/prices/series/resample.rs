//! Several days in one bar.

use std::num::NonZeroU32;

use bigdecimal::BigDecimal;
use chrono::{Datelike, Days, NaiveDate, TimeDelta};
use serde::{Deserialize, Serialize};

use super::bar::SeriesBar;

/// What days are brought together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// Monday to Sunday.
    Week,
    /// A calendar month.
    Month,
    /// A calendar quarter.
    Quarter,
    /// A calendar year.
    Year,
    /// So many calendar days, counted from Monday, 2000-01-03, in both directions: the same periods of
    /// every series.
    Days(NonZeroU32),
}

impl Period {
    /// The first calendar day of the period that `day` lies in. Where the calendar begins within the
    /// period, its first day.
    pub fn start(self, day: NaiveDate) -> NaiveDate {
        let month = |month: u32| NaiveDate::from_ymd_opt(day.year(), month, 1).unwrap_or(day);
        let back = |days: u64| day.checked_sub_days(Days::new(days)).unwrap_or(NaiveDate::MIN);
        match self {
            Period::Week => back(u64::from(day.weekday().num_days_from_monday())),
            Period::Month => month(day.month()),
            Period::Quarter => month(day.month0() / 3 * 3 + 1),
            Period::Year => month(1),
            Period::Days(days) => {
                // 2000-01-03 is 10,959 days after 1970-01-01.
                let since =
                    day.signed_duration_since(NaiveDate::default()) - TimeDelta::days(10_959);
                back(since.num_days().rem_euclid(days.get().into()).unsigned_abs())
            }
        }
    }
}

/// Brings bars together as they come, which rise by day.
///
/// Of a period it gives: the open of its first bar (`None` where that has none); the highest high and the
/// lowest low, for which a bar without one counts with its open and close (`None` where no bar has one); the
/// close of its last bar; the sum of the volumes that were delivered (`None` without any, or where it
/// passes 2^63 - 1); the first and the last trading day in it, and how many bars. It is suspect where
/// a bar in it is. A period without bars gives nothing.
#[derive(Debug, Clone)]
pub struct Resampler {
    period: Period,
    current: Option<Sum>,
}

impl Resampler {
    /// Into periods of this kind.
    pub fn new(period: Period) -> Self {
        Resampler { period, current: None }
    }

    /// Takes the next bar; returns the period before, if the bar begins another one.
    pub fn push(&mut self, bar: &SeriesBar) -> Option<SeriesBar> {
        let start = self.period.start(bar.first);
        match &mut self.current {
            Some(sum) if sum.start == start => {
                sum.add(bar);
                None
            }
            _ => self.current.replace(Sum::new(start, bar)).map(Sum::finish),
        }
    }

    /// The last period.
    pub fn finish(self) -> Option<SeriesBar> {
        self.current.map(Sum::finish)
    }
}

/// Brings daily bars (or shorter periods), which rise by day, together: see [`Resampler`].
pub fn resample<'a>(
    bars: impl IntoIterator<Item = &'a SeriesBar>,
    period: Period,
) -> Vec<SeriesBar> {
    let mut resampler = Resampler::new(period);
    let mut periods: Vec<_> = bars.into_iter().filter_map(|bar| resampler.push(bar)).collect();
    periods.extend(resampler.finish());
    periods
}

/// The highest price that is known of a bar.
fn highest(bar: &SeriesBar) -> &BigDecimal {
    let known = || bar.open.as_ref().map_or(&bar.close, |open| open.max(&bar.close));
    bar.high.as_ref().unwrap_or_else(known)
}

/// The lowest price that is known of a bar.
fn lowest(bar: &SeriesBar) -> &BigDecimal {
    let known = || bar.open.as_ref().map_or(&bar.close, |open| open.min(&bar.close));
    bar.low.as_ref().unwrap_or_else(known)
}

/// A period that is not over. Its `high`, `low` and `volume` stand beside the bar, as they are known.
#[derive(Debug, Clone)]
struct Sum {
    start: NaiveDate,
    bar: SeriesBar,
    high: BigDecimal,
    low: BigDecimal,
    volume: Option<i128>,
}

impl Sum {
    fn new(start: NaiveDate, bar: &SeriesBar) -> Self {
        Sum {
            start,
            bar: bar.clone(),
            high: highest(bar).clone(),
            low: lowest(bar).clone(),
            volume: bar.volume.map(i128::from),
        }
    }

    fn add(&mut self, bar: &SeriesBar) {
        let (high, low) = (bar.high.as_ref(), bar.low.as_ref());
        self.high = std::cmp::max(&self.high, highest(bar)).clone();
        self.low = std::cmp::min(&self.low, lowest(bar)).clone();
        // Until the end only its presence counts.
        self.bar.high = self.bar.high.take().or_else(|| high.cloned());
        self.bar.low = self.bar.low.take().or_else(|| low.cloned());
        self.volume = match (self.volume, bar.volume) {
            (sum, None) => sum,
            (sum, Some(volume)) => Some(sum.unwrap_or(0) + i128::from(volume)),
        };
        self.bar.close = bar.close.clone();
        self.bar.last = bar.last;
        self.bar.bars += bar.bars;
        self.bar.is_suspect |= bar.is_suspect;
    }

    fn finish(self) -> SeriesBar {
        SeriesBar {
            high: self.bar.high.map(|_| self.high),
            low: self.bar.low.map(|_| self.low),
            volume: self.volume.and_then(|volume| i64::try_from(volume).ok()),
            ..self.bar
        }
    }
}
