//! What is cached: documents of providers, or results of analyses.

use std::sync::Arc;
use std::time::Instant;

use futures_util::future::BoxFuture;

use super::cached::{Cached, Entry};
use super::database::DatabaseLevel;
use super::fetched::BoxError;
use super::packed::Encoded;
use super::policy::Policy;
use crate::error::{Error, Result};
use crate::postgres::PgConnection;
use crate::store::{EntryKey, EntryKeyRef};

/// A fetch, with its types put away.
pub(crate) type Job<K> = Box<
    dyn FnOnce(
            Option<Cached<<K as Cacheable>::Value>>,
        ) -> BoxFuture<'static, Result<<K as Cacheable>::New, BoxError>>
        + Send,
>;

/// An entry, and how other levels hold it, where somebody wants to know.
pub(crate) struct Read<T> {
    pub entry: Entry<T>,
    #[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "Redis alone wants it"))]
    pub packed: Option<Encoded>,
}

/// What became of a fetched value.
pub(crate) struct Settled<T> {
    pub read: Read<T>,
    /// Whether the levels may keep it. Not where the key was invalidated or put meanwhile.
    pub is_current: bool,
    /// Why the database has not stored it, as far as that is known.
    pub failure: Option<Error>,
}

/// One of the two caches.
pub(crate) trait Cacheable: Send + Sync + Sized + 'static {
    type Value: Send + Sync + 'static;
    /// What a fetch returns.
    type New: Send + 'static;
    /// The table of the rows, which errors name.
    const TABLE: &'static str;

    /// The key's row, fresh or not.
    fn read<'a>(
        connection: &'a PgConnection,
        address: EntryKeyRef<'a>,
        pack: bool,
    ) -> BoxFuture<'a, Result<Option<Read<Self::Value>>>>;

    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt).
    fn unpack(packed: Encoded, loaded: Instant) -> Result<Entry<Self::Value>>;

    /// Stores what a fetch returned: with a token only if the lease is still held by it and nobody
    /// has written the row since, without one in any case.
    fn settle<'a>(
        database: Option<&'a DatabaseLevel>,
        address: &'a EntryKey,
        token: Option<i64>,
        new: Self::New,
        policy: &'a Policy,
        previous: Option<Arc<Entry<Self::Value>>>,
        pack: bool,
    ) -> BoxFuture<'a, Result<Settled<Self::Value>>>;
}
