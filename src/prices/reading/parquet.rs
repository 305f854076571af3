//! Archives of bars: Parquet files with checksums of what was written.
//!
//! A file holds batches of [`archive_schema`], compressed by Snappy. Its key-value metadata hold the
//! version of this form (`buffetbot.version`), the year (`buffetbot.year`), the number of rows
//! (`buffetbot.rows`) and per column the
//! SHA-256 of its values (`buffetbot.sha256.<column>`, in hexadecimal), over the canonical bytes of each
//! value in the order of rows: see `Values::digest`.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use ::parquet::arrow::ArrowWriter;
use ::parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use ::parquet::basic::Compression;
use ::parquet::file::metadata::KeyValue;
use ::parquet::file::properties::WriterProperties;
use arrow_array::RecordBatch;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, Stream, StreamExt};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::arrow::{ARCHIVED, archive_schema};
use super::values::Values;
use crate::error::{Error, Result};
use crate::postgres::channel_stream;

const VERSION: &str = "1";
const VERSION_KEY: &str = "buffetbot.version";
const YEAR_KEY: &str = "buffetbot.year";
const ROWS_KEY: &str = "buffetbot.rows";
const CHECKSUM_KEY: &str = "buffetbot.sha256.";

/// Rows of one row group, which is in memory, encoded, until it is written.
const GROUP_ROWS: usize = 1 << 17;

/// What an archive holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Contents {
    /// The year that it holds.
    pub year: i32,
    /// How many rows.
    pub rows: u64,
    /// Per column the SHA-256 of its values, in hexadecimal.
    pub checksums: BTreeMap<String, String>,
}

/// Contents that are being counted.
struct Tally {
    rows: u64,
    checksums: Vec<Sha256>,
}

impl Tally {
    fn new() -> Self {
        Tally { rows: 0, checksums: vec![Sha256::new(); ARCHIVED.len()] }
    }

    fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        for (values, checksum) in Values::of_batch(batch)?.iter().zip(&mut self.checksums) {
            values.digest(checksum);
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    fn finish(self, year: i32) -> Contents {
        let hex = |checksum: Sha256| -> String {
            checksum.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
        };
        let names = ARCHIVED.iter().map(|column| column.name.to_owned());
        let checksums = names.zip(self.checksums.into_iter().map(hex)).collect();
        Contents { year, rows: self.rows, checksums }
    }
}

/// What batches of [`archive_schema`] hold.
///
/// # Errors
/// The first error of the stream.
pub(crate) async fn contents(
    year: i32,
    batches: impl Stream<Item = Result<RecordBatch>>,
) -> Result<Contents> {
    let mut batches = std::pin::pin!(batches);
    let mut tally = Tally::new();
    while let Some(batch) = batches.next().await {
        tally.add(&batch?)?;
    }
    Ok(tally.finish(year))
}

fn failed(path: &Path, reason: impl std::fmt::Display) -> Error {
    Error::Archive { path: path.to_owned(), reason: reason.to_string() }
}

/// Removes a file that was not finished.
struct Unfinished(Option<PathBuf>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // No caller is left to report to.
            let _ = std::fs::remove_file(path);
        }
    }
}

enum Part {
    Batch(RecordBatch),
    End,
}

/// Writes an archive, in place of one that is there: to a temporary name beside it, which becomes `path`
/// when all is on disk. A file at `path` is always whole. One batch and one row group are in memory.
///
/// # Errors
/// The first error of the stream; [`Error::Invalid`] of a batch of another schema than
/// [`archive_schema`]; [`Error::Archive`]. Nothing is left behind then, nor when it is dropped.
pub(crate) async fn write(
    path: impl Into<PathBuf>,
    year: i32,
    batches: impl Stream<Item = Result<RecordBatch>>,
) -> Result<Contents> {
    let path = path.into();
    let (sender, parts) = mpsc::channel(1);
    let target = path.clone();
    let writing = tokio::task::spawn_blocking(move || write_file(&target, year, parts));
    let mut batches = std::pin::pin!(batches);
    let mut stopped = None;
    loop {
        let part = match batches.next().await {
            Some(Ok(batch)) => Part::Batch(batch),
            Some(Err(error)) => {
                stopped = Some(error);
                break;
            }
            None => Part::End,
        };
        let last = matches!(part, Part::End);
        // Refused only by a writer that has ended, and its error says why.
        if sender.send(part).await.is_err() || last {
            break;
        }
    }
    drop(sender);
    let written = writing.await.map_err(|e| failed(&path, e))?;
    stopped.map_or(written, Err)
}

fn write_file(path: &Path, year: i32, mut parts: mpsc::Receiver<Part>) -> Result<Contents> {
    let error = |e: &dyn std::fmt::Display| failed(path, e);
    let mut name = path.file_name().ok_or_else(|| failed(path, "no file name"))?.to_owned();
    name.push(format!(".{}.tmp", uuid::Uuid::new_v4().simple()));
    let temporary = path.with_file_name(name);
    let file = File::create_new(&temporary).map_err(|e| error(&e))?;
    let mut unfinished = Unfinished(Some(temporary.clone()));
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .build();
    let mut writer =
        ArrowWriter::try_new(file, archive_schema(), Some(properties)).map_err(|e| error(&e))?;
    let mut tally = Tally::new();
    loop {
        match parts.blocking_recv() {
            Some(Part::Batch(batch)) => {
                if batch.schema() != archive_schema() {
                    return Err(Error::invalid("batch", "has another schema than archives have"));
                }
                tally.add(&batch)?;
                writer.write(&batch).map_err(|e| error(&e))?;
            }
            Some(Part::End) => break,
            None => return Err(failed(path, "the rows ended early")),
        }
    }
    let contents = tally.finish(year);
    let mut note = |key: String, value: String| {
        writer.append_key_value_metadata(KeyValue::new(key, value));
    };
    note(VERSION_KEY.into(), VERSION.into());
    note(YEAR_KEY.into(), year.to_string());
    note(ROWS_KEY.into(), contents.rows.to_string());
    for (column, checksum) in &contents.checksums {
        note(format!("{CHECKSUM_KEY}{column}"), checksum.clone());
    }
    let file = writer.into_inner().map_err(|e| error(&e))?;
    file.sync_all().map_err(|e| error(&e))?;
    std::fs::rename(&temporary, path).map_err(|e| error(&e))?;
    unfinished.0 = None;
    // The new name is durable once its folder is; the file itself is whole in any case.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = File::open(folder.unwrap_or(Path::new("."))).map_err(|e| error(&e))?;
    folder.sync_all().map_err(|e| error(&e))?;
    Ok(contents)
}

/// Opens an archive, and what it says that it holds.
fn open(path: &Path) -> Result<(ParquetRecordBatchReader, Contents)> {
    let error = |e: &dyn std::fmt::Display| failed(path, e);
    let file = File::open(path).map_err(|e| error(&e))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| error(&e))?;
    let metadata = builder.metadata().file_metadata().key_value_metadata();
    let noted = |key: &str| {
        let entry = metadata.into_iter().flatten().find(|entry| entry.key == key);
        entry.and_then(|e| e.value.clone()).ok_or_else(|| failed(path, format!("no {key} in it")))
    };
    let version = noted(VERSION_KEY)?;
    if version != VERSION {
        return Err(failed(path, format!("version {version}, expected {VERSION}")));
    }
    if builder.schema().fields() != archive_schema().fields() {
        return Err(failed(path, "another schema than archives have"));
    }
    let number = |key: &str, text: String| -> Result<u64> {
        text.parse().map_err(|e| failed(path, format!("{key}: {e}")))
    };
    let year = i32::try_from(number(YEAR_KEY, noted(YEAR_KEY)?)?).map_err(|e| error(&e))?;
    let rows = number(ROWS_KEY, noted(ROWS_KEY)?)?;
    let mut checksums = BTreeMap::new();
    for column in &ARCHIVED {
        checksums.insert(column.name.to_owned(), noted(&format!("{CHECKSUM_KEY}{}", column.name))?);
    }
    let reader = builder.build().map_err(|e| error(&e))?;
    Ok((reader, Contents { year, rows, checksums }))
}

/// Reads an archive back, every value of it, and compares it with what it says that it holds.
///
/// # Errors
/// [`Error::Archive`] of a file that cannot be read or holds something else.
pub(crate) async fn verify(path: impl Into<PathBuf>) -> Result<Contents> {
    let path = path.into();
    let target = path.clone();
    let reading = tokio::task::spawn_blocking(move || {
        let (reader, noted) = open(&target)?;
        let mut tally = Tally::new();
        for batch in reader {
            tally.add(&batch.map_err(|e| failed(&target, e))?)?;
        }
        let read = tally.finish(noted.year);
        if read.rows != noted.rows {
            let reason = format!("{} rows, noted are {}", read.rows, noted.rows);
            return Err(failed(&target, reason));
        }
        match read.checksums.iter().find(|(name, sum)| noted.checksums.get(*name) != Some(*sum)) {
            Some((name, _)) => Err(failed(&target, format!("column {name}: another checksum"))),
            None => Ok(read),
        }
    });
    // A decoder that panics over damaged bytes ends here, too.
    reading.await.map_err(|_| failed(&path, "cannot be decoded"))?
}

/// As [`verify`], of a file that may not be there.
pub(crate) async fn verify_existing(path: impl Into<PathBuf>) -> Result<Option<Contents>> {
    let path = path.into();
    let target = path.clone();
    let exists = tokio::task::spawn_blocking(move || target.try_exists()).await;
    match exists.map_err(|e| failed(&path, e))? {
        Ok(true) => verify(path).await.map(Some),
        Ok(false) => Ok(None),
        Err(error) => Err(failed(&path, error)),
    }
}

/// Removes an archive.
pub(crate) async fn remove(path: impl Into<PathBuf>) -> Result<()> {
    let path = path.into();
    let target = path.clone();
    let removed = tokio::task::spawn_blocking(move || std::fs::remove_file(target)).await;
    removed.map_err(|e| failed(&path, e))?.map_err(|e| failed(&path, e))
}

/// The rows of an archive, as they were written. Only [`verify`] checks whether they are intact. Files are
/// read on a thread of their own, one batch ahead.
pub(crate) fn read(path: impl Into<PathBuf>) -> BoxStream<'static, Result<RecordBatch>> {
    let path = path.into();
    channel_stream(move |sender| {
        async move {
            let (batches, mut received) = mpsc::channel(1);
            let target = path.clone();
            let reading = tokio::task::spawn_blocking(move || {
                for batch in open(&target)?.0 {
                    let batch = batch.map_err(|e| failed(&target, e))?;
                    // Nobody reads any more.
                    if batches.blocking_send(batch).is_err() {
                        break;
                    }
                }
                Ok(())
            });
            while let Some(batch) = received.recv().await {
                sender.send(batch).await;
            }
            reading.await.map_err(|_| failed(&path, "cannot be decoded"))?
        }
        .boxed()
    })
    .boxed()
}
