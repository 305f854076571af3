//! A bar as computations take and give it.

use bigdecimal::BigDecimal;
use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use crate::prices::bars::PriceBar;

/// A bar of a series: a stored one, an adjusted one, or several days in one. Prices are exact
/// decimals without the bounds of a column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeriesBar {
    /// The first trading day in it.
    pub first: NaiveDate,
    /// The last trading day in it; that of a daily bar is its first.
    pub last: NaiveDate,
    /// How many daily bars are in it.
    pub bars: u32,
    /// First price, in the currency of the quote, as are the next three.
    pub open: Option<BigDecimal>,
    /// Highest price.
    pub high: Option<BigDecimal>,
    /// Lowest price.
    pub low: Option<BigDecimal>,
    /// Last price.
    pub close: BigDecimal,
    /// Units traded; `None` where not delivered.
    pub volume: Option<i64>,
    /// Whether any bar in it should not be trusted.
    pub is_suspect: bool,
}

impl From<&PriceBar> for SeriesBar {
    fn from(bar: &PriceBar) -> Self {
        let decimal = |price: &Option<crate::types::Price>| {
            price.as_ref().map(|price| price.as_decimal().clone())
        };
        let day = bar.trading_day();
        SeriesBar {
            first: day,
            last: day,
            bars: 1,
            open: decimal(&bar.open),
            high: decimal(&bar.high),
            low: decimal(&bar.low),
            close: bar.close.as_decimal().clone(),
            volume: bar.volume,
            is_suspect: bar.is_suspect,
        }
    }
}
