//! Loading files of market data.
//!
//! A CSV file, compressed by gzip or not, is read in a thread of its own and stored batch by batch, so that memory stays bounded
//! whatever its size. A row that cannot be stored is reported with its line and left out; it does
//! not stop the file. Loading a file again changes nothing.
//!
//! ```no_run
//! use buffetbot_db::import::{self, CsvOptions};
//! # async fn example(db: &buffetbot_db::Database) -> buffetbot_db::Result<()> {
//! let options = CsvOptions::new().ticker("AAPL".parse()?).source("yahoo");
//! let report = import::prices_from_csv(db, "AAPL.csv", options).await?;
//! println!("{report}");
//! # Ok(())
//! # }
//! ```
//!
//! [`cache_from_files`] takes over the files in which a program has cached documents until now, and
//! [`compare_cache_files`] reports whether all of them are stored:
//!
//! ```no_run
//! use buffetbot_db::market_cache::PutOptions;
//! use buffetbot_db::import::{self, FileCacheOptions};
//! # async fn example(db: &buffetbot_db::Database) -> buffetbot_db::Result<()> {
//! // Files `cache/AAPL_fundamentals.json`, each fetched when it was written and good for a day.
//! let a_day = std::time::Duration::from_secs(24 * 60 * 60);
//! let options = FileCacheOptions::documents(PutOptions::ttl(a_day).source("yahoo"));
//! let report = import::cache_from_files(db, "cache", options.clone()).await?;
//! println!("{report}");
//! assert!(import::compare_cache_files(db, "cache", options).await?.is_complete());
//! # Ok(())
//! # }
//! ```
//!
//! # Numbers
//!
//! Files often hold floats with noise behind their last true digit. A number that its column does
//! not hold exactly is quantised: rounded to the column's scale, half to even, and counted in
//! [`ImportReport::quantised`]. NaN, infinities and numbers that do not fit are rejected. An empty
//! field or `null` is an absent value.

mod field;
mod file_cache;
mod header;
mod input;
mod options;
mod prices;
mod reader;
mod report;

use std::borrow::Cow;
use std::sync::Arc;

use chrono::{DateTime, Utc};

pub use file_cache::{
    CachedFile, FileCacheComparison, FileCacheOptions, FileCacheReport, FileCacheSource,
    RejectedFile, cache_from_files, check_cache_files, compare_cache_files, key_of_name,
};
pub use options::options_from_csv;
pub use prices::{check_prices_csv, prices_from_csv};
pub use reader::CsvSource;
pub use report::{ImportReport, RejectedLine};

use crate::prices::IngestOptions;
use crate::types::Ticker;

/// How far an import is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Rows dealt with; of a cache, files.
    pub rows: u64,
    /// Bytes that they took.
    pub bytes: u64,
    /// Bytes of the whole file, where there is one and its size is known.
    pub total_bytes: Option<u64>,
}

/// Called after every batch, on the task that imports; it should return quickly.
pub type ProgressObserver = Arc<dyn Fn(&Progress) + Send + Sync>;

/// What a file does not say of itself.
#[derive(Clone)]
pub struct CsvOptions {
    ticker: Option<Ticker>,
    source: Cow<'static, str>,
    ingest: IngestOptions,
    fetched_at: Option<DateTime<Utc>>,
    progress: Option<ProgressObserver>,
}

impl CsvOptions {
    /// No ticker, source `csv`.
    pub fn new() -> Self {
        CsvOptions {
            ticker: None,
            source: Cow::Borrowed("csv"),
            ingest: IngestOptions::new(),
            fetched_at: None,
            progress: None,
        }
    }

    /// The ticker of rows that name none.
    pub fn ticker(self, ticker: Ticker) -> Self {
        CsvOptions { ticker: Some(ticker), ..self }
    }

    /// The name under which the rows' source is stored, at most 50 characters.
    pub fn source(self, source: impl Into<Cow<'static, str>>) -> Self {
        CsvOptions { source: source.into(), ..self }
    }

    /// What becomes of suspicious price bars. With [`SuspectPolicy::Fail`](crate::prices::SuspectPolicy::Fail)
    /// the import ends at the first batch with a row that cannot be stored.
    pub fn ingest(self, options: IngestOptions) -> Self {
        CsvOptions { ingest: options, ..self }
    }

    /// The time of option quotes that name none. Without it they take the time of storing, so that
    /// loading the file again makes another snapshot.
    pub fn fetched_at(self, fetched_at: DateTime<Utc>) -> Self {
        CsvOptions { fetched_at: Some(fetched_at), ..self }
    }

    /// Calls `observer` after every batch.
    pub fn progress(self, observer: impl Fn(&Progress) + Send + Sync + 'static) -> Self {
        CsvOptions { progress: Some(Arc::new(observer)), ..self }
    }
}

impl Default for CsvOptions {
    fn default() -> Self {
        CsvOptions::new()
    }
}

impl std::fmt::Debug for CsvOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CsvOptions")
            .field("ticker", &self.ticker)
            .field("source", &self.source)
            .field("ingest", &self.ingest)
            .field("fetched_at", &self.fetched_at)
            .finish_non_exhaustive()
    }
}
