//! C5: input without an end, and readers that nobody waits for any more.

use std::io::{Read, Result as IoResult};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use buffetbot_db::Error;
use buffetbot_db::import::{CsvOptions, CsvSource, prices_from_csv};
use buffetbot_db::testing::TestDatabase;

use crate::support::{GENEROUS, eventually, parsed};

/// A header, then the same text for ever; how many bytes were read, in a counter that is shared as long as this lives.
struct Endless {
    rest: Vec<u8>,
    again: &'static str,
    read: Arc<AtomicU64>,
}

impl Endless {
    fn new(begin: &str, again: &'static str) -> (Self, Arc<AtomicU64>) {
        let read = Arc::new(AtomicU64::new(0));
        let rest = format!("ticker,date,open,close\n{begin}").into_bytes();
        (Endless { rest, again, read: read.clone() }, read)
    }
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> IoResult<usize> {
        while self.rest.len() < buffer.len() {
            self.rest.extend_from_slice(self.again.as_bytes());
        }
        let given: Vec<u8> = self.rest.drain(..buffer.len()).collect();
        buffer.copy_from_slice(&given);
        self.read.fetch_add(given.len() as u64, Ordering::Relaxed);
        Ok(given.len())
    }
}

#[tokio::test]
async fn c5_a_record_without_an_end_is_refused() {
    let db = TestDatabase::new().await.expect("a database");
    for (begin, again) in
        [("A,2024-01-02,1,\"", "two\n"), ("A,2024-01-02,1,", "2"), ("A,2024-01-02,1,2", ",3")]
    {
        let (endless, read) = Endless::new(begin, again);
        let loaded = prices_from_csv(&*db, CsvSource::reader(endless), CsvOptions::new()).await;
        let error = loaded.expect_err("no end");
        assert!(matches!(&error, Error::Invalid { field, .. } if field == "file"), "{error:?}");
        assert!(error.to_string().contains("longer than 1 MiB"), "{error}");
        assert!(read.load(Ordering::Relaxed) < 2_000_000);
    }
    // A megabyte is no such record.
    let long =
        format!("ticker,date,open,close,note\nA,2024-01-02,1,2,\"{}\"\n", "n\n".repeat(500_000));
    let source = CsvSource::reader(std::io::Cursor::new(long.into_bytes()));
    let report = prices_from_csv(&*db, source, CsvOptions::new()).await.expect("loaded");
    assert_eq!((report.rows, report.inserted), (1, 1));
    // Nor are blank lines, wherever they are.
    let blank = "\r\n".repeat(1_500_000);
    let long =
        format!("ticker,date,open,close\n{blank}B,2024-01-02,1,2\n{blank}B,2024-01-03,1,2{blank}");
    let source = CsvSource::reader(std::io::Cursor::new(long.into_bytes()));
    let report = prices_from_csv(&*db, source, CsvOptions::new()).await.expect("loaded");
    assert_eq!((report.rows, report.inserted), (2, 2));
    let (endless, read) = Endless::new("A,2024-01-02,1,\"", "\n");
    let loaded = prices_from_csv(&*db, CsvSource::reader(endless), CsvOptions::new()).await;
    assert!(loaded.is_err(), "a quote of blank lines ends, too");
    assert!(read.load(Ordering::Relaxed) < 70_000_000);
}

#[tokio::test]
async fn c5_dropping_an_import_ends_its_reading() {
    let db = TestDatabase::new().await.expect("a database");
    for (begin, again) in [("", "A,2024-01-02,1,2\n"), ("", "A,never,1,2\n")] {
        let (endless, read) = Endless::new(begin, again);
        let import = prices_from_csv(&*db, CsvSource::reader(endless), CsvOptions::new());
        let begun = eventually("it reads", async || read.load(Ordering::Relaxed) > 0);
        tokio::select! {
            ended = import => panic!("{ended:?}"),
            () = begun => {}
        }
        eventually("the reader is gone", async || Arc::strong_count(&read) == 1).await;
    }
}

/// Gives nothing until it is let go.
struct Blocked(mpsc::Receiver<()>);

impl Read for Blocked {
    fn read(&mut self, _: &mut [u8]) -> IoResult<usize> {
        let _ = self.0.recv();
        Ok(0)
    }
}

#[test]
fn c5_a_reader_that_blocks_keeps_no_program_from_ending() {
    let (hold, held) = mpsc::channel();
    let (done, is_done) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let db = TestDatabase::new().await.expect("a database");
            let options = CsvOptions::new().ticker(parsed("A"));
            let import = prices_from_csv(&*db, CsvSource::reader(Blocked(held)), options);
            let limit = std::time::Duration::from_millis(200);
            assert!(tokio::time::timeout(limit, import).await.is_err(), "it reads still");
        });
        drop(runtime);
        done.send(()).expect("the test waits");
    });
    is_done.recv_timeout(GENEROUS).expect("the runtime has ended");
    drop(hold);
}
