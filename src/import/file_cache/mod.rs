//! The files in which a program has cached documents until now.

mod options;
mod parse;
mod reading;
mod report;
mod source;

pub use options::{FileCacheOptions, key_of_name};
pub use report::{FileCacheComparison, FileCacheReport, RejectedFile};
pub use source::{CachedFile, FileCacheSource};

use self::parse::of_field;
use self::reading::{Documents, Reading};
use crate::database::Repositories;
use crate::error::{Error, Result};
use crate::market_cache::{CacheKey, MarketCacheRepository};

/// Stores the live documents of a cache of files in [`market_cache`](Repositories::market_cache), with
/// the times that they have there.
///
/// Each batch of files is a transaction of its own; in a unit of work everything is part of it. A
/// document never replaces one that is as new or newer: the import can run again, and while programs
/// write to both caches. A file that cannot be stored is reported with its path and left out; it does not
/// stop the others. Symbolic links are not followed.
///
/// # Errors
/// `Invalid` of `directory`: it cannot be read; those of the database. What was stored before an
/// error stays.
pub async fn cache_from_files(
    repositories: &impl Repositories,
    source: impl Into<FileCacheSource>,
    options: FileCacheOptions,
) -> Result<FileCacheReport> {
    let cache = repositories.market_cache();
    let mut reading = Reading::start(source.into(), options)?;
    while let Some(batch) = reading.next().await? {
        store(cache, batch, &mut reading.report).await?;
        reading.tell();
    }
    Ok(reading.into_report())
}

/// Reads files as [`cache_from_files`] does, and stores nothing: which would be rejected and why. Which have expired
/// is decided by the database's clock; only those whose lifetime had no length are counted.
///
/// # Errors
/// As [`cache_from_files`], but for those of the database.
pub async fn check_cache_files(
    source: impl Into<FileCacheSource>,
    options: FileCacheOptions,
) -> Result<FileCacheReport> {
    let mut reading = Reading::start(source.into(), options)?;
    while reading.next().await?.is_some() {
        reading.tell();
    }
    Ok(reading.into_report())
}

/// Compares the live documents of a cache of files with what is stored: whether nothing is missing, before the
/// files are given up. Documents are equal as JSON values.
///
/// # Errors
/// As [`cache_from_files`].
pub async fn compare_cache_files(
    repositories: &impl Repositories,
    source: impl Into<FileCacheSource>,
    options: FileCacheOptions,
) -> Result<FileCacheComparison> {
    let cache = repositories.market_cache();
    let mut reading = Reading::start(source.into(), options)?;
    let mut comparison = FileCacheComparison::default();
    while let Some(batch) = reading.next().await? {
        compare(cache, batch, &mut reading.report, &mut comparison).await?;
        reading.tell();
    }
    comparison.files = reading.into_report();
    comparison.found.sort();
    Ok(comparison)
}

/// Stores a batch; what the database refuses of it is rejected and the rest stored.
async fn store(
    cache: &dyn MarketCacheRepository,
    batch: Documents,
    report: &mut FileCacheReport,
) -> Result<()> {
    let Documents { mut paths, mut documents } = batch;
    let filled = loop {
        match cache.backfill_many(&documents).await {
            Ok(filled) => break filled,
            Err(Error::Item { index, source }) if matches!(*source, Error::Invalid { .. }) => {
                documents.swap_remove(index);
                report.reject(paths.swap_remove(index), of_field(*source));
            }
            Err(error) => return Err(error),
        }
    };
    report.written += filled.written;
    report.kept += filled.kept;
    report.expired += filled.expired;
    Ok(())
}

async fn compare(
    cache: &dyn MarketCacheRepository,
    batch: Documents,
    report: &mut FileCacheReport,
    comparison: &mut FileCacheComparison,
) -> Result<()> {
    let keys: Vec<CacheKey> = batch.documents.iter().map(|d| d.entry.key.clone()).collect();
    // Before the entries are read: what expires in between is missing, and not overlooked.
    let now = cache.clock().await?;
    let stored = cache.get_many(&keys).await?;
    for ((path, file), stored) in batch.paths.into_iter().zip(batch.documents).zip(stored) {
        match stored {
            Some(stored) if stored.data == file.entry.data => comparison.equal += 1,
            Some(stored) if stored.cached_at > file.cached_at => comparison.newer += 1,
            _ if file.has_expired(now) => {
                report.expired += 1;
                continue;
            }
            Some(_) => comparison.differs(path),
            None => comparison.misses(path),
        }
        comparison.live += 1;
    }
    Ok(())
}
