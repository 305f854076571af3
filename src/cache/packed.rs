//! A cached value between levels: what a row, or an entry of Redis, says of it.

use std::time::Duration;

use crate::types::{Document, UnitInterval};

/// A value as text, with what is known of it. Times are spans from the moment of reading, so that no
/// clock but the database's matters.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Encoded {
    /// The row's version: of two copies the one with the greater is newer.
    pub version: i64,
    /// Grows when the document changes.
    pub revision: i64,
    /// How long ago it was stored.
    pub age: Duration,
    /// How long it is fresh from now on; zero: it has expired.
    pub fresh_for: Duration,
    /// How long it may be served from now on, fresh or stale; at least `fresh_for`.
    pub kept_for: Duration,
    /// Name of the provider.
    pub source: Option<Box<str>>,
    pub quality: Option<UnitInterval>,
    pub body: Document,
}

impl Encoded {
    /// As it is so much later: what an answer took counts.
    #[cfg(feature = "redis")]
    pub fn aged(self, passed: Duration) -> Self {
        Encoded {
            age: self.age.saturating_add(passed),
            fresh_for: self.fresh_for.saturating_sub(passed),
            kept_for: self.kept_for.saturating_sub(passed),
            ..self
        }
    }

    #[cfg(feature = "redis")]
    pub fn is_fresh(&self) -> bool {
        !self.fresh_for.is_zero()
    }
}
