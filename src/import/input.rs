//! Where files come from, and reading them beside the runtime.

use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;
use tokio::task::JoinHandle;

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

/// What the thread that reads has come to.
pub(super) async fn ended<T>(reading: JoinHandle<Result<T>>) -> Result<T> {
    match reading.await {
        Ok(read) => read,
        // Only a reader of the caller's own can panic, or the runtime is shutting down.
        Err(e) => match e.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(e) => Err(Error::invalid("file", format!("reading was stopped: {e}"))),
        },
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
