//! Daily bars, and what is known of a history of them.

mod bar;
mod change;
mod coverage;
mod digest;
mod ingest;

pub use bar::{LatestBar, NewPriceBar, PriceBar, PriceRevision};
pub use change::{PriceBarFilter, PriceBarPatch};
pub use coverage::{Coverage, Gaps};
pub use digest::BarsDigest;
pub use ingest::{DeliveredBar, FloatBar, IngestOptions, SuspectPolicy};
pub(crate) use ingest::{check_day, needs_clock};
