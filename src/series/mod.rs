//! Series of bars: what is computed from stored ones when they are read.

mod adjust;
#[cfg(feature = "arrow")]
pub(crate) mod arrow;
mod bar;
mod calendar;
pub(crate) mod columns;
#[cfg(feature = "arrow")]
pub(crate) mod parquet;
mod resample;
mod returns;
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
pub use calendar::{Nyse, TradingCalendar, Weekdays};
pub use columns::Series;
pub use resample::{Period, Resampler, resample};
pub use returns::{Returns, closes, returns, total_return};
