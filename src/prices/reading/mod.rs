//! Reading bars: as columns, Arrow batches, streams and Parquet files, and as they were known at a time.

#[cfg(feature = "arrow")]
pub(crate) mod arrow;
pub(crate) mod columns;
pub(crate) mod digest;
mod knowledge;
pub(crate) mod latest;
#[cfg(feature = "arrow")]
pub(crate) mod parquet;
pub(crate) mod revisions;
pub(crate) mod streamed;
#[cfg(feature = "arrow")]
mod values;
pub(crate) mod walk;

#[cfg(feature = "arrow")]
pub use arrow::{ArrowOptions, Decimals, archive_schema, bars_schema};
#[cfg(feature = "arrow")]
pub(crate) use arrow::{archive_batches, record_batches, restore_batch};
pub use columns::Series;
pub(crate) use columns::{days, micros, statement_of_spans};
#[cfg(feature = "arrow")]
pub(crate) use parquet::Contents;
