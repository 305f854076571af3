//! Series of bars: what is computed from stored ones when they are read.

#[cfg(feature = "arrow")]
pub(crate) mod arrow;
mod bar;
pub(crate) mod columns;
#[cfg(feature = "arrow")]
mod produced;
#[cfg(feature = "arrow")]
mod values;

#[cfg(feature = "arrow")]
pub use arrow::{ArrowOptions, Decimals, archive_schema, bars_schema};
pub use bar::SeriesBar;
pub use columns::Series;
