//! Changes of cached rows, as the log has them.

use crate::types::{Document, PortfolioId, Ticker};

use super::address::{Address, Space};

/// A key whose row changed.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub space: Space,
    /// `None`: every key of the space.
    pub key: Option<ChangedKey>,
    /// The row's version since then.
    pub version: i64,
}

impl Change {
    /// Whether the row may be that of the address; parameters are not compared.
    pub fn may_concern(&self, address: &Address) -> bool {
        let is_meant = |key: &ChangedKey| {
            (&key.ticker, &key.name, key.portfolio)
                == (&address.ticker, &address.name, address.portfolio)
        };
        self.space == address.space && self.key.as_ref().is_none_or(is_meant)
    }
}

/// The key; its parameters are spelled as the database does.
#[derive(Debug, Clone)]
pub(crate) struct ChangedKey {
    pub ticker: Ticker,
    pub name: Box<str>,
    pub parameters: Option<Document>,
    pub portfolio: Option<PortfolioId>,
}
