//! Option chains: what follows from one snapshot of an underlying's options.

mod interest;
mod nearest;
mod volatility;

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;

pub use interest::{PutCallRatio, StrikeInterest};
pub use nearest::AtTheMoney;
pub use volatility::{SmilePoint, TermPoint};

use crate::error::{Error, Result};
use crate::options::OptionQuote;
use crate::types::{Listed, OptionType, Price, Ticker};

/// The quotes of one snapshot of the options on one underlying, as
/// [`chain`](crate::options::OptionRepository::chain) and
/// [`latest_chain`](crate::options::OptionRepository::latest_chain) read them; by expiration, calls before puts, by
/// rising strike.
///
/// Prices and strikes are exact; implied volatilities and Greeks are computed with as `f64`. What a
/// provider did not deliver is left out of an answer, never taken as zero. What it delivered is taken as it
/// is: some put 0.00001 where they could compute no volatility.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(transparent)]
pub struct OptionChain {
    quotes: Vec<OptionQuote>,
}

impl OptionChain {
    /// A chain of these quotes, in any order.
    ///
    /// # Errors
    /// `Invalid` of `quotes` of several underlyings or snapshots, or with a contract twice; `Corrupt` of a list from which
    /// unreadable quotes are missing: its [`items`](Listed::items) make a chain without them.
    pub fn new(quotes: impl Into<Listed<OptionQuote>>) -> Result<Self> {
        let mut quotes = quotes.into().complete()?;
        let key = |quote: &OptionQuote| (quote.ticker.clone(), quote.fetched_at);
        if quotes.windows(2).any(|pair| key(&pair[0]) != key(&pair[1])) {
            return Err(Error::invalid("quotes", "of several underlyings or snapshots"));
        }
        quotes.sort_by(|a, b| {
            let order = |quote: &OptionQuote| (quote.expiration(), quote.option_type.as_str());
            order(a).cmp(&order(b)).then_with(|| a.strike.cmp(&b.strike))
        });
        let contract = |quote: &OptionQuote| (quote.expiration(), quote.option_type);
        let is_twice = |pair: &[OptionQuote]| {
            contract(&pair[0]) == contract(&pair[1]) && pair[0].strike == pair[1].strike
        };
        if quotes.windows(2).any(is_twice) {
            return Err(Error::invalid("quotes", "a contract is in it twice"));
        }
        Ok(OptionChain { quotes })
    }

    /// The quotes.
    pub fn quotes(&self) -> &[OptionQuote] {
        &self.quotes
    }

    /// The underlying; `None` of an empty chain.
    pub fn ticker(&self) -> Option<&Ticker> {
        self.quotes.first().map(|quote| &quote.ticker)
    }

    /// When the snapshot was taken; `None` of an empty chain.
    pub fn fetched_at(&self) -> Option<DateTime<Utc>> {
        self.quotes.first().map(|quote| quote.fetched_at)
    }

    /// The days on which contracts end, rising.
    pub fn expirations(&self) -> Vec<NaiveDate> {
        let mut days: Vec<_> = self.quotes.iter().map(OptionQuote::expiration).collect();
        days.dedup();
        days
    }

    /// The strikes of the contracts that end on that day, rising.
    pub fn strikes(&self, expiration: NaiveDate) -> Vec<&Price> {
        let strikes: BTreeSet<&Price> =
            self.ending(expiration).map(|quote| &quote.strike).collect();
        strikes.into_iter().collect()
    }

    /// The quotes of the contracts that end on that day.
    pub fn ending(&self, expiration: NaiveDate) -> impl Iterator<Item = &OptionQuote> {
        self.quotes.iter().filter(move |quote| quote.expiration() == expiration)
    }

    /// The quote of a contract.
    pub fn quote(
        &self,
        expiration: NaiveDate,
        option_type: OptionType,
        strike: &Price,
    ) -> Option<&OptionQuote> {
        self.ending(expiration).find(|q| q.option_type == option_type && q.strike == *strike)
    }
}

impl TryFrom<Listed<OptionQuote>> for OptionChain {
    type Error = Error;

    fn try_from(quotes: Listed<OptionQuote>) -> Result<Self> {
        OptionChain::new(quotes)
    }
}

impl TryFrom<Vec<OptionQuote>> for OptionChain {
    type Error = Error;

    fn try_from(quotes: Vec<OptionQuote>) -> Result<Self> {
        OptionChain::new(quotes)
    }
}
