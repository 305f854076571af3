//! Which quotes and which contracts are asked for.

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

use crate::types::{OptionType, Price, Ticker};

/// Which quotes a list or a count includes, of all snapshots; the default is all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct OptionQuoteFilter {
    /// Only options on these; an empty list matches nothing.
    pub tickers: Option<Vec<Ticker>>,
    /// Only calls, or only puts.
    pub option_type: Option<OptionType>,
    /// Only contracts that end on this day.
    pub expiration: Option<NaiveDate>,
    /// Only snapshots of this time and later.
    pub from: Option<DateTime<Utc>>,
    /// Only snapshots of this time and earlier.
    pub to: Option<DateTime<Utc>>,
}

impl OptionQuoteFilter {
    /// Only options on these; an empty list matches nothing.
    pub fn tickers(self, tickers: impl Into<Vec<Ticker>>) -> Self {
        OptionQuoteFilter { tickers: Some(tickers.into()), ..self }
    }

    /// Only calls, or only puts.
    pub fn option_type(self, option_type: impl Into<Option<OptionType>>) -> Self {
        OptionQuoteFilter { option_type: option_type.into(), ..self }
    }

    /// Only contracts that end on this day.
    pub fn expiration(self, expiration: impl Into<Option<NaiveDate>>) -> Self {
        OptionQuoteFilter { expiration: expiration.into(), ..self }
    }

    /// Only snapshots of this time and later.
    pub fn from(self, from: impl Into<Option<DateTime<Utc>>>) -> Self {
        OptionQuoteFilter { from: from.into(), ..self }
    }

    /// Only snapshots of this time and earlier.
    pub fn to(self, to: impl Into<Option<DateTime<Utc>>>) -> Self {
        OptionQuoteFilter { to: to.into(), ..self }
    }
}

/// Which contracts of a chain are asked for; the default is all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ChainFilter {
    /// Only contracts that end on this day, of the latest snapshot that has any such.
    pub expiration: Option<NaiveDate>,
    /// Only calls, or only puts.
    pub option_type: Option<OptionType>,
    /// Only this strike and higher ones.
    pub min_strike: Option<Price>,
    /// Only this strike and lower ones.
    pub max_strike: Option<Price>,
}

impl ChainFilter {
    /// Only contracts that end on this day, of the latest snapshot that has any such.
    pub fn expiration(self, expiration: impl Into<Option<NaiveDate>>) -> Self {
        ChainFilter { expiration: expiration.into(), ..self }
    }

    /// Only calls, or only puts.
    pub fn option_type(self, option_type: impl Into<Option<OptionType>>) -> Self {
        ChainFilter { option_type: option_type.into(), ..self }
    }

    /// Only this strike and higher ones.
    pub fn min_strike(self, min_strike: impl Into<Option<Price>>) -> Self {
        ChainFilter { min_strike: min_strike.into(), ..self }
    }

    /// Only this strike and lower ones.
    pub fn max_strike(self, max_strike: impl Into<Option<Price>>) -> Self {
        ChainFilter { max_strike: max_strike.into(), ..self }
    }
}
