//! Option quotes.

use std::borrow::Cow;

use chrono::{DateTime, NaiveDate, Utc};
use diesel::pg::Pg;
use diesel::prelude::{AsChangeset, Insertable, Queryable, QueryableByName, Selectable};
use serde::{Deserialize, Serialize};

use super::occ::OptionContract;
use crate::error::Result;
use crate::schema::options_data;
use crate::store::{Clearable, delivery};
use crate::types::{
    Delta, Greek, ImpliedVolatility, OptionQuoteId, OptionType, Premium, Price, Ticker, TradingDay,
};

/// One contract in one snapshot of its chain. Prices are per unit of the underlying, in the currency
/// of the quote.
#[derive(
    Debug, Clone, PartialEq, Queryable, QueryableByName, Selectable, Serialize, Deserialize,
)]
#[diesel(table_name = options_data, check_for_backend(Pg))]
pub struct OptionQuote {
    /// The quote's id.
    pub id: OptionQuoteId,
    /// The underlying.
    pub ticker: Ticker,
    /// To buy or to sell.
    pub option_type: OptionType,
    /// The price of the right's exercise.
    #[diesel(column_name = strike_price)]
    pub strike: Price,
    /// Midnight UTC of the day on which the contract ends.
    pub expiration_date: DateTime<Utc>,
    /// The latest trade.
    #[diesel(column_name = last_price)]
    pub last: Option<Premium>,
    /// The best bid; real quotes may have it above the ask.
    pub bid: Option<Premium>,
    /// The best ask.
    pub ask: Option<Premium>,
    /// Contracts traded that day; `None` where not delivered.
    pub volume: Option<i64>,
    /// Contracts open; `None` where not delivered.
    pub open_interest: Option<i64>,
    /// Change of the price per unit of the underlying.
    pub delta: Option<Delta>,
    /// Change of delta per unit of the underlying.
    pub gamma: Option<Greek>,
    /// Change of the price with time, in the provider's unit.
    pub theta: Option<Greek>,
    /// Change of the price with volatility, in the provider's unit.
    pub vega: Option<Greek>,
    /// Annual, as a fraction: 0.25 is 25 percent.
    pub implied_volatility: Option<ImpliedVolatility>,
    /// The provider.
    pub data_source: Option<String>,
    /// When the snapshot was taken; the same for all of one chain.
    #[diesel(column_name = fetch_timestamp)]
    pub fetched_at: DateTime<Utc>,
}

impl OptionQuote {
    /// The day on which the contract ends.
    pub fn expiration(&self) -> NaiveDate {
        self.expiration_date.date_naive()
    }

    /// What the quote is of.
    pub fn contract(&self) -> OptionContract {
        let (ticker, strike) = (self.ticker.clone(), self.strike.clone());
        OptionContract::new(ticker, self.expiration_date, self.option_type, strike)
    }
}

/// A quote to be stored. Its id is made then.
#[derive(Debug, Clone, PartialEq, Insertable, Serialize, Deserialize)]
#[diesel(table_name = options_data)]
pub struct NewOptionQuote {
    /// The underlying.
    pub ticker: Ticker,
    /// To buy or to sell.
    pub option_type: OptionType,
    /// The price of the right's exercise.
    #[diesel(column_name = strike_price)]
    pub strike: Price,
    /// The day on which the contract ends.
    #[diesel(column_name = expiration_date)]
    pub expiration: TradingDay,
    /// The latest trade.
    #[diesel(column_name = last_price)]
    #[serde(default)]
    pub last: Option<Premium>,
    /// The best bid.
    #[serde(default)]
    pub bid: Option<Premium>,
    /// The best ask.
    #[serde(default)]
    pub ask: Option<Premium>,
    /// Contracts traded that day, zero or above.
    #[serde(default)]
    pub volume: Option<i64>,
    /// Contracts open, zero or above.
    #[serde(default)]
    pub open_interest: Option<i64>,
    /// Change of the price per unit of the underlying.
    #[serde(default)]
    pub delta: Option<Delta>,
    /// Change of delta per unit of the underlying.
    #[serde(default)]
    pub gamma: Option<Greek>,
    /// Change of the price with time, in the provider's unit.
    #[serde(default)]
    pub theta: Option<Greek>,
    /// Change of the price with volatility, in the provider's unit.
    #[serde(default)]
    pub vega: Option<Greek>,
    /// Annual, as a fraction.
    #[serde(default)]
    pub implied_volatility: Option<ImpliedVolatility>,
    /// The provider, at most 50 characters.
    #[serde(default = "delivery::default_source")]
    pub data_source: Cow<'static, str>,
    /// When the snapshot was taken, to the microsecond; `None` is the time of storing, or that of
    /// the chain it is stored with.
    #[diesel(column_name = fetch_timestamp)]
    #[serde(default)]
    pub fetched_at: Option<DateTime<Utc>>,
}

impl NewOptionQuote {
    /// A quote of the contract without any number yet, from the default source `yfinance`.
    pub fn new(contract: OptionContract) -> Self {
        NewOptionQuote {
            ticker: contract.ticker,
            option_type: contract.option_type,
            strike: contract.strike,
            expiration: contract.expiration,
            last: None,
            bid: None,
            ask: None,
            volume: None,
            open_interest: None,
            delta: None,
            gamma: None,
            theta: None,
            vega: None,
            implied_volatility: None,
            data_source: delivery::default_source(),
            fetched_at: None,
        }
    }

    /// With the latest trade.
    pub fn last(self, last: Premium) -> Self {
        NewOptionQuote { last: Some(last), ..self }
    }

    /// With bid and ask.
    pub fn bid_ask(self, bid: Premium, ask: Premium) -> Self {
        NewOptionQuote { bid: Some(bid), ask: Some(ask), ..self }
    }

    /// With the contracts traded that day.
    pub fn volume(self, volume: i64) -> Self {
        NewOptionQuote { volume: Some(volume), ..self }
    }

    /// With the contracts open.
    pub fn open_interest(self, open_interest: i64) -> Self {
        NewOptionQuote { open_interest: Some(open_interest), ..self }
    }

    /// With delta, gamma, theta and vega.
    pub fn greeks(self, delta: Delta, gamma: Greek, theta: Greek, vega: Greek) -> Self {
        NewOptionQuote {
            delta: Some(delta),
            gamma: Some(gamma),
            theta: Some(theta),
            vega: Some(vega),
            ..self
        }
    }

    /// With the implied volatility, a fraction per year.
    pub fn implied_volatility(self, implied_volatility: ImpliedVolatility) -> Self {
        NewOptionQuote { implied_volatility: Some(implied_volatility), ..self }
    }

    /// From another source.
    pub fn data_source(self, source: impl Into<Cow<'static, str>>) -> Self {
        NewOptionQuote { data_source: source.into(), ..self }
    }

    /// Of the snapshot taken then.
    pub fn fetched_at(self, fetched_at: DateTime<Utc>) -> Self {
        NewOptionQuote { fetched_at: Some(fetched_at), ..self }
    }

    /// The row as a repository returns it that stored it at this time. For fakes.
    pub fn stored_at(self, at: DateTime<Utc>) -> OptionQuote {
        OptionQuote {
            id: OptionQuoteId::generate(),
            ticker: self.ticker,
            option_type: self.option_type,
            strike: self.strike,
            expiration_date: self.expiration.midnight_utc(),
            last: self.last,
            bid: self.bid,
            ask: self.ask,
            volume: self.volume,
            open_interest: self.open_interest,
            delta: self.delta,
            gamma: self.gamma,
            theta: self.theta,
            vega: self.vega,
            implied_volatility: self.implied_volatility,
            data_source: Some(self.data_source.into_owned()),
            fetched_at: self.fetched_at.unwrap_or(at),
        }
    }

    pub(crate) fn validate(&self) -> Result<()> {
        self.expiration.check("expiration")?;
        if let Some(at) = self.fetched_at {
            TradingDay::from(at).check("fetched_at")?;
        }
        delivery::check_count("volume", self.volume)?;
        delivery::check_count("open_interest", self.open_interest)?;
        delivery::check_source(Some(&self.data_source))
    }
}

/// A change of one quote; contract and snapshot stay.
#[derive(Debug, Clone, PartialEq, Default, AsChangeset, Serialize, Deserialize)]
#[diesel(table_name = options_data)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct OptionQuotePatch {
    /// A new latest trade, or none.
    #[diesel(column_name = last_price)]
    #[serde(
        deserialize_with = "crate::store::patch::nullable",
        skip_serializing_if = "Option::is_none"
    )]
    pub last: Option<Option<Premium>>,
    /// A new bid, or none.
    #[serde(
        deserialize_with = "crate::store::patch::nullable",
        skip_serializing_if = "Option::is_none"
    )]
    pub bid: Option<Option<Premium>>,
    /// A new ask, or none.
    #[serde(
        deserialize_with = "crate::store::patch::nullable",
        skip_serializing_if = "Option::is_none"
    )]
    pub ask: Option<Option<Premium>>,
    /// A new volume, or none.
    #[serde(
        deserialize_with = "crate::store::patch::nullable",
        skip_serializing_if = "Option::is_none"
    )]
    pub volume: Option<Option<i64>>,
    /// A new open interest, or none.
    #[serde(
        deserialize_with = "crate::store::patch::nullable",
        skip_serializing_if = "Option::is_none"
    )]
    pub open_interest: Option<Option<i64>>,
    /// A new delta, or none.
    #[serde(
        deserialize_with = "crate::store::patch::nullable",
        skip_serializing_if = "Option::is_none"
    )]
    pub delta: Option<Option<Delta>>,
    /// A new gamma, or none.
    #[serde(
        deserialize_with = "crate::store::patch::nullable",
        skip_serializing_if = "Option::is_none"
    )]
    pub gamma: Option<Option<Greek>>,
    /// A new theta, or none.
    #[serde(
        deserialize_with = "crate::store::patch::nullable",
        skip_serializing_if = "Option::is_none"
    )]
    pub theta: Option<Option<Greek>>,
    /// A new vega, or none.
    #[serde(
        deserialize_with = "crate::store::patch::nullable",
        skip_serializing_if = "Option::is_none"
    )]
    pub vega: Option<Option<Greek>>,
    /// A new implied volatility, or none.
    #[serde(
        deserialize_with = "crate::store::patch::nullable",
        skip_serializing_if = "Option::is_none"
    )]
    pub implied_volatility: Option<Option<ImpliedVolatility>>,
    /// Another source, or none.
    #[serde(
        deserialize_with = "crate::store::patch::nullable",
        skip_serializing_if = "Option::is_none"
    )]
    pub data_source: Option<Option<String>>,
}

impl OptionQuotePatch {
    /// With a new latest trade; `None` clears it.
    pub fn last(self, last: impl Into<Clearable<Premium>>) -> Self {
        OptionQuotePatch { last: Some(last.into().0), ..self }
    }

    /// With a new bid; `None` clears it.
    pub fn bid(self, bid: impl Into<Clearable<Premium>>) -> Self {
        OptionQuotePatch { bid: Some(bid.into().0), ..self }
    }

    /// With a new ask; `None` clears it.
    pub fn ask(self, ask: impl Into<Clearable<Premium>>) -> Self {
        OptionQuotePatch { ask: Some(ask.into().0), ..self }
    }

    /// With a new volume; `None` clears it.
    pub fn volume(self, volume: impl Into<Clearable<i64>>) -> Self {
        OptionQuotePatch { volume: Some(volume.into().0), ..self }
    }

    /// With a new open interest; `None` clears it.
    pub fn open_interest(self, open_interest: impl Into<Clearable<i64>>) -> Self {
        OptionQuotePatch { open_interest: Some(open_interest.into().0), ..self }
    }

    /// With a new delta; `None` clears it.
    pub fn delta(self, delta: impl Into<Clearable<Delta>>) -> Self {
        OptionQuotePatch { delta: Some(delta.into().0), ..self }
    }

    /// With a new gamma; `None` clears it.
    pub fn gamma(self, gamma: impl Into<Clearable<Greek>>) -> Self {
        OptionQuotePatch { gamma: Some(gamma.into().0), ..self }
    }

    /// With a new theta; `None` clears it.
    pub fn theta(self, theta: impl Into<Clearable<Greek>>) -> Self {
        OptionQuotePatch { theta: Some(theta.into().0), ..self }
    }

    /// With a new vega; `None` clears it.
    pub fn vega(self, vega: impl Into<Clearable<Greek>>) -> Self {
        OptionQuotePatch { vega: Some(vega.into().0), ..self }
    }

    /// With a new implied volatility; `None` clears it.
    pub fn implied_volatility(
        self,
        implied_volatility: impl Into<Clearable<ImpliedVolatility>>,
    ) -> Self {
        OptionQuotePatch { implied_volatility: Some(implied_volatility.into().0), ..self }
    }

    /// With another source; `None` clears it.
    pub fn data_source(self, data_source: impl Into<Clearable<String>>) -> Self {
        OptionQuotePatch { data_source: Some(data_source.into().0), ..self }
    }

    pub(crate) fn validate(&self) -> Result<()> {
        delivery::check_count("volume", self.volume.flatten())?;
        delivery::check_count("open_interest", self.open_interest.flatten())?;
        delivery::check_source(self.data_source.as_ref().and_then(Option::as_deref))
    }
}
