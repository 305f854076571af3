//! Files of a cache, as documents and as envelopes: read or rejected with a reason, whatever is in them and however they
//! are named.
#![no_main]

use std::io::Cursor;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use buffetbot_db::import::{CachedFile, FileCacheOptions, FileCacheSource, check_cache_files};
use buffetbot_db::market_cache::PutOptions;
use libfuzzer_sys::fuzz_target;
use tokio::runtime::Runtime;

fuzz_target!(|bytes: &[u8]| {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = RUNTIME
        .get_or_init(|| tokio::runtime::Builder::new_current_thread().build().expect("a runtime"));
    let end = bytes.iter().position(|b| *b == b'\n').unwrap_or(bytes.len());
    let (path, content) =
        (String::from_utf8_lossy(&bytes[..end]), &bytes[(end + 1).min(bytes.len())..]);
    let kept = || PutOptions::ttl(Duration::from_secs(3_600));
    let shapes = [FileCacheOptions::documents(kept()), FileCacheOptions::envelopes(kept())];
    for options in shapes {
        for options in [options.clone(), options.non_finite_as_null()] {
            let file = CachedFile {
                path: PathBuf::from(&*path),
                modified: Default::default(),
                content: Box::new(Cursor::new(content.to_owned())),
            };
            let source = FileCacheSource::files(std::iter::once(Ok(file)));
            let report = runtime.block_on(check_cache_files(source, options)).expect("read");
            assert_eq!(report.files + report.ignored_files, 1);
            assert_eq!(report.rejected.len() as u64, report.rejected_files);
            assert!(report.rejected_files + report.expired <= report.files);
            assert!(report.rejected.iter().all(|rejected| !rejected.reason.is_empty()));
        }
    }
});
