//! Where a result of an analysis came from.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::inputs::DocumentRevision;
use crate::error::Unreadable;
use crate::prices::BarsDigest;

/// What a result was computed from, beside what is stored of that now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Lineage {
    /// When the result was computed.
    pub calculated_at: DateTime<Utc>,
    /// Whether the result recorded its inputs; otherwise there is nothing below.
    pub is_recorded: bool,
    /// The documents, in the order in which they were recorded.
    pub documents: Vec<DocumentLineage>,
    /// The bars, in the order in which they were recorded.
    pub bars: Vec<BarsLineage>,
    /// Stored rows of these that cannot be read. Their values are missing above: the time of a document, the provider of a
    /// bar.
    #[serde(default)]
    pub unreadable: Vec<Unreadable>,
}

impl Lineage {
    /// Whether everything that it came from is still as it was.
    pub fn is_current(&self) -> bool {
        self.documents.iter().all(DocumentLineage::is_current)
            && self.bars.iter().all(BarsLineage::is_current)
    }
}

/// A cached document that a result came from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DocumentLineage {
    /// Which document, in which revision.
    pub input: DocumentRevision,
    /// The entry's revision now; `None`: it is gone.
    pub current_revision: Option<i64>,
    /// The provider of the document as it is now.
    pub data_source: Option<String>,
    /// When the document as it is now was stored; `None`: it is gone, or that cannot be read.
    pub cached_at: Option<DateTime<Utc>>,
}

impl DocumentLineage {
    /// Whether the document is as it was.
    pub fn is_current(&self) -> bool {
        self.current_revision == Some(self.input.revision)
    }
}

/// The bars of a ticker that a result came from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BarsLineage {
    /// Whose bars, and their digest then.
    pub input: BarsDigest,
    /// Their digest now.
    pub current_digest: i64,
    /// Bars that were corrected or deleted since the result was computed: what they were before is kept
    /// ([`range_as_of`](crate::prices::PriceRepository::range_as_of)).
    pub replaced_since: u64,
    /// The providers of the bars as they are now, by name.
    pub sources: Vec<BarsSource>,
}

impl BarsLineage {
    /// Whether the bars are as they were.
    pub fn is_current(&self) -> bool {
        self.current_digest == self.input.digest
    }
}

/// A provider's share of a ticker's bars.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BarsSource {
    /// The provider.
    pub data_source: Option<String>,
    /// How many bars.
    pub bars: u64,
    /// Start of the first of them.
    pub first: DateTime<Utc>,
    /// Start of the last of them.
    pub last: DateTime<Utc>,
}
