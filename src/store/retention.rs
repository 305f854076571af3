//! What reads of expiring rows and their clean-up answer.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// A value that is handed out whether it has expired or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aged<T> {
    /// The value.
    pub value: T,
    /// How long ago it was made, by the database's clock; zero where its time lies ahead.
    pub age: Duration,
    /// Whether it is past its expiry, by the database's clock.
    pub is_expired: bool,
}

impl<T> Aged<T> {
    /// A value made at `made` that expires at `expires`, as seen at `now`.
    pub(crate) fn new(
        value: T,
        made: DateTime<Utc>,
        expires: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Self {
        Aged {
            value,
            age: (now - made).to_std().unwrap_or_default(),
            is_expired: expires.is_some_and(|expires| expires <= now),
        }
    }

    /// The value, if it has not expired.
    pub fn fresh(self) -> Option<T> {
        (!self.is_expired).then_some(self.value)
    }
}

/// Which snapshots of option chains are not to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Retention {
    /// Those taken longer ago.
    pub older_than: Duration,
    /// But not the last one of each underlying and day, by UTC.
    #[serde(default)]
    pub keep_last_of_day: bool,
}

impl Retention {
    /// Nothing that was taken longer ago is kept.
    pub fn older_than(age: Duration) -> Self {
        Retention { older_than: age, keep_last_of_day: false }
    }

    /// But the last snapshot of each underlying and day (by UTC), however old.
    pub fn keep_last_of_day(self) -> Self {
        Retention { keep_last_of_day: true, ..self }
    }
}

/// What one batch of a clean-up did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepReport {
    /// Rows deleted.
    pub deleted: u64,
    /// Whether the batch was full, so that another may find more; otherwise nothing is left but what
    /// another sweeper is at.
    pub more_left: bool,
}

impl SweepReport {
    /// The outcome of a batch of up to `limit` rows.
    pub(crate) fn new(deleted: u64, limit: u32) -> Self {
        SweepReport { deleted, more_left: limit > 0 && deleted >= u64::from(limit) }
    }
}
