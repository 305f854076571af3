//! Values that cannot be read, and how a refused one is shown.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Error;

/// Longest piece of a refused value that an error shows.
const SHOWN: usize = 64;

/// `value`, shortened and escaped, for an error message.
pub(crate) fn shown(value: &str) -> String {
    let mut text: String = value.chars().take(SHOWN).collect();
    if text.len() < value.len() {
        text.push_str("...");
    }
    format!("{text:?}")
}

/// A stored row with a value that its column should not hold, which another program wrote. A list leaves it out and
/// names it; as an error it is [`Error::Corrupt`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Unreadable {
    /// The table, or `"?"` where the query joins several.
    pub table: String,
    /// The row's id; of a row without one, such as a sum, the ticker or name that it is of. `"?"` where there is nothing
    /// of that.
    pub key: String,
    /// The column.
    pub column: String,
    /// What is wrong, without the value.
    pub reason: String,
}

impl Unreadable {
    /// Stands for what is not known.
    pub(crate) const UNKNOWN: &str = "?";

    /// Of no row or column in particular.
    pub(crate) fn unknown(reason: &str) -> Self {
        let [table, key, column] = [Self::UNKNOWN; 3].map(str::to_owned);
        Unreadable { table, key, column, reason: reason.into() }
    }

    /// As a warning in the log: somebody has to repair the row.
    pub(crate) fn warn(&self) {
        let Unreadable { table, key, column, reason } = self;
        tracing::warn!(target: "buffetbot_db::rows", table, key, column, reason, "a row cannot be read");
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Unreadable { table, key, column, reason } = self;
        match key.as_str() {
            Self::UNKNOWN => write!(f, "{table}.{column}: {reason}"),
            key => write!(f, "{table}.{column} of row {key}: {reason}"),
        }
    }
}

impl From<Unreadable> for Error {
    fn from(Unreadable { table, key, column, reason }: Unreadable) -> Self {
        Error::Corrupt { table, key, column, reason }
    }
}
