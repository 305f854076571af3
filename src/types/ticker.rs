//! Ticker symbols.

use std::str::FromStr;

use diesel::sql_types::Text;
use serde::{Deserialize, Serialize};

use super::text::text_type;
use crate::error::{Error, Result, shown};

/// A condition of SQL: the column holds a [`Ticker`], as the tables' checks have it. Other rows are found by no key.
pub(crate) fn is_ticker(column: &str) -> String {
    format!(
        r#"({column} = upper({column} COLLATE "C") AND {column} COLLATE "C" ~ '^[!-~]([ -~]*[!-~])?$')"#
    )
}

/// A ticker symbol in its one spelling: trimmed, ASCII upper case, 1 to 32 printable ASCII
/// characters. Spaces may stand inside only, as in OCC option symbols.
///
/// ```
/// use buffetbot_db::types::Ticker;
/// let ticker: Ticker = " brk.b ".parse()?;
/// assert_eq!(ticker.as_str(), "BRK.B");
/// assert!("".parse::<Ticker>().is_err());
/// # Ok::<(), buffetbot_db::Error>(())
/// ```
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
pub struct Ticker(Box<str>);

impl Ticker {
    /// Maximum length of a ticker, in characters.
    pub const MAX_LENGTH: usize = 32;

    /// Parses a ticker.
    ///
    /// # Errors
    /// [`Error::Invalid`] of field `ticker`.
    pub fn new(text: &str) -> Result<Self> {
        let trimmed = text.trim();
        let refused =
            |reason: &str| Err(Error::invalid("ticker", format!("{}: {reason}", shown(text))));
        if trimmed.is_empty() {
            return refused("must not be empty");
        }
        if !trimmed.bytes().all(|b| b.is_ascii_graphic() || b == b' ') {
            return refused("only printable ASCII characters are allowed");
        }
        if trimmed.len() > Self::MAX_LENGTH {
            return refused("longer than 32 characters");
        }
        Ok(Ticker(trimmed.to_ascii_uppercase().into()))
    }

    /// The symbol.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Ticker {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Ticker::new(text)
    }
}

text_type!(Ticker);
