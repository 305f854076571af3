//! Bars on their way in: what to do with suspicious ones, and those that arrive as floats.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use bigdecimal::{BigDecimal, RoundingMode, ToPrimitive};
use chrono::Datelike;
use serde::{Deserialize, Serialize};

use super::bar::NewPriceBar;
use crate::error::{Error, Result};
use crate::store::delivery;
use crate::types::{AdjustedPrice, Price, Ticker, TradingDay};

/// The years whose bars are accepted. The first exchange opened in 1602; the end is far enough to catch a digit too
/// much or too little (`0205`, `2925`) without a clock.
const YEARS: RangeInclusive<i32> = 1600..=2199;

/// How many years ahead of the present one the day of a bar may be: simulated series run that far.
const YEARS_AHEAD: i32 = 30;

/// A year that the database's clock has passed. Up to [`YEARS_AHEAD`] after it no clock need be asked.
const PASSED_YEAR: i32 = 2026;

/// Whether it takes the database's clock to judge a day.
pub(crate) fn needs_clock(day: TradingDay) -> bool {
    day.date().year() > PASSED_YEAR + YEARS_AHEAD
}

/// Refuses the day of a bar that cannot be right: its year is probably mistyped. Without the present year only what no year
/// could make right is refused. Every way in asks it, on either layout of the table.
pub(crate) fn check_day(day: TradingDay, present_year: Option<i32>) -> Result<()> {
    let year = day.date().year();
    let last = present_year.map_or(*YEARS.end(), |present| {
        present.max(PASSED_YEAR).saturating_add(YEARS_AHEAD).min(*YEARS.end())
    });
    let (first, day) = (*YEARS.start(), day.date());
    if (first..=last).contains(&year) {
        return Ok(());
    }
    // The same words with and without the present year.
    let reason = format!(
        "{day}: is the year mistyped? Bars are of {first} at the earliest and {YEARS_AHEAD} years ahead at the latest"
    );
    Err(Error::invalid("date", reason))
}

/// What becomes of a bar that cannot be right: one whose prices contradict each other, one with a price
/// that is zero or not a number, one that [jumps](IngestOptions::max_jump).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SuspectPolicy {
    /// It is left out and reported.
    #[default]
    Reject,
    /// It is stored, with `is_suspect`, and counted. A float that no column can hold (NaN, zero,
    /// infinite) is absent then; without a close there is no bar, so that it is rejected.
    Flag,
    /// Nothing is stored at all: [`Error::Item`] gives its index. So it is with any other item that would be rejected.
    Fail,
}

/// How bars are accepted.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct IngestOptions {
    pub(crate) on_suspect: SuspectPolicy,
    pub(crate) max_jump: Option<f64>,
}

impl IngestOptions {
    /// Suspicious bars are rejected, and no close is too far from the one before.
    pub fn new() -> Self {
        IngestOptions::default()
    }

    /// With another policy.
    pub fn on_suspect(self, policy: SuspectPolicy) -> Self {
        IngestOptions { on_suspect: policy, ..self }
    }

    /// A close of more than `factor` times the one before, or less than that part of it, is suspicious,
    /// unless the close after it stays there: a lasting change of level is a split, not an error. The
    /// bar before is the last one delivered or stored; the latest bar of a delivery is judged by it
    /// alone. Values of 1 and below, and NaN, are refused when bars are stored.
    pub fn max_jump(self, factor: f64) -> Self {
        IngestOptions { max_jump: Some(factor), ..self }
    }

    pub(crate) fn validate(&self) -> Result<()> {
        match self.max_jump {
            Some(factor) if factor.is_nan() || factor <= 1.0 => {
                Err(Error::invalid("max_jump", format!("{factor}: must be greater than 1")))
            }
            _ => Ok(()),
        }
    }
}

/// A bar as a source of floats delivers it. It is quantised when it is stored: each value becomes the
/// nearest one that its column holds, half to even, and those that had to change are counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FloatBar {
    /// The security.
    pub ticker: Ticker,
    /// The exchange's date.
    pub date: TradingDay,
    /// First price.
    pub open: Option<f64>,
    /// Highest price.
    pub high: Option<f64>,
    /// Lowest price.
    pub low: Option<f64>,
    /// Last price.
    pub close: f64,
    /// Units traded; a fraction is rounded to whole units.
    pub volume: Option<f64>,
    /// The provider's close adjusted for splits and dividends.
    pub adjusted_close: Option<f64>,
    /// The provider, at most 50 characters.
    #[serde(default = "delivery::default_source")]
    pub data_source: Cow<'static, str>,
}

/// A bar that is delivered, exact or in floats.
#[derive(Debug, Clone, PartialEq)]
pub enum DeliveredBar {
    /// Exact decimals.
    Exact(NewPriceBar),
    /// Floats, to be quantised.
    Floats(FloatBar),
}

impl From<NewPriceBar> for DeliveredBar {
    fn from(bar: NewPriceBar) -> Self {
        DeliveredBar::Exact(bar)
    }
}

impl From<FloatBar> for DeliveredBar {
    fn from(bar: FloatBar) -> Self {
        DeliveredBar::Floats(bar)
    }
}

impl DeliveredBar {
    /// The bar in exact decimals, and how many of its values had to change for that.
    ///
    /// # Errors
    /// `Invalid` of the field that cannot be stored; with [`SuspectPolicy::Flag`] of the close only.
    pub(crate) fn quantised(self, policy: SuspectPolicy) -> Result<(NewPriceBar, u64)> {
        match self {
            DeliveredBar::Exact(bar) => Ok((bar, 0)),
            DeliveredBar::Floats(bar) => bar.quantised(policy),
        }
    }
}

impl FloatBar {
    fn quantised(self, policy: SuspectPolicy) -> Result<(NewPriceBar, u64)> {
        let mut values = Quantiser { drops: policy == SuspectPolicy::Flag, changed: 0, dropped: 0 };
        let close = values.required("close", self.close)?;
        let bar = NewPriceBar {
            open: values.optional("open", self.open)?,
            high: values.optional("high", self.high)?,
            low: values.optional("low", self.low)?,
            volume: values.optional("volume", self.volume)?.map(|Units(units)| units),
            adjusted_close: values.optional("adjusted_close", self.adjusted_close)?,
            data_source: self.data_source,
            is_suspect: values.dropped > 0,
            ..NewPriceBar::new(self.ticker, self.date, close)
        };
        Ok((bar, values.changed))
    }
}

struct Quantiser {
    /// Whether what cannot be stored is left out instead of refused.
    drops: bool,
    changed: u64,
    dropped: u64,
}

impl Quantiser {
    fn required<T: Quantised>(&mut self, field: &'static str, float: f64) -> Result<T> {
        let value = T::nearest(float).map_err(|error| match error {
            Error::Invalid { reason, .. } => Error::invalid(field, reason),
            other => other,
        })?;
        self.changed += u64::from(value.differs(float));
        Ok(value)
    }

    fn optional<T: Quantised>(
        &mut self,
        field: &'static str,
        float: Option<f64>,
    ) -> Result<Option<T>> {
        match float.map(|float| self.required(field, float)).transpose() {
            Err(_) if self.drops => {
                self.dropped += 1;
                Ok(None)
            }
            result => result,
        }
    }
}

/// A value that a float can stand for.
trait Quantised: Sized {
    fn nearest(float: f64) -> Result<Self>;
    /// Whether the value is not the number that the float's shortest decimal form names.
    fn differs(&self, float: f64) -> bool;
}

macro_rules! quantised {
    ($($name:ident)*) => {
        $(impl Quantised for $name {
            fn nearest(float: f64) -> Result<Self> {
                $name::quantised(float)
            }
            fn differs(&self, float: f64) -> bool {
                let named = format!("{float:e}").parse::<BigDecimal>();
                named.is_ok_and(|named| named != *self.as_decimal())
            }
        })*
    };
}

quantised!(Price AdjustedPrice);

/// A whole number of units.
struct Units(i64);

impl Quantised for Units {
    fn nearest(float: f64) -> Result<Self> {
        let refused = || Error::invalid("volume", format!("{float}: not a number of units"));
        let exact = BigDecimal::try_from(float).map_err(|_| refused())?;
        let whole = exact.with_scale_round(0, RoundingMode::HalfEven);
        whole.to_i64().map(Units).ok_or_else(refused)
    }
    fn differs(&self, float: f64) -> bool {
        float.fract() != 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(close: f64) -> FloatBar {
        FloatBar {
            ticker: Ticker::new("A").expect("a ticker"),
            date: "2024-01-02".parse().expect("a day"),
            open: Some(1.0),
            high: Some(1.5),
            low: None,
            close,
            volume: Some(8_381_600.0),
            adjusted_close: Some(0.1),
            data_source: Cow::Borrowed("test"),
        }
    }

    fn quantised(bar: FloatBar, policy: SuspectPolicy) -> Result<(NewPriceBar, u64)> {
        DeliveredBar::from(bar).quantised(policy)
    }

    #[test]
    fn values_that_change_are_counted_and_others_are_exact() {
        let (exact, changed) = quantised(bar(1.1), SuspectPolicy::Reject).expect("a bar");
        assert_eq!((exact.close, changed), ("1.1".parse().expect("a price"), 0));
        assert_eq!((exact.volume, exact.is_suspect), (Some(8_381_600), false));
        let noisy = FloatBar { volume: Some(2.5), high: Some(1.500000000000001), ..bar(1.1) };
        let (exact, changed) = quantised(noisy, SuspectPolicy::Reject).expect("a bar");
        assert_eq!((exact.volume, changed), (Some(2), 2));
        assert_eq!(exact.high, Some("1.5".parse().expect("a price")));
    }

    #[test]
    fn what_no_column_holds_is_refused_by_field_or_left_out() {
        for bad in [f64::NAN, f64::INFINITY, 0.0, -1.0, 1e300, 1e-30] {
            let bar = FloatBar { open: Some(bad), ..bar(1.1) };
            let refused = quantised(bar.clone(), SuspectPolicy::Reject).expect_err("refused");
            assert!(matches!(refused, Error::Invalid { field, .. } if field == "open"), "{bad}");
            let (kept, _) = quantised(bar, SuspectPolicy::Flag).expect("kept");
            assert_eq!((kept.open, kept.is_suspect), (None, true), "{bad}");
        }
        for bad in [f64::NAN, 0.0] {
            let refused = quantised(bar(bad), SuspectPolicy::Flag).expect_err("no bar");
            assert!(matches!(refused, Error::Invalid { field, .. } if field == "close"));
        }
        let bar = FloatBar { volume: Some(1e19), ..bar(1.1) };
        assert!(quantised(bar, SuspectPolicy::Fail).is_err());
    }
}
