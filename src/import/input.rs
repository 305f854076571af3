//! Where files come from, and reading them beside the runtime.

use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;
use tokio::sync::oneshot;

use crate::error::{Error, Result};

/// Bytes read from a file at once.
pub(super) const BUFFER: usize = 1 << 16;

/// The first bytes of what gzip has compressed (RFC 1952).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// `input`, decompressed if gzip has compressed it.
pub(super) fn gunzipped(
    input: impl Read + Send + 'static,
) -> std::io::Result<Box<dyn Read + Send>> {
    let mut input = BufReader::with_capacity(BUFFER, input);
    let is_gzip = input.fill_buf()?.starts_with(&GZIP);
    Ok(if is_gzip { Box::new(MultiGzDecoder::new(input)) } else { Box::new(input) })
}

/// Counts what is read.
pub(super) struct Counted<R> {
    pub input: R,
    pub bytes: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

pub(super) fn unreadable(error: &std::io::Error) -> Error {
    Error::invalid("file", unreadable_because(error))
}

pub(super) fn unreadable_because(error: &std::io::Error) -> String {
    format!("cannot be read: {error}")
}

/// What a thread that reads comes to.
pub(super) type Reading<T> = oneshot::Receiver<std::thread::Result<Result<T>>>;

/// Runs `read` on a thread of its own. A reader may block without end, and the runtime waits for its own threads when it
/// shuts down: the program could not end.
///
/// # Errors
/// `Invalid` where there can be no more threads.
pub(super) fn beside<T: Send + 'static>(
    read: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<Reading<T>> {
    let (sender, reading) = oneshot::channel();
    let work = move || {
        let end = std::panic::catch_unwind(std::panic::AssertUnwindSafe(read));
        // Nobody waits for what was dropped.
        let _ = sender.send(end);
    };
    let thread = std::thread::Builder::new().name("buffetbot-import".into()).spawn(work);
    thread.map(|_| reading).map_err(|e| Error::invalid("file", unreadable_because(&e)))
}

/// What the thread that reads has come to.
pub(super) async fn ended<T>(reading: Reading<T>) -> Result<T> {
    match reading.await {
        Ok(Ok(read)) => read,
        // Only a reader of the caller's own can panic.
        Ok(Err(panic)) => std::panic::resume_unwind(panic),
        Err(_) => Err(Error::invalid("file", "reading was stopped")),
    }
}

/// Makes a source of the path of a file or directory, by whatever type.
macro_rules! from_path {
    ($source:ident, $make:expr) => {
        from_path!($source, $make, &str String &std::path::Path std::path::PathBuf &std::path::PathBuf);
    };
    ($source:ident, $make:expr, $($ty:ty)*) => {
        $(impl From<$ty> for $source {
            /// What lies at this path.
            fn from(path: $ty) -> Self {
                let make: fn(std::path::PathBuf) -> Self = $make;
                make(path.into())
            }
        })*
    };
}

pub(super) use from_path;
