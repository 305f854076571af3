//! Changes of cached rows, as the log has them.

use crate::types::{Document, PortfolioId, Ticker};

use super::address::Space;

/// A key whose row changed.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub space: Space,
    /// `None`: every key of the space.
    pub key: Option<ChangedKey>,
    /// The row's version since then.
    pub version: i64,
}

/// The key; its parameters are spelled as the database does.
#[derive(Debug, Clone)]
pub(crate) struct ChangedKey {
    pub ticker: Ticker,
    pub name: Box<str>,
    pub parameters: Option<Document>,
    pub portfolio: Option<PortfolioId>,
}
