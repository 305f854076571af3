//! Returns of closes.

use bigdecimal::ToPrimitive;
use serde::{Deserialize, Serialize};

use super::adjust::AdjustedSeries;
use super::bar::SeriesBar;
use crate::prices::reading::Series;

/// How a change of price is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Returns {
    /// `close / previous - 1`: of several assets they add up, by weight.
    Simple,
    /// `ln(close / previous)`: of several periods they add up.
    Log,
}

impl Returns {
    fn between(self, previous: f64, close: f64) -> f64 {
        // Not a number passes neither.
        if !(previous > 0.0 && close > 0.0 && previous.is_finite() && close.is_finite()) {
            return f64::NAN;
        }
        match self {
            Returns::Simple => close / previous - 1.0,
            Returns::Log => (close / previous).ln(),
        }
    }
}

/// The change of each close from the one before it, as a fraction: as many as there are closes. The first
/// one is `NaN`, and so is a change from or to a price that is not above zero, for which neither measure
/// means anything.
///
/// Closes as they were delivered fall at a split; [adjusted](crate::prices::PriceRepository::adjusted) ones give what
/// an investor earned.
pub fn returns(closes: &[f64], kind: Returns) -> Vec<f64> {
    let first = closes.first().map(|_| f64::NAN);
    let changes = closes.windows(2).map(|pair| kind.between(pair[0], pair[1]));
    first.into_iter().chain(changes).collect()
}

/// The change from the first close to the last, as a fraction; `None` of fewer than two closes, or where
/// one of the two is not above zero.
pub fn total_return(closes: &[f64], kind: Returns) -> Option<f64> {
    let (first, last) = (closes.first()?, closes.last()?);
    let change = kind.between(*first, *last);
    (closes.len() > 1 && !change.is_nan()).then_some(change)
}

/// The closes of bars, each the nearest `f64`.
pub fn closes(bars: &[SeriesBar]) -> Vec<f64> {
    // Every decimal has a nearest float.
    bars.iter().map(|bar| bar.close.to_f64().unwrap_or(f64::NAN)).collect()
}

impl Series {
    /// [`returns`] of the closes, which are those delivered.
    pub fn returns(&self, kind: Returns) -> Vec<f64> {
        returns(&self.close, kind)
    }
}

impl AdjustedSeries {
    /// [`returns`] of the adjusted closes.
    pub fn returns(&self, kind: Returns) -> Vec<f64> {
        returns(&closes(&self.bars), kind)
    }
}
