//! Changes of cached rows, as the log has them.

use crate::types::{Document, PortfolioId, Ticker};

use crate::store::{EntryKey, Namespace};

/// Keys whose rows changed.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub space: Namespace,
    pub changed: Changed,
    /// The row's version since then.
    pub version: i64,
}

impl Change {
    /// Whether the row may be that of the address; parameters are not compared.
    pub fn may_concern(&self, address: &EntryKey) -> bool {
        let is_meant = match &self.changed {
            Changed::Namespace => true,
            Changed::Portfolio(portfolio) => address.portfolio == Some(*portfolio),
            Changed::Key(key) => {
                (&key.ticker, &key.name, key.portfolio)
                    == (&address.ticker, &address.name, address.portfolio)
            }
        };
        self.space == address.space && is_meant
    }
}

/// Which keys of the space.
#[derive(Debug, Clone)]
pub(crate) enum Changed {
    /// Every one.
    Namespace,
    /// Every one of a portfolio: its owner was erased, and its keys are not disclosed.
    Portfolio(PortfolioId),
    Key(ChangedKey),
}

/// The key; its parameters are spelled as the database does.
#[derive(Debug, Clone)]
pub(crate) struct ChangedKey {
    pub ticker: Ticker,
    pub name: Box<str>,
    pub parameters: Option<Document>,
    pub portfolio: Option<PortfolioId>,
}
