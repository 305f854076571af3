//! Daily prices: bars, corporate actions, and what is computed from them.

pub(crate) mod actions;
pub(crate) mod bars;
pub(crate) mod calendar;
pub(crate) mod partitions;
pub(crate) mod pg;
pub(crate) mod reading;
pub(crate) mod repository;
pub(crate) mod series;
pub(crate) mod storing;

pub(crate) use actions::PgCorporateActions;
pub use actions::{
    ActionKind, CorporateAction, CorporateActionFilter, CorporateActionPatch,
    CorporateActionRepository, NewCorporateAction,
};
pub(crate) use bars::check_day;
pub use bars::{
    BarsDigest, Coverage, DeliveredBar, FloatBar, Gaps, IngestOptions, LatestBar, NewPriceBar,
    PriceBar, PriceBarFilter, PriceBarPatch, PriceRevision, SuspectPolicy,
};
pub use calendar::{Nyse, TradingCalendar, Weekdays};
#[cfg(feature = "arrow")]
pub use partitions::PriceArchive;
pub use partitions::{PriceLayout, PricePartition, PricePartitions, RebuildProgress};
pub(crate) use pg::PgPrices;
pub use reading::Series;
#[cfg(feature = "arrow")]
pub(crate) use reading::record_batches;
#[cfg(feature = "arrow")]
pub use reading::{ArrowOptions, Decimals, archive_schema, bars_schema};
pub use repository::PriceRepository;
pub use series::{
    AdjustedSeries, Adjustment, AdjustmentCheck, AdjustmentDifference, AdjustmentStep, Period,
    PricedAction, Resampler, Returns, SeriesBar, SkipReason, SkippedAction, adjust, closes,
    resample, returns, total_return,
};
