//! Daily price bars.

use std::borrow::Cow;

use bigdecimal::BigDecimal;
use chrono::{DateTime, NaiveDate, Utc};
use diesel::pg::Pg;
use diesel::prelude::{Insertable, Queryable, QueryableByName, Selectable};
use diesel::sql_types::{Nullable, Numeric, Timestamptz};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::schema::price_history;
use crate::store::delivery;
use crate::types::{AdjustedPrice, BarId, Price, Ticker, TradingDay};

/// The prices of one ticker on one day, as the provider delivered them.
#[derive(
    Debug, Clone, PartialEq, Queryable, QueryableByName, Selectable, Serialize, Deserialize,
)]
#[diesel(table_name = price_history, check_for_backend(Pg))]
pub struct PriceBar {
    /// The bar's id.
    pub id: BarId,
    /// The security.
    pub ticker: Ticker,
    /// Midnight UTC of the exchange's date.
    pub date: DateTime<Utc>,
    /// First price, in the currency of the quote, as are the next three.
    #[diesel(column_name = open_price)]
    pub open: Option<Price>,
    /// Highest price.
    #[diesel(column_name = high_price)]
    pub high: Option<Price>,
    /// Lowest price.
    #[diesel(column_name = low_price)]
    pub low: Option<Price>,
    /// Last price.
    #[diesel(column_name = close_price)]
    pub close: Price,
    /// Units traded; `None` where not delivered.
    pub volume: Option<i64>,
    /// The provider's adjusted close as of delivery; it is not kept up to date.
    pub adjusted_close: Option<AdjustedPrice>,
    /// The provider.
    pub data_source: Option<String>,
    /// When the bar was first stored.
    pub created_at: DateTime<Utc>,
    /// Whether the bar should not be trusted, such as one with a high below its low.
    pub is_suspect: bool,
    /// When the present values were stored in place of others; `None`: the bar was never corrected.
    pub corrected_at: Option<DateTime<Utc>>,
}

impl PriceBar {
    /// Since when these values are known, by the database's clock.
    pub fn known_from(&self) -> DateTime<Utc> {
        self.corrected_at.unwrap_or(self.created_at)
    }

    /// The exchange's date.
    pub fn trading_day(&self) -> NaiveDate {
        self.date.date_naive()
    }
}

/// A bar to be stored. Its id is made then.
#[derive(Debug, Clone, PartialEq, Insertable, Serialize, Deserialize)]
#[diesel(table_name = price_history)]
pub struct NewPriceBar {
    /// The security.
    pub ticker: Ticker,
    /// The exchange's date: of a time with an offset, its local day.
    pub date: TradingDay,
    /// First price.
    #[diesel(column_name = open_price)]
    #[serde(default)]
    pub open: Option<Price>,
    /// Highest price.
    #[diesel(column_name = high_price)]
    #[serde(default)]
    pub high: Option<Price>,
    /// Lowest price.
    #[diesel(column_name = low_price)]
    #[serde(default)]
    pub low: Option<Price>,
    /// Last price.
    #[diesel(column_name = close_price)]
    pub close: Price,
    /// Units traded, zero or above.
    #[serde(default)]
    pub volume: Option<i64>,
    /// The provider's close adjusted for splits and dividends.
    #[serde(default)]
    pub adjusted_close: Option<AdjustedPrice>,
    /// The provider, at most 50 characters.
    #[serde(default = "delivery::default_source")]
    pub data_source: Cow<'static, str>,
    /// Whether the bar is known to be wrong; only such a one may have prices that contradict each
    /// other.
    #[serde(default)]
    pub is_suspect: bool,
}

impl NewPriceBar {
    /// A bar with nothing but its close, from the default source `yfinance`. A plain date is taken
    /// as it is, of a time with an offset the local day is.
    pub fn new(ticker: Ticker, date: impl Into<TradingDay>, close: Price) -> Self {
        NewPriceBar {
            ticker,
            date: date.into(),
            open: None,
            high: None,
            low: None,
            close,
            volume: None,
            adjusted_close: None,
            data_source: delivery::default_source(),
            is_suspect: false,
        }
    }

    /// With open, high and low.
    pub fn ohl(self, open: Price, high: Price, low: Price) -> Self {
        NewPriceBar { open: Some(open), high: Some(high), low: Some(low), ..self }
    }

    /// With the number of units traded.
    pub fn volume(self, volume: i64) -> Self {
        NewPriceBar { volume: Some(volume), ..self }
    }

    /// With the adjusted close.
    pub fn adjusted_close(self, adjusted_close: AdjustedPrice) -> Self {
        NewPriceBar { adjusted_close: Some(adjusted_close), ..self }
    }

    /// From another source.
    pub fn data_source(self, source: impl Into<Cow<'static, str>>) -> Self {
        NewPriceBar { data_source: source.into(), ..self }
    }

    /// Flagged as not to be trusted: stored as it is, whatever its prices.
    pub fn suspect(self) -> Self {
        NewPriceBar { is_suspect: true, ..self }
    }

    /// Whether the prices that are there agree: no high below the low, open and close between them.
    pub fn is_coherent(&self) -> bool {
        self.contradiction().is_none()
    }

    /// What is wrong with the prices, and the field.
    fn contradiction(&self) -> Option<(&'static str, &'static str)> {
        let above = |a: Option<&Price>, b: Option<&Price>| a.zip(b).is_some_and(|(a, b)| a > b);
        let (open, high, low) = (self.open.as_ref(), self.high.as_ref(), self.low.as_ref());
        let close = Some(&self.close);
        [
            (above(low, high), "high", "below the low"),
            (above(open, high), "open", "above the high"),
            (above(low, open), "open", "below the low"),
            (above(close, high), "close", "above the high"),
            (above(low, close), "close", "below the low"),
        ]
        .into_iter()
        .find_map(|(broken, field, what)| broken.then_some((field, what)))
    }

    pub(crate) fn validate(&self) -> Result<()> {
        self.check_fields()?;
        self.check_coherence()
    }

    /// Each field alone.
    pub(crate) fn check_fields(&self) -> Result<()> {
        self.date.check("date")?;
        delivery::check_count("volume", self.volume)?;
        delivery::check_source(Some(&self.data_source))
    }

    /// The row as a repository returns it that stored it at this time. For fakes.
    pub fn stored_at(self, at: DateTime<Utc>) -> PriceBar {
        PriceBar {
            id: BarId::generate(),
            ticker: self.ticker,
            date: self.date.midnight_utc(),
            open: self.open,
            high: self.high,
            low: self.low,
            close: self.close,
            volume: self.volume,
            adjusted_close: self.adjusted_close,
            data_source: Some(self.data_source.into_owned()),
            created_at: at,
            is_suspect: self.is_suspect,
            corrected_at: None,
        }
    }

    /// The prices against each other, unless the bar is flagged.
    pub(crate) fn check_coherence(&self) -> Result<()> {
        match self.contradiction() {
            Some((field, what)) if !self.is_suspect => {
                Err(Error::invalid(field, format!("{what}; flag the bar as suspect to keep it")))
            }
            _ => Ok(()),
        }
    }
}

/// What was known of a bar for a while.
#[derive(Debug, Clone, PartialEq, QueryableByName, Serialize, Deserialize)]
#[diesel(check_for_backend(Pg))]
pub struct PriceRevision {
    /// The bar as it was.
    #[diesel(embed)]
    pub bar: PriceBar,
    /// Until when these values were the latest known; `None`: they are.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub replaced_at: Option<DateTime<Utc>>,
}

/// The latest bar of a ticker and the close before it.
#[derive(Debug, Clone, PartialEq, QueryableByName, Serialize, Deserialize)]
pub struct LatestBar {
    /// The bar.
    #[diesel(embed)]
    pub bar: PriceBar,
    /// The close of the bar before, however long ago; `None` where it is the only one.
    #[diesel(sql_type = Nullable<Numeric>)]
    pub previous_close: Option<Price>,
}

impl LatestBar {
    /// Close less previous close; not corrected for a split or dividend in between.
    pub fn change(&self) -> Option<BigDecimal> {
        let previous = self.previous_close.as_ref()?;
        Some(self.bar.close.as_decimal() - previous.as_decimal())
    }

    /// The change as a fraction of the previous close: 0.01 is one percent. For display: exact to
    /// about 15 digits.
    pub fn change_ratio(&self) -> Option<f64> {
        use bigdecimal::ToPrimitive;
        let previous = self.previous_close.as_ref()?.as_decimal().to_f64()?;
        Some(self.change()?.to_f64()? / previous)
    }
}
