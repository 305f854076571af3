//! Series of bars: what is computed from stored ones when they are read.

mod adjust;
mod bar;
mod resample;
mod returns;

pub use adjust::{
    AdjustedSeries, Adjustment, AdjustmentCheck, AdjustmentDifference, AdjustmentStep,
    PricedAction, SkipReason, SkippedAction, adjust,
};
pub(crate) use adjust::{check, check_tolerance};
pub use bar::SeriesBar;
pub use resample::{Period, Resampler, resample};
pub use returns::{Returns, closes, returns, total_return};
