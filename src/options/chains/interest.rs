//! What is traded and open.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use super::OptionChain;
use crate::options::OptionQuote;
use crate::types::{OptionType, Price};

/// The contracts open at one strike; what was not delivered is not in the sums.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StrikeInterest {
    /// The strike.
    pub strike: Price,
    /// Calls open.
    pub calls: u64,
    /// Puts open.
    pub puts: u64,
}

/// Puts by calls: above 1 more puts than calls.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PutCallRatio {
    /// Of the contracts traded that day; `None` where no call was.
    pub volume: Option<f64>,
    /// Of the contracts open; `None` where no call is.
    pub open_interest: Option<f64>,
}

/// Counts are zero or above: a check of the table sees to it.
fn count(number: Option<i64>) -> u64 {
    number.map_or(0, i64::unsigned_abs)
}

impl OptionChain {
    fn within(&self, expiration: Option<NaiveDate>) -> impl Iterator<Item = &OptionQuote> {
        let is_wanted =
            move |quote: &&OptionQuote| expiration.is_none_or(|day| quote.expiration() == day);
        self.quotes.iter().filter(is_wanted)
    }

    /// The contracts open by strike, rising: of those that end on that day, or of all.
    pub fn open_interest_by_strike(&self, expiration: Option<NaiveDate>) -> Vec<StrikeInterest> {
        let mut strikes: BTreeMap<&Price, (u64, u64)> = BTreeMap::new();
        for quote in self.within(expiration) {
            let (calls, puts) = strikes.entry(&quote.strike).or_default();
            let sum = if quote.option_type == OptionType::Call { calls } else { puts };
            *sum = sum.saturating_add(count(quote.open_interest));
        }
        let interest = |(strike, (calls, puts)): (&Price, _)| StrikeInterest {
            strike: strike.clone(),
            calls,
            puts,
        };
        strikes.into_iter().map(interest).collect()
    }

    /// How many puts there are for each call: of those that end on that day, or of all.
    pub fn put_call_ratio(&self, expiration: Option<NaiveDate>) -> PutCallRatio {
        let ratio = |number: fn(&OptionQuote) -> Option<i64>| {
            let sum = |option_type| -> f64 {
                let of_type = self.within(expiration).filter(|q| q.option_type == option_type);
                of_type.map(|quote| count(number(quote)) as f64).sum()
            };
            let (puts, calls) = (sum(OptionType::Put), sum(OptionType::Call));
            (calls > 0.0).then(|| puts / calls)
        };
        PutCallRatio {
            volume: ratio(|quote| quote.volume),
            open_interest: ratio(|quote| quote.open_interest),
        }
    }
}
