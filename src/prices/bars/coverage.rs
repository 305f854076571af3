//! What there is of a ticker's history, and what is missing.

use chrono::{DateTime, NaiveDate, Utc};
use diesel::prelude::QueryableByName;
use diesel::sql_types::{BigInt, Text, Timestamptz};
use serde::{Deserialize, Serialize};

use crate::types::Ticker;

/// What is stored of a ticker.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName, Serialize, Deserialize)]
#[diesel(check_for_backend(diesel::pg::Pg))]
pub struct Coverage {
    /// The security.
    #[diesel(sql_type = Text)]
    pub ticker: Ticker,
    /// Midnight UTC of the first day that has a bar.
    #[diesel(sql_type = Timestamptz)]
    pub first: DateTime<Utc>,
    /// Midnight UTC of the last day that has a bar.
    #[diesel(sql_type = Timestamptz)]
    pub last: DateTime<Utc>,
    /// How many bars there are.
    #[diesel(sql_type = BigInt)]
    pub bars: i64,
}

impl Coverage {
    /// The first day that has a bar.
    pub fn first_day(&self) -> NaiveDate {
        self.first.date_naive()
    }

    /// The last day that has a bar.
    pub fn last_day(&self) -> NaiveDate {
        self.last.date_naive()
    }
}

/// A ticker's history against a calendar.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Gaps {
    /// How many trading days there are.
    pub trading_days: usize,
    /// How many bars there are.
    pub bars: usize,
    /// Trading days without a bar, rising.
    pub missing: Vec<NaiveDate>,
    /// Days with a bar on which the exchange was closed, rising.
    pub unexpected: Vec<NaiveDate>,
}

impl Gaps {
    /// Whether every trading day has a bar, and no other day.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty()
    }
}
