//! Series of bars: what is computed from stored ones when they are read.

mod adjust;
mod bar;

pub(crate) use adjust::check;
pub use adjust::{
    AdjustedSeries, Adjustment, AdjustmentCheck, AdjustmentDifference, AdjustmentStep,
    PricedAction, SkipReason, SkippedAction, adjust,
};
pub use bar::SeriesBar;
