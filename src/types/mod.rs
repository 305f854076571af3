//! Values that are right once they exist: parsed at the edge, trusted from there on.
//!
//! Parsing gives [`Error::Invalid`](crate::Error::Invalid) with field, value and reason. What a type accepts,
//! its column holds exactly.

pub(crate) mod activity;
pub(crate) mod bound;
pub(crate) mod canonical;
mod count;
mod data_type;
mod decimal;
mod document;
mod enums;
mod finite;
mod ids;
mod jsonb;
mod listed;
pub(crate) mod numeric;
mod page;
mod page_stream;
mod password_hash;
pub(crate) mod span;
pub(crate) mod tag;
pub(crate) mod text;
mod ticker;
mod trading_day;

pub use activity::Activity;
pub(crate) use activity::of_activity;
pub(crate) use count::Count;
pub use data_type::DataType;
pub use decimal::{
    AdjustedPrice, Amount, Cost, Delta, DividendAmount, Greek, ImpliedVolatility, Percentage,
    Premium, Price, Score, Shares, SplitShares, UnitInterval,
};
pub use document::Document;
pub(crate) use document::JSONB_VERSION;
pub use enums::{
    AnalysisType, AuditedTable, CorporateActionType, EventKind, Operation, OptionType,
    RiskTolerance,
};
pub use ids::{
    AnalysisId, AuditId, BarId, CacheEntryId, CorporateActionId, OptionQuoteId, PortfolioId,
    PositionId, UserId,
};
pub use listed::Listed;
pub use page::{Cursor, Page, PageRequest};
pub use page_stream::stream_pages;
pub use password_hash::PasswordHash;
pub use tag::Tag;
pub use ticker::Ticker;
pub(crate) use ticker::is_ticker;
pub use trading_day::TradingDay;
pub(crate) use trading_day::parse_time;

#[cfg(test)]
pub(crate) mod random;
