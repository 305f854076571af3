//! Reading a file beside the runtime, and storing it batch by batch.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use csv::{ByteRecord, ReaderBuilder};
use tokio::sync::mpsc;

use super::field::{Fields, Reason};
use super::header::Header;
use super::input::{BUFFER, Counted, beside, ended, from_path, gunzipped, unreadable};
use super::report::{ImportReport, RejectedLine};
use super::{Progress, ProgressObserver};
use crate::error::{Error, Result};
use crate::prices::SuspectPolicy;
use crate::store::UpsertReport;

/// Rows stored at once.
const BATCH: usize = 10_000;

/// Batches that may wait to be stored while the next is read.
const WAITING: usize = 1;

/// Bytes of the longest record, with the blank lines before it, and of the longest header: where a quote is not closed, a record is all that follows.
const RECORD: u64 = 1 << 20;

/// The most bytes of blank lines between two records.
const BLANK: u64 = 64 << 20;

/// Where a file comes from: a path, or anything that can be read.
pub struct CsvSource(Input);

enum Input {
    Path(PathBuf),
    Reader(Box<dyn Read + Send>),
}

impl CsvSource {
    /// What `reader` gives: an open file, bytes in memory, a decompressor; what gzip has compressed is
    /// decompressed. It is read in a thread of its own, in which it may block; that thread keeps no program from ending.
    pub fn reader(reader: impl Read + Send + 'static) -> Self {
        CsvSource(Input::Reader(Box::new(reader)))
    }

    fn open(self) -> Result<Opened> {
        let (input, size): (Box<dyn Read + Send>, _) = match self.0 {
            Input::Reader(reader) => (reader, None),
            Input::Path(path) => {
                let file = File::open(&path).map_err(|e| unreadable(&e))?;
                let size = file.metadata().ok().map(|metadata| metadata.len());
                (Box::new(file), size)
            }
        };
        let bytes = Arc::new(AtomicU64::new(0));
        let input = Counted { input, bytes: bytes.clone() };
        Ok(Opened { text: gunzipped(input).map_err(|e| unreadable(&e))?, bytes, size })
    }
}

/// A file that is being read.
struct Opened {
    /// Decompressed.
    text: Box<dyn Read + Send>,
    /// Bytes read so far, as they lie in the file.
    bytes: Arc<AtomicU64>,
    size: Option<u64>,
}

impl std::fmt::Debug for CsvSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Input::Path(path) => f.debug_tuple("CsvSource").field(path).finish(),
            Input::Reader(_) => f.write_str("CsvSource(reader)"),
        }
    }
}

from_path!(CsvSource, |path| CsvSource(Input::Path(path)));

/// How rows of a kind are read: made of the header, then asked row by row.
pub(super) type Parser<N> = Box<dyn FnMut(&mut Fields<'_>) -> Result<N, Reason> + Send>;

/// Rows that were read.
struct Batch<N> {
    /// With the lines that they began on.
    rows: Vec<N>,
    lines: Vec<u64>,
    rejected: Vec<RejectedLine>,
    quantised: u64,
    bytes: u64,
}

impl<N> Batch<N> {
    fn new() -> Self {
        let (rows, lines, rejected) = (Vec::new(), Vec::new(), Vec::new());
        Batch { rows, lines, rejected, quantised: 0, bytes: 0 }
    }

    fn len(&self) -> usize {
        self.rows.len() + self.rejected.len()
    }
}

/// Reads `source` and stores its rows: `columns` makes the parser of a header, `store` takes one
/// batch.
pub(super) async fn import<N, S, F>(
    source: CsvSource,
    progress: Option<ProgressObserver>,
    on_suspect: SuspectPolicy,
    columns: impl FnOnce(&mut Header) -> Result<Parser<N>> + Send + 'static,
    store: S,
) -> Result<ImportReport>
where
    N: Send + 'static,
    S: Fn(Vec<N>) -> F,
    F: Future<Output = Result<UpsertReport>>,
{
    let (batches, mut waiting) = mpsc::channel::<(Batch<N>, Option<u64>)>(WAITING);
    let reading = beside(move || read(source, columns, &batches))?;
    let mut report = ImportReport::default();
    // On an error of the database the channel closes, at which the reader ends.
    while let Some((batch, total_bytes)) = waiting.recv().await {
        report.rows += batch.len() as u64;
        if on_suspect == SuspectPolicy::Fail
            && let Some(first) = batch.rejected.first()
        {
            return Err(Error::invalid(format!("line {}", first.line), &*first.reason));
        }
        let stored = store(batch.rows).await.map_err(|error| of_line(error, &batch.lines))?;
        report.inserted += stored.inserted;
        report.updated += stored.updated;
        report.unchanged += stored.unchanged;
        report.superseded += stored.superseded;
        report.flagged += stored.flagged;
        report.quantised += batch.quantised;
        let mut rejected = batch.rejected;
        rejected.extend(stored.rejected.into_iter().map(|item| RejectedLine {
            line: batch.lines[item.index],
            reason: format!("{}: {}", item.field, item.reason),
        }));
        rejected.sort_by_key(|rejected| rejected.line);
        report.reject(rejected);
        if let Some(observer) = &progress {
            observer(&Progress { rows: report.rows, bytes: batch.bytes, total_bytes });
        }
    }
    report.ignored_columns = ended(reading).await?;
    Ok(report)
}

/// The error of an item as that of the line on which it began.
fn of_line(error: Error, lines: &[u64]) -> Error {
    match error {
        Error::Item { index, source } => match (lines.get(index), *source) {
            (Some(line), Error::Invalid { field, reason }) => {
                Error::invalid(format!("line {line}"), format!("{field}: {reason}"))
            }
            // The place in a batch means nothing to the owner of the file.
            (Some(line), other) => Error::invalid(format!("line {line}"), other.to_string()),
            (None, other) => other.at(index),
        },
        other => other,
    }
}

/// Reads everything, until nobody waits for it any more; returns the columns that were ignored.
fn read<N>(
    source: CsvSource,
    columns: impl FnOnce(&mut Header) -> Result<Parser<N>>,
    batches: &mpsc::Sender<(Batch<N>, Option<u64>)>,
) -> Result<Vec<String>> {
    let Opened { text, bytes, size } = source.open()?;
    // A row of another length is that row's problem alone.
    let is_wanted = || !batches.is_closed();
    let file = Lines::new(text, &is_wanted);
    let mut csv = ReaderBuilder::new().flexible(true).buffer_capacity(BUFFER).from_reader(file);
    let mut header = Header::new(csv.byte_headers().map_err(csv_error)?);
    let mut parse = columns(&mut header)?;
    let width = csv.byte_headers().map_err(csv_error)?.len();
    csv.get_mut().begin_record();
    let mut record = ByteRecord::new();
    let mut batch = Batch::new();
    while csv.read_byte_record(&mut record).map_err(csv_error)? {
        csv.get_mut().begin_record();
        if !is_wanted() {
            return Ok(Vec::new());
        }
        // Where the reader is now, one line behind the record's last: where it was before the
        // record, blank lines may have followed.
        let line = csv.position().line() - 1 - newlines(record.as_slice());
        let mut fields = Fields { record: &record, quantised: 0 };
        match check_width(&record, width).and_then(|()| parse(&mut fields)) {
            Ok(row) => {
                batch.rows.push(row);
                batch.lines.push(line);
                batch.quantised += fields.quantised;
            }
            Err(reason) => batch.rejected.push(RejectedLine { line, reason }),
        }
        if batch.len() == BATCH {
            batch.bytes = bytes.load(Ordering::Relaxed);
            if batches.blocking_send((std::mem::replace(&mut batch, Batch::new()), size)).is_err() {
                return Ok(Vec::new());
            }
        }
    }
    batch.bytes = bytes.load(Ordering::Relaxed);
    // The last one is sent even if it is empty: the observer learns that the end was reached.
    let _nobody_waits = batches.blocking_send((batch, size));
    Ok(header.ignored())
}

fn newlines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|b| **b == b'\n').count() as u64
}

/// A file with every line, also the last, ended by a line feed: only then can the lines of records
/// be determined. It ends in an error where a record does not end, or where no reader waits.
struct Lines<'a, R> {
    file: R,
    last: Option<u8>,
    /// Bytes given since the last record's end was found, without those of blank lines.
    given: u64,
    /// Those of blank lines, which may be the end of a file, or belong to a quote that is not closed.
    blank: u64,
    is_wanted: &'a dyn Fn() -> bool,
}

impl<'a, R: Read> Lines<'a, R> {
    fn new(file: R, is_wanted: &'a dyn Fn() -> bool) -> Self {
        Lines { file, last: None, given: 0, blank: 0, is_wanted }
    }

    fn begin_record(&mut self) {
        (self.given, self.blank) = (0, 0);
    }
}

impl<R: Read> Read for Lines<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        // What was given before may still lie in the parser's buffer.
        if self.given > RECORD + BUFFER as u64 || self.blank > BLANK {
            let kind = std::io::ErrorKind::InvalidData;
            return Err(std::io::Error::new(
                kind,
                "a record is longer than 1 MiB: is a quote not closed?",
            ));
        }
        // A piece may consist of nothing but the second half of a line's end.
        loop {
            if !(self.is_wanted)() {
                return Err(std::io::Error::other("nobody waits for it"));
            }
            let read = self.file.read(buffer)?;
            if read == 0 {
                let is_ended = matches!(self.last, None | Some(b'\n' | b'\r')) || buffer.is_empty();
                if is_ended {
                    return Ok(0);
                }
                self.last = Some(b'\n');
                buffer[0] = b'\n';
                self.given += 1;
                return Ok(1);
            }
            let (mut kept, mut blank) = (0, 0);
            for i in 0..read {
                let byte = buffer[i];
                let is_second_half = byte == b'\n' && self.last == Some(b'\r');
                let ends_blank = matches!(byte, b'\n' | b'\r')
                    && matches!(self.last, None | Some(b'\n' | b'\r'))
                    && !is_second_half;
                blank += u64::from(ends_blank);
                self.last = Some(byte);
                if !is_second_half {
                    buffer[kept] = if byte == b'\r' { b'\n' } else { byte };
                    kept += 1;
                }
            }
            self.given += kept as u64 - blank;
            self.blank += blank;
            if kept > 0 {
                return Ok(kept);
            }
        }
    }
}

/// A row that was cut off, or has values beyond the last column.
fn check_width(record: &ByteRecord, width: usize) -> Result<(), Reason> {
    let surplus = record.iter().skip(width).any(|field| !field.is_empty());
    if record.len() < width || surplus {
        return Err(format!("row: {} fields, but the header has {width}", record.len()));
    }
    Ok(())
}

fn csv_error(error: csv::Error) -> Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => unreadable(&error),
        _ => Error::invalid("file", "is not CSV"),
    }
}
