//! The kinds of rows that errors speak of.

use std::fmt;

/// What kind of row an error speaks of. As text it is the singular, in lower case: `"price bar"`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Entity {
    /// An account: `users`.
    User,
    /// A portfolio: `portfolios`.
    Portfolio,
    /// A position of a portfolio: `positions`.
    Position,
    /// A result of an analysis: `analysis_results`.
    AnalysisResult,
    /// A cached document: `market_data_cache`.
    CacheEntry,
    /// A daily bar: `price_history`, and each of its partitions.
    PriceBar,
    /// A split or a dividend: `corporate_actions`.
    CorporateAction,
    /// A quote of an option: `options_data`.
    OptionQuote,
    /// A consumer of events: `event_consumers`.
    EventConsumer,
    /// A year of the price history as a table of its own.
    PricePartition,
    /// A row of a query of no table in particular.
    Row,
    /// Anything else: the name of a table that has no variant here, or what a [fetch](crate::cache::Fetch) of the caller's did not
    /// find.
    Other(String),
}

impl Entity {
    /// The singular, as in messages.
    pub fn as_str(&self) -> &str {
        match self {
            Entity::User => "user",
            Entity::Portfolio => "portfolio",
            Entity::Position => "position",
            Entity::AnalysisResult => "analysis result",
            Entity::CacheEntry => "cache entry",
            Entity::PriceBar => "price bar",
            Entity::CorporateAction => "corporate action",
            Entity::OptionQuote => "option quote",
            Entity::EventConsumer => "event consumer",
            Entity::PricePartition => "partition",
            Entity::Row => "row",
            Entity::Other(name) => name,
        }
    }
}

impl fmt::Display for Entity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
