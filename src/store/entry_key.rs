//! What a cached value is found by, in memory and in every other level.

use std::hash::{Hash, Hasher};

use crate::error::Result;
use crate::types::{Document, PortfolioId, Ticker};

/// Which of the two caches a key belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Namespace {
    /// Documents of providers: `market_data_cache`.
    MarketData,
    /// Results of analyses: `analysis_results`.
    Analyses,
}

impl Namespace {
    /// The space's name in `cache_leases` and `cache_changes`.
    pub fn as_str(self) -> &'static str {
        match self {
            Namespace::MarketData => "market_data",
            Namespace::Analyses => "analyses",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        [Namespace::MarketData, Namespace::Analyses]
            .into_iter()
            .find(|space| space.as_str() == name)
    }
}

/// The key of a cached value. Equality is that of the spelling: parameters that are equal as JSON
/// values but are written differently are two copies in memory, and one row in the database.
#[derive(Debug, Clone)]
pub(crate) struct EntryKey {
    pub space: Namespace,
    pub ticker: Ticker,
    /// Data type or analysis type.
    pub name: Box<str>,
    pub parameters: Option<Document>,
    pub portfolio: Option<PortfolioId>,
}

/// An [`EntryKey`] that is looked up without being made.
#[derive(Clone, Copy)]
pub(crate) struct EntryKeyRef<'a> {
    pub space: Namespace,
    pub ticker: &'a Ticker,
    pub name: &'a str,
    pub parameters: Option<&'a Document>,
    pub portfolio: Option<PortfolioId>,
}

impl EntryKeyRef<'_> {
    pub fn to_owned(self) -> EntryKey {
        EntryKey {
            space: self.space,
            ticker: self.ticker.clone(),
            name: self.name.into(),
            parameters: self.parameters.cloned(),
            portfolio: self.portfolio,
        }
    }

    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) of parameters under which nothing can be stored.
    pub fn check_storable(&self) -> Result<()> {
        self.parameters.map_or(Ok(()), |parameters| parameters.check_storable("parameters"))
    }

    fn parts(&self) -> (Namespace, &str, &str, Option<&str>, Option<PortfolioId>) {
        let parameters = self.parameters.map(Document::as_str);
        (self.space, self.ticker.as_str(), self.name, parameters, self.portfolio)
    }
}

impl EntryKey {
    pub fn as_ref(&self) -> EntryKeyRef<'_> {
        EntryKeyRef {
            space: self.space,
            ticker: &self.ticker,
            name: &self.name,
            parameters: self.parameters.as_ref(),
            portfolio: self.portfolio,
        }
    }

    /// About how many bytes of memory the key uses.
    pub fn weight(&self) -> usize {
        let parameters = self.parameters.as_ref().map_or(0, |p| p.as_str().len());
        std::mem::size_of::<EntryKey>() + self.ticker.as_str().len() + self.name.len() + parameters
    }
}

impl PartialEq for EntryKey {
    fn eq(&self, other: &Self) -> bool {
        self.as_ref().parts() == other.as_ref().parts()
    }
}

impl Eq for EntryKey {}

impl Hash for EntryKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_ref().hash(state);
    }
}

impl Hash for EntryKeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl equivalent::Equivalent<EntryKey> for EntryKeyRef<'_> {
    fn equivalent(&self, key: &EntryKey) -> bool {
        self.parts() == key.as_ref().parts()
    }
}
