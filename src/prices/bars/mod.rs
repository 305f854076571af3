//! Daily bars, and what is known of a history of them.

mod bar;
mod coverage;
mod digest;
mod ingest;

pub use bar::{LatestBar, NewPriceBar, PriceBar, PriceBarFilter, PriceBarPatch, PriceRevision};
pub use coverage::{Coverage, Gaps};
pub use digest::BarsDigest;
pub use ingest::{DeliveredBar, FloatBar, IngestOptions, SuspectPolicy};
pub(crate) use ingest::{check_day, needs_clock};
