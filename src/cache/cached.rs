//! What a lookup returns.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize, Serializer};

use super::packed::Encoded;
use crate::error::Result;
use crate::types::{Document, UnitInterval, span};

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Origin {
    /// This process's memory.
    Memory,
    /// Redis.
    Redis,
    /// The table, where another call or process had stored it.
    Database,
    /// The fetch that this call made or waited for.
    Fetched,
    /// Any level, after its expiry: the fetch is under way, has failed, or is delayed.
    Stale,
}

impl Origin {
    /// Its name, as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Origin::Memory => "memory",
            Origin::Redis => "redis",
            Origin::Database => "database",
            Origin::Fetched => "fetched",
            Origin::Stale => "stale",
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A cached value, and what is known of it. As JSON: `value`, `origin`, `age_seconds`, and where they are known `source`
/// and `quality`.
#[derive(Debug)]
pub struct Cached<T> {
    /// The value, shared with the memory level.
    pub value: Arc<T>,
    /// Where it came from.
    pub origin: Origin,
    /// How long ago it was stored.
    pub age: Duration,
    entry: Arc<Entry<T>>,
}

impl<T> Cached<T> {
    pub(super) fn new(entry: Arc<Entry<T>>, origin: Origin, now: Instant) -> Self {
        Cached { value: entry.value.clone(), origin, age: entry.age_at(now), entry }
    }

    /// Name of the provider.
    pub fn source(&self) -> Option<&str> {
        self.entry.source.as_deref()
    }

    /// Quality of the value.
    pub fn quality(&self) -> Option<&UnitInterval> {
        self.entry.quality.as_ref()
    }

    /// Whether the value is past its expiry.
    pub fn is_stale(&self) -> bool {
        self.origin == Origin::Stale
    }

    /// The watermark for what is computed from this value: it grows when the stored document changes.
    /// `None` where the value was not stored in the database.
    pub fn revision(&self) -> Option<i64> {
        (self.entry.revision > 0).then_some(self.entry.revision)
    }
}

impl<T: Serialize> Serialize for Cached<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Fields<'a, T> {
            value: &'a T,
            origin: Origin,
            age_seconds: f64,
            #[serde(skip_serializing_if = "Option::is_none")]
            source: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            quality: Option<&'a UnitInterval>,
        }
        let age_seconds = self.age.as_secs_f64();
        let (source, quality) = (self.source(), self.quality());
        Fields { value: &*self.value, origin: self.origin, age_seconds, source, quality }
            .serialize(serializer)
    }
}

/// The value, its origin and its age.
impl<T: fmt::Display> fmt::Display for Cached<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {:?} old)", self.value, self.origin, self.age)
    }
}

impl<T> Clone for Cached<T> {
    fn clone(&self) -> Self {
        Cached { value: self.value.clone(), entry: self.entry.clone(), ..*self }
    }
}

/// A value as the levels hand it on. Its times are those of a monotonic clock: `loaded` is taken
/// before the level is asked, so that a slow answer makes it older and never younger.
#[derive(Debug)]
pub(crate) struct Entry<T> {
    pub value: Arc<T>,
    /// 0: not stored in the database.
    pub version: i64,
    pub revision: i64,
    pub loaded: Instant,
    /// When it was loaded.
    pub age: Duration,
    pub fresh_for: Duration,
    pub kept_for: Duration,
    pub source: Option<Box<str>>,
    pub quality: Option<UnitInterval>,
    /// Bytes of its text.
    pub size: usize,
}

impl<T> Entry<T> {
    /// # Errors
    /// That of `decode`.
    pub fn unpack(
        packed: Encoded,
        loaded: Instant,
        decode: impl FnOnce(&Encoded) -> Result<T>,
    ) -> Result<Self> {
        Ok(Entry {
            value: Arc::new(decode(&packed)?),
            version: packed.version,
            revision: packed.revision,
            loaded,
            age: packed.age,
            fresh_for: packed.fresh_for,
            kept_for: packed.kept_for,
            source: packed.source,
            quality: packed.quality,
            size: packed.body.as_str().len(),
        })
    }

    /// The entry as other levels hold it, `body` being the text of its value.
    pub fn pack(&self, body: Document) -> Encoded {
        Encoded {
            version: self.version,
            revision: self.revision,
            age: self.age,
            fresh_for: self.fresh_for,
            kept_for: self.kept_for,
            source: self.source.clone(),
            quality: self.quality.clone(),
            body,
        }
    }

    pub fn age_at(&self, now: Instant) -> Duration {
        self.age.saturating_add(now.saturating_duration_since(self.loaded))
    }

    pub fn is_fresh_at(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.loaded) < self.fresh_for
    }

    /// Whether it may be served to a caller who accepts values `stale_for` past their expiry.
    pub fn is_usable_at(&self, now: Instant, stale_for: Duration) -> bool {
        let passed = now.saturating_duration_since(self.loaded);
        // What had expired when it was loaded expired at an unknown time before: its window is what
        // the row says.
        passed < self.kept_for && passed < self.fresh_for.saturating_add(stale_for)
    }

    /// Whether this share of its life is over.
    pub fn is_due_at(&self, now: Instant, share: f64) -> bool {
        self.age_at(now) >= span::share(span::sum(self.age, self.fresh_for), share)
    }
}
