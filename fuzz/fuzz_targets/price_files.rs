//! CSV files of prices: read to the end or refused with a reason, line by line, whatever is in them.
#![no_main]

use std::io::Cursor;
use std::sync::OnceLock;

use buffetbot_db::Error;
use buffetbot_db::import::{CsvOptions, CsvSource, check_prices_csv};
use libfuzzer_sys::fuzz_target;
use tokio::runtime::Runtime;

fuzz_target!(|bytes: &[u8]| {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = RUNTIME
        .get_or_init(|| tokio::runtime::Builder::new_current_thread().build().expect("a runtime"));
    let source = CsvSource::reader(Cursor::new(bytes.to_owned()));
    match runtime.block_on(check_prices_csv(source, CsvOptions::new())) {
        Ok(report) => assert!(report.rejected.len() as u64 <= report.rows),
        Err(Error::Invalid { field, reason }) => assert!(!field.is_empty() && !reason.is_empty()),
        Err(other) => panic!("{other:?}"),
    }
});
