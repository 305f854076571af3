//! Work on the database as a whole, beside the repositories.

#[cfg(feature = "arrow")]
mod archive;
mod layout;
mod rebuild;
#[cfg(feature = "arrow")]
mod restore;

#[cfg(feature = "arrow")]
pub use archive::PriceArchive;
pub use layout::{PriceLayout, PricePartition, PricePartitions};
pub use rebuild::RebuildProgress;
