//! Changes of bars, and which bars are asked for.

use chrono::NaiveDate;
use diesel::prelude::AsChangeset;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::schema::price_history;
use crate::store::{Clearable, delivery, patch};
use crate::types::{AdjustedPrice, Price, Ticker};

/// A change of one bar; what it is a bar of stays.
#[derive(Debug, Clone, PartialEq, Default, AsChangeset, Serialize, Deserialize)]
#[diesel(table_name = price_history)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PriceBarPatch {
    /// A new first price, or none.
    #[diesel(column_name = open_price)]
    #[serde(deserialize_with = "patch::nullable", skip_serializing_if = "Option::is_none")]
    pub open: Option<Option<Price>>,
    /// A new highest price, or none.
    #[diesel(column_name = high_price)]
    #[serde(deserialize_with = "patch::nullable", skip_serializing_if = "Option::is_none")]
    pub high: Option<Option<Price>>,
    /// A new lowest price, or none.
    #[diesel(column_name = low_price)]
    #[serde(deserialize_with = "patch::nullable", skip_serializing_if = "Option::is_none")]
    pub low: Option<Option<Price>>,
    /// A new last price.
    #[diesel(column_name = close_price)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub close: Option<Price>,
    /// A new number of units, or none.
    #[serde(deserialize_with = "patch::nullable", skip_serializing_if = "Option::is_none")]
    pub volume: Option<Option<i64>>,
    /// A new adjusted close, or none.
    #[serde(deserialize_with = "patch::nullable", skip_serializing_if = "Option::is_none")]
    pub adjusted_close: Option<Option<AdjustedPrice>>,
    /// Another source, or none.
    #[serde(deserialize_with = "patch::nullable", skip_serializing_if = "Option::is_none")]
    pub data_source: Option<Option<String>>,
    /// Whether the bar should not be trusted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_suspect: Option<bool>,
}

impl PriceBarPatch {
    /// With a new first price; `None` clears it.
    pub fn open(self, open: impl Into<Clearable<Price>>) -> Self {
        PriceBarPatch { open: Some(open.into().0), ..self }
    }

    /// With a new highest price; `None` clears it.
    pub fn high(self, high: impl Into<Clearable<Price>>) -> Self {
        PriceBarPatch { high: Some(high.into().0), ..self }
    }

    /// With a new lowest price; `None` clears it.
    pub fn low(self, low: impl Into<Clearable<Price>>) -> Self {
        PriceBarPatch { low: Some(low.into().0), ..self }
    }

    /// With a new last price.
    pub fn close(self, close: Price) -> Self {
        PriceBarPatch { close: Some(close), ..self }
    }

    /// With a new number of units; `None` clears it.
    pub fn volume(self, volume: impl Into<Clearable<i64>>) -> Self {
        PriceBarPatch { volume: Some(volume.into().0), ..self }
    }

    /// With a new adjusted close; `None` clears it.
    pub fn adjusted_close(self, adjusted_close: impl Into<Clearable<AdjustedPrice>>) -> Self {
        PriceBarPatch { adjusted_close: Some(adjusted_close.into().0), ..self }
    }

    /// With another source; `None` clears it.
    pub fn data_source(self, data_source: impl Into<Clearable<String>>) -> Self {
        PriceBarPatch { data_source: Some(data_source.into().0), ..self }
    }

    /// Sets whether the bar should not be trusted.
    pub fn is_suspect(self, is_suspect: bool) -> Self {
        PriceBarPatch { is_suspect: Some(is_suspect), ..self }
    }

    pub(crate) fn validate(&self) -> Result<()> {
        delivery::check_count("volume", self.volume.flatten())?;
        delivery::check_source(self.data_source.as_ref().and_then(Option::as_deref))
    }
}

/// Which bars a list or a count includes; the default is all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PriceBarFilter {
    /// Only bars of these; an empty list matches nothing.
    pub tickers: Option<Vec<Ticker>>,
    /// Only bars of this day and later.
    pub from: Option<NaiveDate>,
    /// Only bars of this day and earlier.
    pub to: Option<NaiveDate>,
    /// Only bars of this source.
    pub data_source: Option<String>,
    /// Only bars that should not be trusted, or only others.
    pub is_suspect: Option<bool>,
}

impl PriceBarFilter {
    /// Only bars of these; an empty list matches nothing.
    pub fn tickers(self, tickers: impl Into<Vec<Ticker>>) -> Self {
        PriceBarFilter { tickers: Some(tickers.into()), ..self }
    }

    /// Only bars of this day and later.
    pub fn from(self, from: impl Into<Option<NaiveDate>>) -> Self {
        PriceBarFilter { from: from.into(), ..self }
    }

    /// Only bars of this day and earlier.
    pub fn to(self, to: impl Into<Option<NaiveDate>>) -> Self {
        PriceBarFilter { to: to.into(), ..self }
    }

    /// Only bars of this source.
    pub fn data_source(self, data_source: impl Into<String>) -> Self {
        PriceBarFilter { data_source: Some(data_source.into()), ..self }
    }

    /// Only bars that should not be trusted, or only others.
    pub fn is_suspect(self, is_suspect: impl Into<Option<bool>>) -> Self {
        PriceBarFilter { is_suspect: is_suspect.into(), ..self }
    }
}
