//! What the tables of market data have in common.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::types::text;

/// Maximum length of the name of a source, in characters.
const SOURCE_LENGTH: usize = 50;

/// The source of rows that name none, as the specification has it.
pub(crate) fn default_source() -> Cow<'static, str> {
    Cow::Borrowed("yfinance")
}

pub(crate) fn check_source(source: Option<&str>) -> Result<()> {
    source.map_or(Ok(()), |source| text::check_required("data_source", source, SOURCE_LENGTH))
}

pub(crate) fn check_count(field: &'static str, count: Option<i64>) -> Result<()> {
    match count {
        Some(n) if n < 0 => Err(Error::invalid(field, format!("{n}: must not be negative"))),
        _ => Ok(()),
    }
}

/// What an upsert did. Every item is counted once.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UpsertReport {
    /// Rows that were not there before.
    pub inserted: u64,
    /// Rows that were there with other values.
    pub updated: u64,
    /// Items that are stored already as they are: nothing was written for them.
    pub unchanged: u64,
    /// Items that another item further back, with the same key, replaced before anything was
    /// written: of several the last one counts.
    pub superseded: u64,
    /// Items that cannot be stored; the others were stored.
    pub rejected: Vec<Rejected>,
    /// Items of a stream that cannot be stored either, beyond those that are listed.
    pub rejected_unlisted: u64,
    /// Items that carry the flag `is_suspect`, stored or not; each is counted above, too.
    pub flagged: u64,
    /// Values (not items) that were rounded to what their column holds.
    pub quantised: u64,
}

impl UpsertReport {
    /// Rows written.
    pub fn written(&self) -> u64 {
        self.inserted + self.updated
    }

    /// All items.
    pub fn total(&self) -> u64 {
        self.written() + self.unchanged + self.superseded + self.rejected_count()
    }

    /// Items that cannot be stored, listed or not.
    pub fn rejected_count(&self) -> u64 {
        self.rejected.len() as u64 + self.rejected_unlisted
    }
}

/// What kind of rule an item breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RejectedKind {
    /// A rule on its values.
    #[default]
    Value,
    /// The day of a price bar cannot be right, whatever the layout of the table: the year is before 1600, after 2199, or
    /// more than thirty years after the present one by the database's clock (and after 2056). It is probably mistyped.
    ImplausibleDay,
    /// The year of a price bar is in a file: see `PricePartitions::archive_year` and `restore_year`.
    ArchivedYear,
    /// The table is partitioned and has no partition for the year of a price bar, which was not archived: see
    /// [`PricePartitions::create_years`](crate::prices::PricePartitions::create_years).
    NoPartition,
}

/// An item that an upsert left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// Position in the caller's input, counted from 0.
    pub index: usize,
    /// What kind of rule it breaks.
    #[serde(default)]
    pub kind: RejectedKind,
    /// The field that breaks a rule.
    pub field: Cow<'static, str>,
    /// Which rule.
    pub reason: String,
}

impl std::fmt::Display for Rejected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "item {}: invalid {}: {}", self.index, self.field, self.reason)
    }
}
