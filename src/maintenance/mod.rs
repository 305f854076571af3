//! Work on the database as a whole, beside the repositories.

mod partitions;
mod rebuild;

pub use partitions::{PriceLayout, PricePartition, PricePartitions};
pub use rebuild::RebuildProgress;
