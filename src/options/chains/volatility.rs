//! Implied volatility by strike and by expiration.

use bigdecimal::ToPrimitive;
use chrono::NaiveDate;
use serde::Serialize;

use super::OptionChain;
use crate::options::OptionQuote;
use crate::types::{OptionType, Price};

/// The implied volatilities at one strike, as fractions per year.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SmilePoint {
    /// The strike.
    pub strike: Price,
    /// Strike by price of the underlying: 1 is at the money.
    pub moneyness: f64,
    /// That of the call.
    pub call: Option<f64>,
    /// That of the put.
    pub put: Option<f64>,
}

impl SmilePoint {
    /// That of the contract that is out of the money (of the put below the price of the underlying, of the
    /// call above, at it the mean of both), which trades more; else of the other one.
    pub fn out_of_the_money(&self) -> f64 {
        let (call, put) = match (self.call, self.put) {
            (Some(call), Some(put)) => (call, put),
            (Some(only), None) | (None, Some(only)) => (only, only),
            (None, None) => (f64::NAN, f64::NAN),
        };
        match self.moneyness {
            below if below < 1.0 => put,
            above if above > 1.0 => call,
            _ => f64::midpoint(call, put),
        }
    }

    fn mean(&self) -> f64 {
        match (self.call, self.put) {
            (Some(call), Some(put)) => f64::midpoint(call, put),
            (call, put) => call.or(put).unwrap_or(f64::NAN),
        }
    }
}

/// The implied volatility at the money of one expiration.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TermPoint {
    /// The day on which the contracts end.
    pub expiration: NaiveDate,
    /// Calendar days from the snapshot (by UTC) to that day; negative of contracts that had ended.
    pub days: i64,
    /// A fraction per year.
    pub implied_volatility: f64,
}

fn volatility(quote: Option<&OptionQuote>) -> Option<f64> {
    let volatility = quote?.implied_volatility.as_ref()?.as_decimal().to_f64()?;
    (volatility > 0.0).then_some(volatility)
}

impl OptionChain {
    /// The smile: implied volatility by strike, rising, of the contracts that end on that day. Strikes
    /// without a volatility above zero are left out; empty, too, where `spot` is not above zero.
    pub fn smile(&self, expiration: NaiveDate, spot: &Price) -> Vec<SmilePoint> {
        let Some(spot) = spot.as_decimal().to_f64().filter(|spot| *spot > 0.0) else {
            return Vec::new();
        };
        let point = |strike: &Price| {
            let of = |option_type| volatility(self.quote(expiration, option_type, strike));
            let (call, put) = (of(OptionType::Call), of(OptionType::Put));
            call.or(put)?;
            let moneyness = strike.as_decimal().to_f64()? / spot;
            Some(SmilePoint { strike: strike.clone(), moneyness, call, put })
        };
        self.strikes(expiration).into_iter().filter_map(point).collect()
    }

    /// The term structure: implied volatility at the money by expiration, rising. It is that at the price
    /// of the underlying, interpolated linearly between the next strike below and the next above; at a strike
    /// it is the mean of call and put; where all strikes lie on one side, that of the nearest.
    /// Expirations without any volatility are left out.
    pub fn term_structure(&self, spot: &Price) -> Vec<TermPoint> {
        let Some(taken) = self.fetched_at() else {
            return Vec::new();
        };
        let term = |expiration: NaiveDate| {
            let implied_volatility = at_the_money(&self.smile(expiration, spot))?;
            let days = (expiration - taken.date_naive()).num_days();
            Some(TermPoint { expiration, days, implied_volatility })
        };
        self.expirations().into_iter().filter_map(term).collect()
    }
}

fn at_the_money(smile: &[SmilePoint]) -> Option<f64> {
    let above = smile.iter().find(|point| point.moneyness >= 1.0);
    let below = smile.iter().rfind(|point| point.moneyness < 1.0);
    let (Some(below), Some(above)) = (below, above) else {
        return below.or(above).map(SmilePoint::mean);
    };
    let weight = (1.0 - below.moneyness) / (above.moneyness - below.moneyness);
    Some(below.mean() + weight * (above.mean() - below.mean()))
}
