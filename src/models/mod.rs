//! Rows as Rust sees them: per table one struct that is read, one that is inserted, one that changes.
//!
//! In a patch, `None` leaves a column as it is; for a nullable column `Some(None)` clears it. An
//! empty patch is no error. In JSON an absent field is `None` and `null` is `Some(None)`.

mod aged;
mod analysis;
mod analysis_key;
mod audit;
mod cache_entry;
mod cache_key;
mod corporate_action;
mod coverage;
mod event;
mod ingest;
mod inputs;
mod lineage;
mod market;
mod option_quote;
mod portfolio;
mod position;
mod price_bar;
mod user;
mod valuation;

pub use aged::{Aged, Retention, Swept};
pub use analysis::{AnalysisPatch, AnalysisResult, Expiry, NewAnalysis};
pub use analysis_key::{
    AnalysisFilter, AnalysisKey, AnalysisScope, AnalysisSelector, AnalysisSummary,
};
pub use audit::{AuditEntry, AuditFilter};
pub use cache_entry::{
    Backfill, Backfilled, CacheEntry, CacheEntryPatch, NewCacheEntry, PutOptions,
};
pub use cache_key::{
    CacheFilter, CacheKey, CacheSelector, CacheSize, CacheStatistics, StaleEntry, TickerSize,
    TypeSize,
};
pub(crate) use corporate_action::{ActionChanges, ActionValues};
pub use corporate_action::{
    ActionKind, CorporateAction, CorporateActionFilter, CorporateActionPatch, NewCorporateAction,
};
pub use coverage::{Coverage, Gaps};
pub use event::{ConsumerState, Event, EventData, EventFilter};
pub use ingest::{DeliveredBar, FloatBar, IngestOptions, SuspectPolicy};
pub(crate) use ingest::{check_day, needs_clock};
pub use inputs::{BarsDigest, DocumentRevision, Inputs};
pub use lineage::{BarsLineage, BarsSource, DocumentLineage, Lineage};
pub use market::{Rejected, RejectedKind, UpsertReport};
pub use option_quote::{
    ChainFilter, NewOptionQuote, OptionQuote, OptionQuoteFilter, OptionQuotePatch,
};
pub(crate) use portfolio::check_portfolio_name;
pub use portfolio::{
    NewPortfolio, Portfolio, PortfolioFilter, PortfolioPatch, PortfolioSummary,
    PortfolioWithPositions,
};
pub use position::{NewPosition, Position, PositionPatch};
pub use price_bar::{
    LatestBar, NewPriceBar, PriceBar, PriceBarFilter, PriceBarPatch, PriceRevision,
};
pub use user::{Erasure, NewUser, ProfilePatch, User, UserFilter, UserPatch};
pub(crate) use valuation::ValuationRow;
pub use valuation::{PositionValue, PricedBar, Valuation};

/// Serde of a patch's nullable columns.
pub(crate) mod patch {
    use serde::{Deserialize, Deserializer};

    /// For `deserialize_with` on an `Option<Option<T>>` with a default: serde alone reads `null` as
    /// the outer `None`, which would leave the column that is to be cleared.
    pub(crate) fn nullable<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
    where
        D: Deserializer<'de>,
        T: Deserialize<'de>,
    {
        Option::deserialize(deserializer).map(Some)
    }
}
