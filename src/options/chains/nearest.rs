//! The contract nearest to what is asked for.

use bigdecimal::ToPrimitive;
use chrono::NaiveDate;
use serde::Serialize;

use super::OptionChain;
use crate::options::OptionQuote;
use crate::types::{OptionType, Price};

/// The contracts whose strike is nearest to the price of the underlying.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AtTheMoney<'a> {
    /// Their strike.
    pub strike: &'a Price,
    /// The call, if there is one.
    pub call: Option<&'a OptionQuote>,
    /// The put, if there is one.
    pub put: Option<&'a OptionQuote>,
}

impl OptionChain {
    /// The expiration nearest to a day, before or after it; of two the earlier one.
    pub fn nearest_expiration(&self, day: NaiveDate) -> Option<NaiveDate> {
        let distance = |other: &NaiveDate| (*other - day).num_days().abs();
        self.expirations().into_iter().min_by_key(distance)
    }

    /// The strike nearest to a price, of the contracts that end on that day; of two the lower one.
    pub fn nearest_strike(&self, expiration: NaiveDate, price: &Price) -> Option<&Price> {
        let distance = |strike: &&Price| (strike.as_decimal() - price.as_decimal()).abs();
        self.strikes(expiration).into_iter().min_by_key(distance)
    }

    /// The call or put, ending on that day, whose delta is nearest to `delta` (of puts it is negative); of
    /// two the one with the lower strike. Quotes without a delta do not count.
    pub fn nearest_delta(
        &self,
        expiration: NaiveDate,
        option_type: OptionType,
        delta: f64,
    ) -> Option<&OptionQuote> {
        let distance = |quote: &&OptionQuote| {
            let other = quote.delta.as_ref().and_then(|delta| delta.as_decimal().to_f64());
            other.map_or(f64::INFINITY, |other| (other - delta).abs())
        };
        self.ending(expiration)
            .filter(|quote| quote.option_type == option_type && quote.delta.is_some())
            .min_by(|a, b| distance(a).total_cmp(&distance(b)))
    }

    /// The contracts, ending on that day, with the strike nearest to the price of the underlying.
    pub fn at_the_money(&self, expiration: NaiveDate, spot: &Price) -> Option<AtTheMoney<'_>> {
        let strike = self.nearest_strike(expiration, spot)?;
        let of = |option_type| self.quote(expiration, option_type, strike);
        Some(AtTheMoney { strike, call: of(OptionType::Call), put: of(OptionType::Put) })
    }
}
