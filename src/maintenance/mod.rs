//! Work on the database as a whole, beside the repositories.

#[cfg(feature = "arrow")]
mod archive;
mod partitions;
mod rebuild;
#[cfg(feature = "arrow")]
mod restore;

#[cfg(feature = "arrow")]
pub use archive::PriceArchive;
pub use partitions::{PriceLayout, PricePartition, PricePartitions};
pub use rebuild::RebuildProgress;
