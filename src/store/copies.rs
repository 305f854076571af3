//! Copies of rows that a process keeps in memory.

use std::any::Any;

use futures_util::future::BoxFuture;

use super::entry_key::EntryKeyRef;

/// Keeps copies of rows, and so has to hear when rows have changed. The cache does; this room does not know it.
pub(crate) trait Copies: Send + Sync + 'static {
    /// The row of this key has this version now.
    fn replaced<'a>(&'a self, key: EntryKeyRef<'a>, version: i64) -> BoxFuture<'a, ()>;

    /// Any row may have changed. Returns when the log of changes has been read.
    fn catch_up(&self) -> BoxFuture<'_, ()>;

    /// For callers above this room that look for a cache of their own type.
    fn as_any(&self) -> &dyn Any;
}
