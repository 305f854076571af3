//! Reading files beside the runtime, batch by batch.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use super::options::FileCacheOptions;
use super::parse::{Parsed, parse};
use super::report::FileCacheReport;
use super::source::{CachedFile, FileCacheSource, Missed};
use crate::error::Result;
use crate::import::field::Reason;
use crate::import::input::{Counted, beside, ended, gunzipped, unreadable_because};
use crate::import::{Progress, ProgressObserver, input};
use crate::market_cache::Backfill;

/// Files of a batch, and bytes of documents from which on it is full.
const BATCH: u64 = 500;
const BATCH_BYTES: usize = 8 << 20;

/// Batches that may wait to be stored while the next is read.
const WAITING: usize = 1;

/// Live documents, and the files that they are from.
#[derive(Default)]
pub(super) struct Documents {
    pub paths: Vec<PathBuf>,
    pub documents: Vec<Backfill>,
}

#[derive(Default)]
struct Batch {
    live: Documents,
    /// What reading the files came to.
    report: FileCacheReport,
    weight: usize,
    /// Bytes read so far, as they lie in the files.
    bytes: u64,
}

impl Batch {
    fn is_full(&self) -> bool {
        let seen = self.report.files + self.report.ignored_files;
        seen >= BATCH || self.weight >= BATCH_BYTES
    }
}

/// Files that are being read, and what became of them so far.
pub(super) struct Reading {
    batches: mpsc::Receiver<Batch>,
    thread: Option<input::Reading<()>>,
    pub report: FileCacheReport,
    bytes: u64,
    observer: Option<ProgressObserver>,
}

impl Reading {
    /// # Errors
    /// There can be no thread to read in.
    pub fn start(source: FileCacheSource, options: FileCacheOptions) -> Result<Self> {
        let (sender, batches) = mpsc::channel(WAITING);
        let observer = options.progress.clone();
        let thread = beside(move || read(source, &options, &sender))?;
        let report = FileCacheReport::default();
        Ok(Reading { batches, thread: Some(thread), report, bytes: 0, observer })
    }

    /// The next live documents, maybe none of many files; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Documents>> {
        match self.batches.recv().await {
            Some(batch) => {
                self.report.add(&batch.report);
                self.bytes = batch.bytes;
                Ok(Some(batch.live))
            }
            None => match self.thread.take() {
                Some(thread) => ended(thread).await.map(|()| None),
                None => Ok(None),
            },
        }
    }

    /// Notifies the observer.
    pub fn tell(&self) {
        if let Some(observer) = &self.observer {
            observer(&Progress { rows: self.report.files, bytes: self.bytes, total_bytes: None });
        }
    }

    pub fn into_report(mut self) -> FileCacheReport {
        self.report.rejected.sort();
        self.report
    }
}

/// Reads everything, until nobody waits for it any more.
fn read(
    source: FileCacheSource,
    options: &FileCacheOptions,
    batches: &mpsc::Sender<Batch>,
) -> Result<()> {
    let bytes = Arc::new(AtomicU64::new(0));
    let mut batch = Batch::default();
    for found in source.open()? {
        if batches.is_closed() {
            return Ok(());
        }
        match found {
            Ok(file) if !(options.filter)(&file.path) => batch.report.ignored_files += 1,
            Ok(file) => one(file, options, &bytes, &mut batch),
            Err(Missed::One(path, reason)) => {
                batch.report.files += 1;
                batch.report.reject(path, reason);
            }
            Err(Missed::All(error)) => return Err(error),
        }
        if batch.is_full() {
            batch.bytes = bytes.load(Ordering::Relaxed);
            if batches.blocking_send(std::mem::take(&mut batch)).is_err() {
                return Ok(());
            }
        }
    }
    batch.bytes = bytes.load(Ordering::Relaxed);
    let _nobody_waits = batches.blocking_send(batch);
    Ok(())
}

fn one(file: CachedFile, options: &FileCacheOptions, bytes: &Arc<AtomicU64>, batch: &mut Batch) {
    let CachedFile { path, modified, content } = file;
    batch.report.files += 1;
    let content = Counted { input: content, bytes: bytes.clone() };
    let parsed = contents(content, options.max_bytes)
        .and_then(|contents| parse(&path, &contents, modified, options));
    let Parsed { document, nulled, ignored } = match parsed {
        Ok(parsed) => parsed,
        Err(reason) => return batch.report.reject(path, reason),
    };
    batch.report.nulled += nulled;
    for member in ignored {
        batch.report.ignore(member);
    }
    match document {
        Some(document) => {
            batch.weight += document.entry.weight();
            batch.live.paths.push(path);
            batch.live.documents.push(document);
        }
        None => batch.report.expired += 1,
    }
}

/// What is in a file, decompressed.
fn contents(file: impl Read + Send + 'static, max_bytes: u64) -> Result<Vec<u8>, Reason> {
    let mut contents = Vec::new();
    let read = gunzipped(file)
        .and_then(|text| text.take(max_bytes.saturating_add(1)).read_to_end(&mut contents));
    match read {
        Err(e) => Err(unreadable_because(&e)),
        Ok(length) if length as u64 > max_bytes => Err(format!("larger than {max_bytes} bytes")),
        Ok(_) => Ok(contents),
    }
}
