//! Judging delivered bars, and accounting for each of them.

use std::ops::Deref;

use super::careful::Stored;
use super::order;
use crate::error::{Error, Result};
use crate::prices::bars::{DeliveredBar, IngestOptions, NewPriceBar, SuspectPolicy, check_day};
use crate::store::{Rejected, RejectedKind, UpsertReport, Written};

/// A bar that may be stored, and its place in the delivery.
pub(crate) struct Row<'a> {
    pub index: usize,
    pub bar: Bar<'a>,
}

/// A bar of the caller's, or one that was made of it. No larger than a reference, so that sorting moves
/// little.
pub(crate) enum Bar<'a> {
    Theirs(&'a NewPriceBar),
    Ours(Box<NewPriceBar>),
}

impl Deref for Bar<'_> {
    type Target = NewPriceBar;
    fn deref(&self) -> &NewPriceBar {
        match self {
            Bar::Theirs(bar) => bar,
            Bar::Ours(bar) => bar,
        }
    }
}

/// Takes bars in one by one, and gives them out in order.
pub(crate) struct Intake<'a> {
    pub options: &'a IngestOptions,
    pub report: UpsertReport,
    rows: Vec<Row<'a>>,
    /// Bars received, stored or not.
    taken: usize,
    /// Most rejected bars that the report lists.
    listed: usize,
}

impl<'a> Intake<'a> {
    pub fn new(options: &'a IngestOptions, listed: usize) -> Self {
        let (report, rows) = (UpsertReport::default(), Vec::new());
        Intake { options, report, rows, taken: 0, listed }
    }

    /// # Errors
    /// `Item`, with [`SuspectPolicy::Fail`].
    pub fn delivered(&mut self, bar: DeliveredBar) -> Result<()> {
        match bar.quantised(self.options.on_suspect) {
            Ok((bar, quantised)) => {
                self.report.quantised += quantised;
                self.exact(Bar::Ours(Box::new(bar)))
            }
            Err(error) => {
                let index = self.next_index();
                self.refuse(index, RejectedKind::Value, error)
            }
        }
    }

    /// # Errors
    /// `Item`, with [`SuspectPolicy::Fail`].
    pub fn exact(&mut self, bar: Bar<'a>) -> Result<()> {
        let index = self.next_index();
        if let Err(error) = bar.check_fields() {
            return self.refuse(index, RejectedKind::Value, error);
        }
        if let Err(error) = check_day(bar.date, None) {
            return self.refuse(index, RejectedKind::ImplausibleDay, error);
        }
        match bar.check_coherence() {
            Err(error) => {
                if let Some(row) = self.suspect(Row { index, bar }, error)? {
                    self.rows.push(row);
                }
            }
            Ok(()) => {
                // Flagged by its source, or where it was quantised.
                self.report.flagged += u64::from(bar.is_suspect);
                self.rows.push(Row { index, bar });
            }
        }
        Ok(())
    }

    /// What becomes of a suspicious bar: it is flagged, or rejected (`None`).
    ///
    /// # Errors
    /// `Item`, with [`SuspectPolicy::Fail`].
    pub fn suspect(&mut self, mut row: Row<'a>, error: Error) -> Result<Option<Row<'a>>> {
        if self.options.on_suspect != SuspectPolicy::Flag {
            return self.refuse(row.index, RejectedKind::Value, error).map(|()| None);
        }
        self.report.flagged += 1;
        row.bar = Bar::Ours(Box::new(NewPriceBar { is_suspect: true, ..row.bar.clone() }));
        Ok(Some(row))
    }

    /// What was received since the last call, in the order in which it is stored; of bars with equal keys
    /// the last one.
    pub fn sorted(&mut self) -> Vec<Row<'a>> {
        let mut rows = order::sort(std::mem::take(&mut self.rows));
        let all = rows.len();
        // Of equals the last stays, where the first of them was.
        rows.dedup_by(|later, kept| {
            let equal = later.bar.date == kept.bar.date && later.bar.ticker == kept.bar.ticker;
            if equal {
                std::mem::swap(later, kept);
            }
            equal
        });
        self.report.superseded += (all - rows.len()) as u64;
        rows
    }

    /// Accounts for `rows` bars that were stored.
    pub fn wrote(&mut self, rows: usize, written: Written) {
        self.report.inserted += written.inserted;
        self.report.updated += written.updated;
        self.report.unchanged += rows as u64 - written.inserted - written.updated;
    }

    /// Accounts for a chunk; the table may have no room for some of its bars.
    ///
    /// # Errors
    /// `Item`, with [`SuspectPolicy::Fail`].
    pub fn stored(&mut self, stored: Stored) -> Result<()> {
        self.wrote(stored.rows, stored.written);
        for (index, refusal) in stored.refused {
            self.refuse(index, refusal.kind, refusal.error)?;
        }
        Ok(())
    }

    /// What became of all bars.
    pub fn finish(mut self) -> UpsertReport {
        self.report.rejected.sort_by_key(|rejected| rejected.index);
        self.report
    }

    fn next_index(&mut self) -> usize {
        self.taken += 1;
        self.taken - 1
    }

    /// Leaves a bar out.
    ///
    /// # Errors
    /// `Item`, with [`SuspectPolicy::Fail`].
    pub fn refuse(&mut self, index: usize, kind: RejectedKind, error: Error) -> Result<()> {
        if self.options.on_suspect == SuspectPolicy::Fail {
            return Err(error.at(index));
        }
        match error {
            Error::Invalid { .. } if self.report.rejected.len() >= self.listed => {
                self.report.rejected_unlisted += 1;
            }
            Error::Invalid { field, reason } => {
                self.report.rejected.push(Rejected { index, kind, field, reason });
            }
            other => return Err(other.at(index)),
        }
        Ok(())
    }
}
