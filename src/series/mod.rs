//! Series of bars: what is computed from stored ones when they are read.

mod adjust;
#[cfg(feature = "arrow")]
pub(crate) mod arrow;
mod bar;
pub(crate) mod columns;
#[cfg(feature = "arrow")]
pub(crate) mod parquet;
#[cfg(feature = "arrow")]
mod values;

pub(crate) use adjust::check;
pub use adjust::{
    AdjustedSeries, Adjustment, AdjustmentCheck, AdjustmentDifference, AdjustmentStep,
    PricedAction, SkipReason, SkippedAction, adjust,
};
#[cfg(feature = "arrow")]
pub use arrow::{ArrowOptions, Decimals, archive_schema, bars_schema};
pub use bar::SeriesBar;
pub use columns::Series;
