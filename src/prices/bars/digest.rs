//! By what a change of a history is seen.

use serde::{Deserialize, Serialize};

use crate::types::Ticker;

/// A digest of all stored bars of a ticker; see
/// [`PriceRepository::digest`](crate::prices::PriceRepository::digest).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BarsDigest {
    /// The ticker.
    pub ticker: Ticker,
    /// The digest, 64 bits; it shows whether two histories are equal, nothing else.
    pub digest: i64,
}
