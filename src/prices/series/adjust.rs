//! Prices adjusted for splits and dividends.

use bigdecimal::num_bigint::BigInt;
use bigdecimal::{BigDecimal, One, Signed, ToPrimitive, Zero};
use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use super::bar::SeriesBar;
use crate::error::{Error, Result, Unreadable};
use crate::prices::actions::ActionKind;
use crate::prices::bars::PriceBar;
use crate::types::Price;

/// Digits after the point of an adjusted price.
const SCALE: i64 = 10;

/// What prices are adjusted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Adjustment {
    /// Splits alone: what a share cost, counted in shares of the reference date.
    Splits,
    /// Splits and dividends: changes are those of the wealth of who reinvests dividends.
    SplitsAndDividends,
}

/// A split or dividend with the price that it is measured by.
#[derive(Debug, Clone, PartialEq)]
pub struct PricedAction {
    /// The first trading day on which the share trades split, or without the dividend.
    pub ex_day: NaiveDate,
    /// What happens.
    pub kind: ActionKind,
    /// The close, as delivered, of the last bar before that day.
    pub previous_close: Option<Price>,
}

/// Why an action could not be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// A dividend whose share no close is known of.
    NoPreviousClose,
    /// A dividend that is not below the close before it, so that nothing would be left.
    NotBelowPreviousClose,
}

/// An action that prices before it are not adjusted for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedAction {
    /// Its ex-date.
    pub ex_day: NaiveDate,
    /// What it is.
    pub kind: ActionKind,
    /// Why.
    pub reason: SkipReason,
}

/// Adjusted bars.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AdjustedSeries {
    /// The bars, in their order.
    pub bars: Vec<SeriesBar>,
    /// Actions that should have counted but cannot be applied: bars before them are adjusted for the
    /// others only.
    pub skipped: Vec<SkippedAction>,
    /// Stored bars that belong to the series and cannot be read. The others are adjusted as they are with them.
    #[serde(default)]
    pub unreadable: Vec<Unreadable>,
}

/// Adjusts daily bars, which rise by day, for the actions with an ex-date up to `as_of`; `actions` may be
/// in any order, with at most one of a kind and day.
///
/// Prices of the days before an ex-date are multiplied, and this for each ex-date after them:
///
/// - by `from / to` for a split of `from` shares into `to`; volumes by `to / from`, rounded half to even to
///   whole units (`None` where that passes 2^63 - 1);
/// - by `(P - D * r) / P` for a dividend of `D` a share, `P` being the close as delivered before the ex-date
///   and `r` the `to / from` of a split of the same day, 1 without one: `D` is paid per share that trades
///   on the ex-date, `P` was the price of a share before it. It does not change volumes.
///
/// This is the multiplicative method of the CRSP data base ("Factor to Adjust Price", CRSP Data Descriptions
/// Guide) and of Yahoo's adjusted close. Products are kept as exact fractions; each price is rounded once,
/// half to even, to 10 digits after the point. Bars of `as_of` and later are as delivered.
pub fn adjust(
    bars: &[SeriesBar],
    actions: &[PricedAction],
    as_of: NaiveDate,
    adjustment: Adjustment,
) -> AdjustedSeries {
    let Some(first) = bars.first().map(|bar| bar.last) else {
        return AdjustedSeries { bars: Vec::new(), skipped: Vec::new(), unreadable: Vec::new() };
    };
    let mut counted: Vec<&PricedAction> =
        actions.iter().filter(|action| action.ex_day > first && action.ex_day <= as_of).collect();
    counted.sort_by_key(|action| action.ex_day);
    let mut skipped = Vec::new();
    let mut factors = Factors::default();
    let mut adjusted = Vec::with_capacity(bars.len());
    let mut days = counted.chunk_by(|a, b| a.ex_day == b.ex_day).rev().peekable();
    for bar in bars.iter().rev() {
        while let Some(day) = days.next_if(|day| day[0].ex_day > bar.last) {
            skipped.extend(factors.apply(day, adjustment));
        }
        adjusted.push(factors.of(bar));
    }
    adjusted.reverse();
    skipped.reverse();
    AdjustedSeries { bars: adjusted, skipped, unreadable: Vec::new() }
}

/// An exact fraction above zero.
#[derive(Debug, Clone)]
struct Fraction {
    numerator: BigInt,
    denominator: BigInt,
}

impl Default for Fraction {
    fn default() -> Self {
        Fraction { numerator: BigInt::one(), denominator: BigInt::one() }
    }
}

impl Fraction {
    /// Times `a / b`.
    fn times(&mut self, a: &BigDecimal, b: &BigDecimal) {
        let (a, b) = (a.normalized(), b.normalized());
        let ((a, a_scale), (b, b_scale)) = (a.as_bigint_and_exponent(), b.as_bigint_and_exponent());
        self.numerator *= a;
        self.denominator *= b;
        match a_scale - b_scale {
            more if more > 0 => self.denominator *= power_of_ten(more),
            more => self.numerator *= power_of_ten(-more),
        }
    }

    fn is_one(&self) -> bool {
        self.numerator == self.denominator
    }

    /// `value` times this, rounded half to even to `scale` digits after the point.
    fn of(&self, value: &BigDecimal, scale: i64) -> BigDecimal {
        let (integer, value_scale) = value.as_bigint_and_exponent();
        let mut numerator = integer * &self.numerator;
        let mut denominator = self.denominator.clone();
        match scale - value_scale {
            more if more > 0 => numerator *= power_of_ten(more),
            more => denominator *= power_of_ten(-more),
        }
        BigDecimal::new(divided(&numerator, &denominator), scale)
    }
}

/// Rounded half to even; the denominator is above zero.
fn divided(numerator: &BigInt, denominator: &BigInt) -> BigInt {
    let (quotient, rest) = (numerator / denominator, numerator % denominator);
    let twice = rest.abs() * 2u8;
    let is_up = twice > *denominator || (twice == *denominator && !(&quotient % 2u8).is_zero());
    match (is_up, numerator.is_negative()) {
        (false, _) => quotient,
        (true, false) => quotient + 1,
        (true, true) => quotient - 1,
    }
}

/// Of zero and negative exponents 1.
fn power_of_ten(exponent: i64) -> BigInt {
    BigInt::from(10).pow(u32::try_from(exponent).unwrap_or(0))
}

/// By what prices and volumes of a day are multiplied.
#[derive(Default)]
struct Factors {
    price: Fraction,
    volume: Fraction,
}

impl Factors {
    /// Adds the actions of one day; returns those that cannot be applied.
    fn apply(&mut self, day: &[&PricedAction], adjustment: Adjustment) -> Vec<SkippedAction> {
        let one = BigDecimal::one();
        let split = day.iter().find_map(|action| match &action.kind {
            ActionKind::Split { from, to } => Some((from.as_decimal(), to.as_decimal())),
            ActionKind::Dividend { .. } => None,
        });
        let (from, to) = split.unwrap_or((&one, &one));
        self.price.times(from, to);
        self.volume.times(to, from);
        if adjustment == Adjustment::Splits {
            return Vec::new();
        }
        let mut skipped = Vec::new();
        for action in day {
            let ActionKind::Dividend { amount } = &action.kind else {
                continue;
            };
            let left = action.previous_close.as_ref().map(|previous| {
                // (P - D * to / from) / P, without a division.
                let whole = previous.as_decimal() * from;
                (&whole - amount.as_decimal() * to, whole)
            });
            let reason = match left {
                Some((left, whole)) if left.is_positive() => {
                    self.price.times(&left, &whole);
                    continue;
                }
                Some(_) => SkipReason::NotBelowPreviousClose,
                None => SkipReason::NoPreviousClose,
            };
            let (ex_day, kind) = (action.ex_day, action.kind.clone());
            skipped.push(SkippedAction { ex_day, kind, reason });
        }
        skipped
    }

    fn of(&self, bar: &SeriesBar) -> SeriesBar {
        let price = |price: &BigDecimal| match self.price.is_one() {
            true => price.clone(),
            false => self.price.of(price, SCALE),
        };
        let volume = |volume: i64| self.volume.of(&BigDecimal::from(volume), 0).to_i64();
        SeriesBar {
            open: bar.open.as_ref().map(price),
            high: bar.high.as_ref().map(price),
            low: bar.low.as_ref().map(price),
            close: price(&bar.close),
            volume: bar.volume.and_then(volume),
            ..bar.clone()
        }
    }
}

/// Where a provider's adjusted closes and ours part.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct AdjustmentCheck {
    /// Days that have an adjusted close of the provider.
    pub days_compared: usize,
    /// Steps between days at which the provider's factor changes otherwise than ours, by rising
    /// day: an action that one of the two does not know, or knows otherwise.
    pub steps: Vec<AdjustmentStep>,
    /// Days whose adjusted closes differ, by rising day: all those before a step.
    pub differences: Vec<AdjustmentDifference>,
    /// Stored bars of these days that cannot be read, and are not compared.
    #[serde(default)]
    pub unreadable: Vec<Unreadable>,
}

/// A change of adjustment that only one of the two has, or both have otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AdjustmentStep {
    /// The ex-date: the first day after the change.
    pub day: NaiveDate,
    /// The provider's factor of the day before as a share of that day's: 0.5 is a split 2:1.
    pub provider: f64,
    /// Ours.
    pub computed: f64,
}

/// Adjusted closes of one day.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AdjustmentDifference {
    /// The day.
    pub day: NaiveDate,
    /// The provider's.
    pub provider: f64,
    /// Ours, in the provider's scale: the two are the same on the last day.
    pub computed: f64,
}

/// # Errors
/// `Invalid` of `tolerance`: it is not a number above zero.
pub(crate) fn check_tolerance(tolerance: f64) -> Result<()> {
    match tolerance > 0.0 && tolerance.is_finite() {
        true => Ok(()),
        false => Err(Error::invalid("tolerance", format!("{tolerance}: must be above zero"))),
    }
}

/// Compares the adjusted closes of `bars`, which rise by day, with those by `actions`.
pub(crate) fn check(
    bars: &[PriceBar],
    actions: &[PricedAction],
    tolerance: f64,
) -> AdjustmentCheck {
    let raw: Vec<SeriesBar> = bars.iter().map(SeriesBar::from).collect();
    let ours = adjust(&raw, actions, NaiveDate::MAX, Adjustment::SplitsAndDividends);
    let compared: Vec<Factor> = bars
        .iter()
        .zip(&ours.bars)
        .filter_map(|(bar, ours)| {
            let close = bar.close.as_decimal().to_f64()?;
            let provider = bar.adjusted_close.as_ref()?.as_decimal().to_f64()?;
            let computed = ours.close.to_f64()?;
            let day = bar.trading_day();
            Some(Factor { day, close, provider: provider / close, computed: computed / close })
        })
        .collect();
    let Some(last) = compared.last() else {
        return AdjustmentCheck::default();
    };
    let scale = last.provider / last.computed;
    // Not a number where one is zero: differs, too.
    let agrees = |a: f64, b: f64| (a / b - 1.0).abs() <= tolerance;
    let steps = compared.windows(2).filter_map(|pair| {
        let provider = pair[0].provider / pair[1].provider;
        let computed = pair[0].computed / pair[1].computed;
        let step = AdjustmentStep { day: pair[1].day, provider, computed };
        (!agrees(provider, computed)).then_some(step)
    });
    let differences = compared.iter().filter_map(|at| {
        let computed = at.computed * scale;
        let (provider, ours) = (at.provider * at.close, computed * at.close);
        let difference = AdjustmentDifference { day: at.day, provider, computed: ours };
        (!agrees(at.provider, computed)).then_some(difference)
    });
    AdjustmentCheck {
        days_compared: compared.len(),
        steps: steps.collect(),
        differences: differences.collect(),
        unreadable: Vec::new(),
    }
}

/// The factors of one day.
struct Factor {
    day: NaiveDate,
    close: f64,
    provider: f64,
    computed: f64,
}
