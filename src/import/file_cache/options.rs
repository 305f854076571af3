//! What the files of a cache do not say of themselves.

use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::import::{Progress, ProgressObserver};
use crate::market_cache::{CacheKey, PutOptions};
use crate::types::{DataType, Ticker};

type Keys = Arc<dyn Fn(&Path) -> Result<Option<CacheKey>> + Send + Sync>;
type Filter = Arc<dyn Fn(&Path) -> bool + Send + Sync>;

/// How the files of a cache are read.
#[derive(Clone)]
pub struct FileCacheOptions {
    pub(super) shape: Shape,
    pub(super) kept: PutOptions,
    pub(super) keys: Keys,
    pub(super) filter: Filter,
    pub(super) non_finite_as_null: bool,
    pub(super) max_bytes: u64,
    pub(super) progress: Option<ProgressObserver>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Documents,
    Envelopes,
}

impl FileCacheOptions {
    /// Largest file that is read, decompressed, unless [`max_bytes`](Self::max_bytes) says otherwise.
    pub const MAX_BYTES: u64 = 64 << 20;

    /// Each file is a document, as the provider sent it. It was fetched when the file was written, and
    /// is `kept` from then on.
    pub fn documents(kept: PutOptions) -> Self {
        FileCacheOptions::new(Shape::Documents, kept)
    }

    /// Each file is an object that has the document as its member `data` and beside it what is known of it, each
    /// absent or null where it is not:
    ///
    /// | member | is |
    /// |---|---|
    /// | `timestamp`, `cached_at` or `fetched_at` | when it was fetched: ISO 8601 (without an offset UTC), or a number of seconds since 1970, of milliseconds from 1e11 on; else the time of the file |
    /// | `expires_at`; or `expiration`, `ttl` | until when it is live; or for how many seconds |
    /// | `stale_until` | until when it may stand in for one that cannot be fetched |
    /// | `ticker` or `symbol`, `data_type` or `type`, `parameters` or `params` | its key; else [`keys`](Self::keys) gives it |
    /// | `data_source` or `source`, `data_quality_score` or `quality`, `tags` | as in [`PutOptions`] |
    ///
    /// So a serialized [`CacheEntry`](crate::market_cache::CacheEntry) is read, too. What a file does not say is as in `kept`.
    pub fn envelopes(kept: PutOptions) -> Self {
        FileCacheOptions::new(Shape::Envelopes, kept)
    }

    fn new(shape: Shape, kept: PutOptions) -> Self {
        FileCacheOptions {
            shape,
            kept,
            keys: Arc::new(|path| key_of_name(path).map(Some)),
            filter: Arc::new(|path| !is_hidden(path)),
            non_finite_as_null: false,
            max_bytes: Self::MAX_BYTES,
            progress: None,
        }
    }

    /// Gives the key of a file by its path, relative to the cache's directory; `None`: it has none, and is
    /// rejected. Without this it is that of [`key_of_name`].
    pub fn keys(
        self,
        keys: impl Fn(&Path) -> Result<Option<CacheKey>> + Send + Sync + 'static,
    ) -> Self {
        FileCacheOptions { keys: Arc::new(keys), ..self }
    }

    /// Which files belong to the cache, by their path relative to its directory. Without this, all
    /// whose name does not begin with a dot.
    pub fn filter(self, filter: impl Fn(&Path) -> bool + Send + Sync + 'static) -> Self {
        FileCacheOptions { filter: Arc::new(filter), ..self }
    }

    /// Reads `NaN`, `Infinity` and `-Infinity`, which Python writes although JSON does not allow them, as null, and counts
    /// them. Without this such a file is rejected.
    pub fn non_finite_as_null(self) -> Self {
        FileCacheOptions { non_finite_as_null: true, ..self }
    }

    /// Rejects larger files, by their decompressed size.
    pub fn max_bytes(self, max_bytes: u64) -> Self {
        FileCacheOptions { max_bytes, ..self }
    }

    /// Calls `observer` after every batch; its rows are files.
    pub fn progress(self, observer: impl Fn(&Progress) + Send + Sync + 'static) -> Self {
        FileCacheOptions { progress: Some(Arc::new(observer)), ..self }
    }
}

impl std::fmt::Debug for FileCacheOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileCacheOptions")
            .field("shape", &self.shape)
            .field("kept", &self.kept)
            .field("non_finite_as_null", &self.non_finite_as_null)
            .field("max_bytes", &self.max_bytes)
            .finish_non_exhaustive()
    }
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// The key of a file `TICKER/TYPE.json` in a directory of its ticker, or `TICKER_TYPE.json` in the cache's own;
/// any extension, also followed by `.gz`. Without parameters.
///
/// ```
/// use buffetbot_db::import::key_of_name;
/// let key = key_of_name("BRK.B_balance_sheet.json.gz".as_ref())?;
/// assert_eq!((key.ticker.as_str(), key.data_type.as_str()), ("BRK.B", "balance_sheet"));
/// assert_eq!(key_of_name("cache/BRK.B/balance_sheet.json".as_ref())?, key);
/// # Ok::<(), buffetbot_db::Error>(())
/// ```
///
/// # Errors
/// [`Error::Invalid`] of `key`, `ticker` or `data_type`.
pub fn key_of_name(path: &Path) -> Result<CacheKey> {
    let unnamed =
        || Error::invalid("key", "its path is neither TICKER/TYPE.json nor TICKER_TYPE.json");
    let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(unnamed)?;
    let name = name.strip_suffix(".gz").unwrap_or(name);
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let directory = path.parent().and_then(Path::file_name);
    let (ticker, data_type) = match directory {
        Some(directory) => (directory.to_str().ok_or_else(unnamed)?, stem),
        None => stem.split_once('_').ok_or_else(unnamed)?,
    };
    Ok(CacheKey::new(&ticker.parse::<Ticker>()?, data_type.parse::<DataType>()?))
}
