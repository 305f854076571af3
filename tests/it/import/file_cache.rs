//! Files in which a program has cached documents: what is taken over, when, and what is told of the rest.

use std::io::{self, Cursor};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use buffetbot_db::import::{
    CachedFile, FileCacheOptions, FileCacheReport, FileCacheSource, cache_from_files,
    check_cache_files, compare_cache_files,
};
use buffetbot_db::market_cache::{CacheKey, CacheSelector, PutOptions};
use buffetbot_db::testing::TestDatabase;
use buffetbot_db::types::{DataType, Document};
use buffetbot_db::{Error, Repositories};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;

use super::{data, gzip};
use crate::support::handle::Handle;
use crate::support::{ago, parsed};

conformance! {
    real_documents_load_and_change_nothing_the_second_time,
    envelopes_tell_their_times_and_keys,
    an_entry_that_was_serialized_is_read,
    what_cannot_be_stored_is_told_and_the_rest_is_stored,
    what_the_database_refuses_is_told_and_the_rest_is_stored,
    what_has_expired_is_left_out,
    of_one_key_the_newest_file_counts,
    numbers_that_are_none_can_be_null,
    a_comparison_tells_what_is_missing_and_what_differs,
    many_files_are_stored_batch_by_batch,
}

const HOUR: Duration = Duration::from_secs(3_600);

fn an_hour() -> PutOptions {
    PutOptions::ttl(HOUR)
}

fn key(ticker: &str, data_type: &'static str) -> CacheKey {
    CacheKey::new(&parsed(ticker), parsed::<DataType>(data_type))
}

fn file(path: &str, content: impl AsRef<[u8]>, modified: DateTime<Utc>) -> CachedFile {
    let content = Box::new(Cursor::new(content.as_ref().to_vec()));
    CachedFile { path: path.into(), modified, content }
}

/// A cache in memory; its files were written just now.
fn files<C: AsRef<[u8]>>(files: impl IntoIterator<Item = (&'static str, C)>) -> FileCacheSource {
    let files: Vec<_> =
        files.into_iter().map(|(path, content)| Ok(file(path, content, ago(0)))).collect();
    FileCacheSource::files(files.into_iter())
}

fn reasons(report: &FileCacheReport) -> Vec<String> {
    report.rejected.iter().map(ToString::to_string).collect()
}

async fn real_documents_load_and_change_nothing_the_second_time(handle: &impl Handle) {
    let cache = handle.market_cache();
    // However long ago it was that they were checked out.
    let options = FileCacheOptions::documents(PutOptions::ttl(Duration::MAX).source("files"));
    let load = async || cache_from_files(handle, data("fundamentals"), options.clone()).await;
    let report = load().await.expect("loaded");
    assert_eq!((report.files, report.written, report.rejected_files), (6, 6, 0), "{report}");
    let stored = cache.get(&key("IBM", "balance_sheet")).await.expect("get").expect("an entry");
    let path = data("fundamentals/ibm_balance_sheet.json");
    let text = std::fs::read_to_string(&path).expect("the file");
    assert_eq!(stored.data, Document::parse(text).expect("JSON"));
    assert_eq!(stored.data_source.as_deref(), Some("files"));
    let written = std::fs::metadata(&path).and_then(|m| m.modified()).expect("a time");
    let apart = stored.cached_at - DateTime::<Utc>::from(written);
    assert!(apart.abs() < TimeDelta::milliseconds(1), "{apart}");
    let again = load().await.expect("loaded");
    assert_eq!((again.files, again.written, again.kept), (6, 0, 6), "{again}");
    let compared = compare_cache_files(handle, data("fundamentals"), options.clone()).await;
    let compared = compared.expect("compared");
    assert_eq!((compared.live, compared.equal), (6, 6), "{compared}");
    assert!(compared.is_complete());
    let checked = check_cache_files(data("fundamentals"), options).await.expect("read");
    assert_eq!((checked.files, checked.written, checked.rejected_files), (6, 0, 0));
}

async fn envelopes_tell_their_times_and_keys(handle: &impl Handle) {
    let cache = handle.market_cache();
    let fetched = DateTime::from_timestamp(ago(20).timestamp(), 0).expect("whole seconds");
    let seconds = fetched.timestamp();
    let stamps = [
        ("A", json!(seconds)),
        ("B", json!(seconds as f64 + 0.000001)),
        ("C", json!(seconds * 1_000)),
        ("D", json!(fetched.to_rfc3339())),
        ("E", json!(fetched.naive_utc().format("%Y-%m-%dT%H:%M:%S").to_string())),
    ];
    let cached = stamps.clone().map(|(ticker, stamp)| {
        let text = json!({"data": {"pe": 1}, "timestamp": stamp, "expiration": 7_200, "ticker": ticker,
            "data_type": "fundamentals", "parameters": {"period": "1y"}, "hits": 3});
        (ticker, text.to_string())
    });
    let report =
        cache_from_files(handle, files(cached), FileCacheOptions::envelopes(an_hour())).await;
    let report = report.expect("loaded");
    assert_eq!(report.written, 5, "{:?}", report.rejected);
    assert_eq!(report.ignored_members, ["hits"]);
    for (ticker, _) in stamps {
        let key = key(ticker, "fundamentals").params(json!({"period": "1y"})).expect("parameters");
        let entry = cache.get(&key).await.expect("get").expect(ticker);
        assert!(entry.cached_at - fetched <= TimeDelta::microseconds(1), "{ticker} {entry:?}");
        assert_eq!(entry.expires_at - entry.cached_at, TimeDelta::hours(2), "{ticker}");
    }
    // What a file does not tell comes from its name, its time and the options.
    let given = an_hour().source("yahoo").stale_for(HOUR).tag(parsed("old"));
    let options = FileCacheOptions::envelopes(given);
    let cached = [file("F_news.json", r#"{"data":[1],"quality":0.123456,"ttl":null}"#, ago(5))];
    let report =
        cache_from_files(handle, FileCacheSource::files(cached.map(Ok).into_iter()), options);
    assert_eq!(report.await.expect("loaded").written, 1);
    let entry = cache.get(&key("F", "news")).await.expect("get").expect("an entry");
    assert!((ago(5) - entry.cached_at).abs() < TimeDelta::minutes(1));
    assert_eq!(entry.expires_at - entry.cached_at, TimeDelta::hours(1));
    assert_eq!(entry.stale_until, Some(entry.expires_at + TimeDelta::hours(1)));
    assert_eq!(entry.data_quality_score, Some(parsed("0.12")));
    assert_eq!((entry.data_source.as_deref(), entry.tags), (Some("yahoo"), vec![parsed("old")]));
}

async fn an_entry_that_was_serialized_is_read(handle: &impl Handle) {
    let cache = handle.market_cache();
    let key = key("AAPL", "news").params(json!({"page": 1})).expect("parameters");
    let options =
        an_hour().stale_for(HOUR).source("yahoo").quality(parsed("0.85")).tag(parsed("t"));
    let document = Document::encode(&json!({"a": null})).expect("JSON");
    let entry = cache.put(&key, &document, &options).await.expect("put");
    let text = serde_json::to_string(&entry).expect("JSON");
    cache.delete_key(&key).await.expect("deleted");
    let other =
        FileCacheOptions::envelopes(PutOptions::ttl(Duration::from_secs(1)).source("other"));
    let report = cache_from_files(handle, files([("x.json", text)]), other).await.expect("loaded");
    assert_eq!(report.written, 1, "{:?}", report.rejected);
    assert_eq!(report.ignored_members, ["id", "revision", "version"]);
    let read = cache.get(&key).await.expect("get").expect("an entry");
    let same = buffetbot_db::market_cache::CacheEntry {
        id: read.id,
        version: read.version,
        revision: read.revision,
        ..entry
    };
    assert_eq!(read, same);
}

async fn what_cannot_be_stored_is_told_and_the_rest_is_stored(handle: &impl Handle) {
    let envelope = |members: &str| format!(r#"{{"data":1,"ticker":"A","type":"news",{members}}}"#);
    let bad = [
        ("no_json", "{".into(), "document: JSON ends early at line 1 column 1"),
        ("not_a_number", r#"{"data":NaN}"#.into(), "document: contains NaN"),
        ("no_object", "[1]".into(), "is not a JSON object"),
        ("no_data", r#"{"timestamp":1}"#.into(), "data: missing"),
        ("surrogate", r#"{"data":"\ud800"}"#.into(), "half a surrogate pair"),
        ("unnamed", r#"{"data":1}"#.into(), "unnamed: key:"),
        ("no_type", r#"{"data":1,"ticker":"A"}"#.into(), "data_type: missing"),
        ("no_ticker", r#"{"data":1,"params":[]}"#.into(), "ticker: missing"),
        ("ticker", envelope(r#""symbol":"B""#), "ticker: given twice, also as symbol"),
        ("type", r#"{"data":1,"ticker":7,"type":"x"}"#.into(), "ticker: of another type"),
        ("empty", r#"{"data":1,"ticker":"","type":"x"}"#.into(), "ticker: "),
        ("time", envelope(r#""timestamp":"yesterday""#), "timestamp: \"yesterday\""),
        ("year", envelope(r#""cached_at":1e300"#), "timestamp: \"1e300\": no time"),
        ("boolean", envelope(r#""fetched_at":true"#), "timestamp: \"true\": no number"),
        ("lifetime", envelope(r#""expiration":-1"#), "expiration: \"-1\""),
        ("quality", envelope(r#""quality":1.5"#), "data_quality_score: "),
        ("tags", envelope(r#""tags":["a",""]"#), "tags: "),
        ("tag", envelope(r#""tags":"a""#), "tags: of another type"),
        (
            "long",
            envelope(&format!(r#""source":"{}""#, "x".repeat(51))),
            "data_source: 51 characters",
        ),
    ];
    let told = bad.iter().map(|(path, text, _)| (*path, text.clone().into_bytes()));
    let bytes = [
        ("latin1", vec![b'"', 0xe4, b'"'], "is not UTF-8"),
        ("pickle", vec![0x80, 4, 0x95, 0], "is a Python pickle"),
        ("large", vec![b' '; 2_000], "larger than 1000 bytes"),
        ("bomb", gzip(&[&vec![b' '; 2_000]]), "larger than 1000 bytes"),
        ("cut", gzip(&[b"{\"data\":1}"])[..20].to_vec(), "cannot be read: "),
        ("nothing", Vec::new(), "document: JSON ends early"),
    ];
    let more = bytes.iter().map(|(path, content, _)| (*path, content.clone()));
    let good = [("AAPL_news.json.gz", gzip(&[b"\xef\xbb\xbf{\"data\":", b"1}"]))];
    let source = files(told.chain(more).chain(good));
    let options = FileCacheOptions::envelopes(an_hour()).max_bytes(1_000);
    let report = cache_from_files(handle, source, options).await.expect("loaded");
    assert_eq!((report.files, report.written), (26, 1), "{:#?}", reasons(&report));
    assert_eq!(report.rejected_files, 25);
    assert!(report.rejected.is_sorted());
    let expected = bad.iter().map(|(path, _, why)| (path, why));
    for (path, why) in expected.chain(bytes.iter().map(|(path, _, why)| (path, why))) {
        let found = report.rejected.iter().find(|r| r.path == Path::new(path)).expect(path);
        assert!(found.to_string().contains(why), "{found} is not: {why}");
    }
    let stored = handle.market_cache().get(&key("AAPL", "news")).await.expect("get");
    assert_eq!(stored.expect("an entry").data.as_str(), "1");
}

async fn what_the_database_refuses_is_told_and_the_rest_is_stored(handle: &impl Handle) {
    let check = "ALTER TABLE market_data_cache ADD CONSTRAINT small CHECK (data <= '100')";
    handle.sql(check).await;
    let cached = [("A_n", "7"), ("B_n", "101"), ("C_n", "8"), ("D_n", "9"), ("E_n", "1000")];
    let options = FileCacheOptions::documents(an_hour());
    let report = cache_from_files(handle, files(cached), options).await.expect("loaded");
    assert_eq!((report.files, report.written, report.rejected_files), (5, 3, 2));
    let refused: Vec<_> = report.rejected.iter().map(|r| r.path.to_str().expect("text")).collect();
    assert_eq!(refused, ["B_n", "E_n"]);
    assert!(report.rejected[0].reason.contains("small"), "{}", report.rejected[0]);
}

async fn what_has_expired_is_left_out(handle: &impl Handle) {
    let over = (ago(10) - TimeDelta::hours(1)).to_rfc3339();
    let before = format!(r#"{{"data":1,"expires_at":"{over}"}}"#);
    let cached = [
        file("A_news", r#"{"data":1}"#, ago(59)),
        file("B_news", r#"{"data":1}"#, ago(61)),
        file("C_news", before, ago(1)),
        file("D_news", r#"{"data":1,"expiration":0}"#, ago(0)),
        // Of a clock that is ahead: as if it were now.
        file("E_news", r#"{"data":1}"#, ago(-6_000)),
        file("F_news", r#"{"data":1,"ttl":1e300}"#, ago(1_000_000)),
    ];
    let source = FileCacheSource::files(cached.map(Ok).into_iter());
    let options = FileCacheOptions::envelopes(an_hour());
    let report = cache_from_files(handle, source, options).await.expect("loaded");
    // A lifetime that no clock holds is no lifetime.
    assert_eq!(reasons(&report).len(), 1, "{:?}", report.rejected);
    assert_eq!((report.written, report.expired, report.rejected_files), (2, 3, 1), "{report}");
    let ahead = handle.market_cache().get(&key("E", "news")).await.expect("get").expect("stored");
    assert!(ahead.cached_at <= ago(0) && ahead.expires_at < ago(-61), "{ahead:?}");
}

async fn of_one_key_the_newest_file_counts(handle: &impl Handle) {
    let cached = [("1", 20), ("2", 10), ("3", 30)].map(|(n, age)| file(n, n, ago(age)));
    let options = FileCacheOptions::documents(an_hour()).keys(|_| Ok(Some(key("A", "news"))));
    let source = FileCacheSource::files(cached.map(Ok).into_iter());
    let report = cache_from_files(handle, source, options).await.expect("loaded");
    assert_eq!((report.written, report.kept), (1, 2), "{report}");
    let stored = handle.market_cache().get(&key("A", "news")).await.expect("get");
    assert_eq!(stored.expect("an entry").data.as_str(), "2");
}

async fn numbers_that_are_none_can_be_null(handle: &impl Handle) {
    let text = r#"{"NaN":"-Infinity \" NaN","a":[NaN,-Infinity,1],"b":Infinity,"c":-1}"#;
    let options = FileCacheOptions::documents(an_hour());
    let refused = cache_from_files(handle, files([("A_news", text)]), options.clone()).await;
    assert_eq!(refused.expect("read").rejected_files, 1);
    let options = options.non_finite_as_null();
    let report = cache_from_files(handle, files([("A_news", text)]), options).await.expect("read");
    assert_eq!((report.written, report.nulled), (1, 3), "{report}");
    let stored = handle.market_cache().get(&key("A", "news")).await.expect("get").expect("stored");
    let expected = json!({"NaN": "-Infinity \" NaN", "a": [null, null, 1], "b": null, "c": -1});
    assert_eq!(stored.decode::<serde_json::Value>().expect("JSON"), expected);
}

async fn a_comparison_tells_what_is_missing_and_what_differs(handle: &impl Handle) {
    let cache = handle.market_cache();
    let fetched = ago(5);
    let source = || {
        let cached = ["SAME_n", "OTHER_n", "NEWER_n", "GONE_n", "bad"];
        let cached = cached.map(|path| Ok(file(path, r#"{"a":1,"b":2}"#, fetched)));
        // Nobody misses what has expired.
        let over = [Ok(file("OVER_n", "1", ago(61)))];
        FileCacheSource::files(cached.into_iter().chain(over))
    };
    let options = FileCacheOptions::documents(an_hour());
    cache_from_files(handle, source(), options.clone()).await.expect("loaded");
    let spelled = "UPDATE market_data_cache SET data = '{\"b\":2.0,\"a\":1}' WHERE ticker = 'SAME'";
    handle.sql(spelled).await;
    handle.sql("UPDATE market_data_cache SET data = '{}' WHERE ticker = 'OTHER'").await;
    let newer = Document::parse("[]").expect("JSON");
    cache.put(&key("NEWER", "n"), &newer, &an_hour()).await.expect("put");
    cache.invalidate(&CacheSelector::ticker(&parsed("GONE"))).await.expect("invalidated");
    let compared = compare_cache_files(handle, source(), options).await.expect("compared");
    assert_eq!((compared.live, compared.equal, compared.newer), (4, 1, 1), "{compared}");
    assert_eq!((compared.different, compared.missing), (1, 1), "{compared}");
    let found: Vec<_> = compared.found.iter().map(|f| f.path.to_str().expect("text")).collect();
    assert_eq!(found, ["GONE_n", "OTHER_n"]);
    assert_eq!((compared.files.files, compared.files.rejected_files), (6, 1));
    assert_eq!(compared.files.expired, 1);
    assert!(!compared.is_complete());
}

async fn many_files_are_stored_batch_by_batch(handle: &impl Handle) {
    let cached = (0..1_700).map(|n| Ok(file(&format!("T{n}_news.json"), n.to_string(), ago(1))));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let shown = seen.clone();
    let options = FileCacheOptions::documents(an_hour()).progress(move |progress| {
        shown.lock().expect("not poisoned").push(progress.rows);
    });
    let report = cache_from_files(handle, FileCacheSource::files(cached), options).await;
    assert_eq!(report.expect("loaded").written, 1_700);
    assert_eq!(*seen.lock().expect("not poisoned"), [500, 1_000, 1_500, 1_700]);
    let size = handle.market_cache().statistics(0).await.expect("statistics");
    assert_eq!(size.total.entries, 1_700);
}

/// A directory that is removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("file-cache-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&path).expect("a directory");
        Directory(path)
    }

    fn file(&self, path: &str, content: &str) {
        let path = self.0.join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        std::fs::write(path, content).expect("written");
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn a_directory_is_read_to_its_end_and_no_further() {
    let db = TestDatabase::new().await.expect("a database");
    let directory = Directory::new();
    for path in ["AAPL_news.json", "MSFT/news.json", "deep/er/IBM/news.json", "BRK.B/peers.v2.json"]
    {
        directory.file(path, "1");
    }
    directory.file(".hidden", "1");
    directory.file(&format!("{}X/news.json", "d/".repeat(40)), "1");
    let elsewhere = Directory::new();
    elsewhere.file("ZZZ_news.json", "1");
    std::os::unix::fs::symlink(&elsewhere.0, directory.0.join("link")).expect("a link");
    std::os::unix::fs::symlink(&directory.0, directory.0.join("MSFT/loop")).expect("a loop");
    let options = FileCacheOptions::documents(an_hour());
    let report = cache_from_files(&*db, &directory.0, options.clone()).await.expect("loaded");
    assert_eq!((report.files, report.written, report.ignored_files), (5, 4, 1), "{report:?}");
    assert!(report.rejected[0].reason.contains("deeper than 32"), "{}", report.rejected[0]);
    for (ticker, data_type) in
        [("AAPL", "news"), ("MSFT", "news"), ("IBM", "news"), ("BRK.B", "peers.v2")]
    {
        let stored = db.market_cache().get(&key(ticker, data_type)).await.expect("get");
        assert!(stored.is_some(), "{ticker}");
    }
    let missing = cache_from_files(&*db, directory.0.join("nowhere"), options.clone()).await;
    assert!(
        matches!(&missing, Err(Error::Invalid { field, .. }) if field == "directory"),
        "{missing:?}"
    );
    let only = options.filter(|path| path.starts_with("MSFT"));
    let checked = check_cache_files(&directory.0, only).await.expect("read");
    assert_eq!(checked.files - checked.rejected_files, 1, "{checked:?}");
}

#[tokio::test]
async fn what_was_stored_before_an_error_stays() {
    let db = TestDatabase::new().await.expect("a database");
    let read = Arc::new(AtomicU64::new(0));
    let counted = read.clone();
    let cached = (0..2_000).map(move |n| {
        counted.fetch_add(1, Ordering::Relaxed);
        match n {
            1_200 => Err(io::Error::other("the archive is cut off")),
            _ => Ok(file(&format!("T{n}_news.json"), "1", ago(1))),
        }
    });
    let options = FileCacheOptions::documents(an_hour());
    let error = cache_from_files(&*db, FileCacheSource::files(cached), options).await;
    assert!(
        matches!(&error, Err(Error::Invalid { reason, .. }) if reason.contains("cut off")),
        "{error:?}"
    );
    assert_eq!(read.load(Ordering::Relaxed), 1_201);
    let statistics = db.market_cache().statistics(0).await.expect("statistics");
    assert_eq!(statistics.total.entries, 1_000);
}
