//! What an import did.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What became of a file's rows; every row is counted once.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ImportReport {
    /// Rows of the file, without its header and blank lines.
    pub rows: u64,
    /// Rows that were not stored before.
    pub inserted: u64,
    /// Rows that were stored with other values.
    pub updated: u64,
    /// Rows that were stored already as they are: nothing was written for them.
    pub unchanged: u64,
    /// Rows that a later row of the same batch, with the same key, replaced.
    pub superseded: u64,
    /// Rows that cannot be stored.
    pub rejected_rows: u64,
    /// The first of them, at most [`ImportReport::REJECTED_SHOWN`], by rising line.
    pub rejected: Vec<RejectedLine>,
    /// Rows that carry the flag `is_suspect`, stored or not; each is counted above, too.
    pub flagged: u64,
    /// Values (not rows) that were rounded to what their column holds.
    pub quantised: u64,
    /// Splits and dividends of the rows that were new or had other values.
    pub actions_written: u64,
    /// Splits and dividends that were stored already as they are.
    pub actions_unchanged: u64,
    /// Columns of the file that mean nothing to the import.
    pub ignored_columns: Vec<String>,
}

impl ImportReport {
    /// Most rejected rows that a report lists.
    pub const REJECTED_SHOWN: usize = 1_000;

    /// Adds what another file's report says: its counts, its rejected lines (as far as they are shown)
    /// and the columns that it ignored.
    pub fn add(&mut self, other: &ImportReport) {
        self.rows += other.rows;
        self.inserted += other.inserted;
        self.updated += other.updated;
        self.unchanged += other.unchanged;
        self.superseded += other.superseded;
        self.flagged += other.flagged;
        self.quantised += other.quantised;
        self.actions_written += other.actions_written;
        self.actions_unchanged += other.actions_unchanged;
        self.reject(other.rejected.iter().cloned());
        self.rejected_rows += other.rejected_rows - other.rejected.len() as u64;
        for column in &other.ignored_columns {
            if !self.ignored_columns.contains(column) {
                self.ignored_columns.push(column.clone());
            }
        }
    }

    pub(super) fn reject(&mut self, rejected: impl IntoIterator<Item = RejectedLine>) {
        for line in rejected {
            self.rejected_rows += 1;
            if self.rejected.len() < Self::REJECTED_SHOWN {
                self.rejected.push(line);
            }
        }
    }
}

impl fmt::Display for ImportReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ImportReport { rows, inserted, updated, unchanged, quantised, .. } = self;
        write!(f, "{rows} rows: {inserted} inserted, {updated} updated, {unchanged} unchanged")?;
        write!(f, ", {} superseded, {} rejected", self.superseded, self.rejected_rows)?;
        if self.flagged > 0 {
            write!(f, "; {} flagged", self.flagged)?;
        }
        let actions = self.actions_written + self.actions_unchanged;
        if actions > 0 {
            write!(f, "; {actions} splits and dividends")?;
        }
        write!(f, "; {quantised} values quantised")
    }
}

/// A row that an import left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedLine {
    /// The line it begins on, counted from 1, the header included.
    pub line: u64,
    /// The column, and what is wrong with its value.
    pub reason: String,
}

impl fmt::Display for RejectedLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}
