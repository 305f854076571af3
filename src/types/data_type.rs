//! What kind of market data a cache entry holds.

use std::borrow::Cow;
use std::str::FromStr;

use diesel::sql_types::Text;
use serde::{Deserialize, Serialize};

use super::text;
use super::text::text_type;
use crate::error::{Error, Result};

/// The kind of a cached document. The usual ones are constants; any other text of 1 to 50
/// characters is a kind, too, kept as given but for white space around it.
#[derive(
    Debug,
    Clone,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    diesel::expression::AsExpression,
    diesel::deserialize::FromSqlRow,
)]
#[diesel(sql_type = Text)]
#[serde(try_from = "String", into = "String")]
pub struct DataType(Cow<'static, str>);

macro_rules! known {
    ($($(#[$doc:meta])* $constant:ident = $text:literal,)*) => {
        $($(#[$doc])* pub const $constant: DataType = DataType(Cow::Borrowed($text));)*

        /// The kinds that have a constant.
        pub const KNOWN: &'static [DataType] = &[$(Self::$constant,)*];
    };
}

impl DataType {
    known! {
        /// Price series as delivered.
        PRICE_HISTORY = "price_history",
        /// Company overview and ratios.
        FUNDAMENTALS = "fundamentals",
        /// Income statements.
        INCOME_STATEMENT = "income_statement",
        /// Balance sheets.
        BALANCE_SHEET = "balance_sheet",
        /// Cash-flow statements.
        CASH_FLOW = "cash_flow",
        /// Option chains as delivered.
        OPTIONS_CHAIN = "options_chain",
        /// Analysts' estimates.
        ANALYST_ESTIMATES = "analyst_estimates",
        /// Comparable companies.
        PEERS = "peers",
        /// News items.
        NEWS = "news",
    }

    /// Maximum length of a kind, in characters.
    pub const MAX_LENGTH: usize = 50;

    /// The kind of this name.
    ///
    /// # Errors
    /// [`Error::Invalid`] of field `data_type`: empty, longer than 50 characters, or with control
    /// or invisible characters.
    pub fn new(name: &str) -> Result<Self> {
        let name = name.trim();
        text::check_required("data_type", name, Self::MAX_LENGTH)?;
        let known = Self::KNOWN.iter().find(|known| known.as_str() == name);
        Ok(known.cloned().unwrap_or_else(|| DataType(Cow::Owned(name.to_owned()))))
    }

    /// The kind's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DataType {
    type Err = Error;
    fn from_str(name: &str) -> Result<Self> {
        DataType::new(name)
    }
}

text_type!(DataType);
