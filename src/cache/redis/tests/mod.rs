//! The level on real servers, one for each test.

/// Shared with the integration tests.
#[path = "../../../../tests/it/support/fetched.rs"]
mod fetched;
mod outages;
mod server;

use std::time::Duration;

use super::layout::Keys;
use crate::cache::redis::*;
use crate::store::{EntryKey, Namespace};
use crate::types::Document;
use server::Server;

const MINUTE: Duration = Duration::from_secs(60);

fn address(name: &str, parameters: Option<&str>) -> EntryKey {
    EntryKey {
        space: Namespace::MarketData,
        ticker: "AAPL".parse().expect("a ticker"),
        name: name.into(),
        parameters: parameters.map(document),
        portfolio: None,
    }
}

fn document(json: &str) -> Document {
    Document::parse(json).expect("JSON")
}

fn packed(version: i64) -> Encoded {
    Encoded {
        version,
        revision: 3,
        age: MINUTE,
        fresh_for: 30 * MINUTE,
        kept_for: 60 * MINUTE,
        source: None,
        quality: None,
        body: document(&format!(r#"{{"version": {version}}}"#)),
    }
}

fn change(address: &EntryKey, version: i64) -> Change {
    let EntryKey { space, ticker, name, parameters, portfolio } = address.clone();
    Change {
        space,
        changed: Changed::Key(ChangedKey { ticker, name, parameters, portfolio }),
        version,
    }
}

fn everything(version: i64) -> Change {
    Change { space: Namespace::MarketData, changed: Changed::Namespace, version }
}

/// The version that the level serves.
async fn version(level: &RedisLevel, address: &EntryKey) -> Option<i64> {
    let found = level.get(address.as_ref()).await?;
    assert_eq!(found.body, packed(found.version).body);
    Some(found.version)
}

fn key(address: &EntryKey) -> String {
    Keys::new("buffetbot", "db").entry(address.as_ref())
}

/// Spans that differ by less than the test took.
fn about(a: Duration, b: Duration) -> bool {
    a.abs_diff(b) < MINUTE
}

#[tokio::test]
async fn every_field_comes_back() {
    let server = Server::start(&[]).await;
    let (writer, reader) = (server.level(), server.level());
    let full = Encoded {
        source: Some("über: \"x\"".into()),
        quality: Some("0.95".parse().expect("a share")),
        revision: i64::MAX,
        ..packed(i64::MAX)
    };
    let large = Encoded { body: document(&format!("\"{}\"", "é".repeat(2_500_000))), ..packed(1) };
    let analysis = EntryKey {
        space: Namespace::Analyses,
        portfolio: Some(uuid::Uuid::from_u128(7).into()),
        ..address("fundamentals", Some(r#"{"a": 1.0, "b": [{}]}"#))
    };
    let plain = address("fundamentals", None);
    let large_at = address("large:{}%", None);
    writer.put(analysis.as_ref(), &full, Instant::now()).await;
    writer
        .put_many(&[(plain.as_ref(), &packed(0)), (large_at.as_ref(), &large)], Instant::now())
        .await;

    let respelled = EntryKey { parameters: Some(document(r#"{"b":[{}],"a":1}"#)), ..analysis };
    let missing = address("nothing", None);
    let asked = [&large_at, &missing, &respelled, &plain].map(EntryKey::as_ref);
    let found = reader.get_many(&asked).await;
    for (found, put) in found.iter().zip([Some(&large), None, Some(&full), Some(&packed(0))]) {
        let (Some(found), Some(put)) = (found, put) else {
            assert!(found.is_none() && put.is_none());
            continue;
        };
        assert!(about(found.age, put.age) && found.age >= put.age);
        assert!(about(found.fresh_for, put.fresh_for) && found.fresh_for <= put.fresh_for);
        assert!(about(found.kept_for, put.kept_for) && found.kept_for <= put.kept_for);
        let (age, fresh_for, kept_for) = (put.age, put.fresh_for, put.kept_for);
        assert_eq!(&Encoded { age, fresh_for, kept_for, ..found.clone() }, put);
    }
    assert!(reader.get_many(&[]).await.is_empty());
    assert_eq!((writer.errors(), reader.errors()), (0, 0));
}

#[tokio::test]
async fn times_follow_what_is_left_of_the_life() {
    let server = Server::start(&[]).await;
    let (level, at) = (server.level(), address("fundamentals", None));
    level.put(at.as_ref(), &packed(1), Instant::now()).await;
    for (left, age, fresh_for) in [(50, 11, 20), (20, 41, 0)] {
        let millis = (left * 60_000).to_string();
        let _: i64 = server.ask(&["PEXPIRE", &key(&at), &millis]).await;
        let found = level.get(at.as_ref()).await.expect("an entry");
        assert!(about(found.kept_for, left * MINUTE), "{found:?}");
        assert!(about(found.age, age * MINUTE), "{found:?}");
        assert!(about(found.fresh_for, fresh_for * MINUTE), "{found:?}");
    }
    assert!(!level.get(at.as_ref()).await.expect("an entry").is_fresh());
    // A life beyond all clocks is shortened to one that Redis can keep.
    level.put(at.as_ref(), &Encoded { kept_for: Duration::MAX, ..packed(2) }, Instant::now()).await;
    assert_eq!(version(&level, &at).await, Some(2));
    let _: i64 = server.ask(&["PERSIST", &key(&at)]).await;
    assert_eq!(version(&level, &at).await, None, "an entry without an end is none of ours");
}

#[tokio::test]
async fn what_is_newer_stays() {
    let server = Server::start(&[]).await;
    let (level, at) = (server.level(), address("fundamentals", None));
    let beyond_f64 = (1_i64 << 53) + 1;
    for (put, expected) in [(5, 5), (4, 5), (10, 10), (9, 10), (beyond_f64, beyond_f64)] {
        level.put(at.as_ref(), &packed(put), Instant::now()).await;
        assert_eq!(version(&level, &at).await, Some(expected));
    }
    level.put(at.as_ref(), &packed(beyond_f64 - 1), Instant::now()).await;
    assert_eq!(version(&level, &at).await, Some(beyond_f64));
}

#[tokio::test]
async fn a_tombstone_keeps_out_what_is_older() {
    let server = Server::start(&[]).await;
    let level = server.level();
    let (at, other) = (address("fundamentals", Some(r#"{"n":1}"#)), address("other", None));
    level
        .put_many(&[(at.as_ref(), &packed(5)), (other.as_ref(), &packed(5))], Instant::now())
        .await;
    let respelled = address("fundamentals", Some(r#"{ "n" : 1.0 }"#));
    level.forget(&[change(&respelled, 7), change(&other, 5)]).await;
    assert_eq!(version(&level, &at).await, None);
    assert_eq!(version(&level, &other).await, Some(5), "it is the value since that change");
    level.put(at.as_ref(), &packed(6), Instant::now()).await;
    assert_eq!(version(&level, &at).await, None);
    level.put(at.as_ref(), &packed(7), Instant::now()).await;
    assert_eq!(version(&level, &at).await, Some(7));
    // What is over when it is put leaves nothing, and takes along what is older.
    level
        .put(at.as_ref(), &Encoded { kept_for: Duration::ZERO, ..packed(8) }, Instant::now())
        .await;
    assert_eq!(version(&level, &at).await, None);
    let life: i64 = server.ask(&["PTTL", &key(&at)]).await;
    assert!((60_000..=120_000).contains(&life), "{life}");
    level.forget(&[]).await;
}

#[tokio::test]
async fn a_generation_ends_for_all() {
    let server = Server::start(&[]).await;
    let (one, two) = (server.level(), server.level());
    let (at, other) = (address("fundamentals", None), address("other", None));
    one.put(at.as_ref(), &packed(5), Instant::now()).await;
    two.put(other.as_ref(), &packed(5), Instant::now()).await;
    assert_eq!(version(&two, &at).await, Some(5));

    let before = Instant::now();
    one.forget(&[everything(9)]).await;
    assert_eq!(version(&one, &at).await, None);
    one.put(at.as_ref(), &packed(6), before).await;
    assert_eq!(version(&one, &at).await, None, "it was loaded before the level was emptied");
    // What was read before is not stored, and takes along what is older still.
    two.put(at.as_ref(), &packed(6), Instant::now()).await;
    for level in [&one, &two] {
        assert_eq!(version(level, &at).await, None);
        assert_eq!(version(level, &other).await, None);
    }
    two.put(at.as_ref(), &packed(6), Instant::now()).await;
    assert_eq!(version(&one, &at).await, Some(6));

    let elsewhere = RedisOptions::new(&server.url()).expect("a URL");
    let elsewhere = RedisLevel::new(&elsewhere, "another db").expect("a level");
    assert_eq!(version(&elsewhere, &at).await, None);
    elsewhere.forget(&[everything(9), change(&at, 10)]).await;
    assert_eq!(version(&one, &at).await, Some(6));
}

#[tokio::test]
async fn an_evicted_generation_takes_its_values_along() {
    let server = Server::start(&[]).await;
    let (one, two) = (server.level(), server.level());
    let at = address("fundamentals", None);
    let generation = Keys::new("buffetbot", "db").generation;
    one.put(at.as_ref(), &packed(1), Instant::now()).await;
    let first: String = server.ask(&["GET", &generation]).await;
    let _: i64 = server.ask(&["DEL", &generation]).await;
    assert_eq!(version(&two, &at).await, None);
    assert_eq!(version(&one, &at).await, None);
    one.put(at.as_ref(), &packed(1), Instant::now()).await;
    assert_eq!(version(&two, &at).await, Some(1));
    let second: String = server.ask(&["GET", &generation]).await;
    assert_ne!(first, second);
}

#[tokio::test]
async fn garbage_under_our_keys_is_none_of_ours() {
    let server = Server::start(&[]).await;
    let (level, at) = (server.level(), address("fundamentals", None));
    let (key, beside) = (key(&at), address("beside", None));
    level
        .put_many(&[(at.as_ref(), &packed(1)), (beside.as_ref(), &packed(1))], Instant::now())
        .await;
    for (field, text) in [
        ("meta", "{}"),
        ("meta", "\u{0}"),
        ("version", "zzzzzzzzzzzzzzzzzzzzzzzzzz"),
        ("version", "x"),
        ("body", "{"),
        ("body", "\"\\u0000\""),
    ] {
        let _: i64 = server.ask(&["HSET", &key, field, text]).await;
        let found = level.get_many(&[at.as_ref(), beside.as_ref()]).await;
        assert!(found[0].is_none() && found[1].is_some(), "{field} {text}");
        level.put(at.as_ref(), &packed(1), Instant::now()).await;
        assert_eq!(version(&level, &at).await, Some(1), "{field} {text}");
    }
    let _: String = server.ask(&["SET", &key, "text"]).await;
    let found = level.get_many(&[at.as_ref(), beside.as_ref()]).await;
    assert!(found[0].is_none() && found[1].is_some());
    level.put(at.as_ref(), &packed(1), Instant::now()).await;
    assert_eq!(version(&level, &at).await, Some(1));

    let generation = Keys::new("buffetbot", "db").generation;
    let _: i64 = server.ask(&["DEL", &generation]).await;
    let _: i64 = server.ask(&["LPUSH", &generation, "x"]).await;
    assert_eq!(version(&level, &at).await, None);
    level.put(at.as_ref(), &packed(1), Instant::now()).await;
    assert_eq!(version(&level, &at).await, Some(1));
    let _: i64 = server.ask(&["LPUSH", "x", "y"]).await;
    let _: String = server.ask(&["RENAME", "x", &generation]).await;
    let fresh = server.level();
    fresh.put(at.as_ref(), &packed(1), Instant::now()).await;
    assert_eq!(version(&fresh, &at).await, Some(1));
    assert_eq!((level.errors(), fresh.errors()), (0, 0));
}

#[tokio::test]
async fn a_flushed_script_is_loaded_again() {
    let server = Server::start(&[]).await;
    let (level, at) = (server.level(), address("fundamentals", None));
    level.put(at.as_ref(), &packed(1), Instant::now()).await;
    let _: String = server.ask(&["SCRIPT", "FLUSH"]).await;
    level.put(at.as_ref(), &packed(2), Instant::now()).await;
    assert_eq!(version(&level, &at).await, Some(2));
    assert_eq!(level.errors(), 0);
}

#[test]
fn no_two_addresses_share_a_key() {
    let mut keys = std::collections::HashSet::new();
    let mut all = Vec::new();
    for name in ["a", "a:b", "a%3Ab", "b", "a:", "{a}", "", "é"] {
        for parameters in [None, Some("null"), Some("{}"), Some(r#""a""#), Some(r#"":a""#)] {
            for portfolio in [None, Some(uuid::Uuid::from_u128(1).into())] {
                for ticker in ["A", "A:A", "A%3AA", "{A}"] {
                    for space in [Namespace::MarketData, Namespace::Analyses] {
                        let ticker = ticker.parse().expect("a ticker");
                        let at = address(name, parameters);
                        all.push(EntryKey { space, ticker, portfolio, ..at });
                    }
                }
            }
        }
    }
    for (prefix, namespace) in [("p", "n"), ("p:n", ""), ("p", "n:"), ("p}", "{n"), ("", "p:n")] {
        let names = Keys::new(prefix, namespace);
        assert!(keys.insert(names.generation.clone()));
        let tag = names.generation.split_inclusive('}').next().expect("a tag");
        for address in &all {
            let key = names.entry(address.as_ref());
            assert!(key.starts_with(tag) && tag.starts_with('{'), "{key}");
            assert!(keys.insert(key), "{address:?}");
        }
    }
}

#[test]
fn options_keep_the_password_to_themselves() {
    let options = RedisOptions::new("redis://user:s3cret@localhost/1").expect("a URL");
    assert!(!format!("{options:?}").contains("s3cret"), "{options:?}");
    for url in ["", "s3cret", "http://:s3cret@x", "redis://:s3cret@x/y", "rediss://:s3cret@x"] {
        let error = RedisOptions::new(url).expect_err(url);
        assert!(
            matches!(&error, crate::error::Error::Config { variable, .. } if variable == "REDIS_URL")
        );
        assert!(!format!("{error:?} {error}").contains("s3cret"), "{error}");
    }
}

#[tokio::test]
async fn a_position_is_one_of_the_log_or_none() {
    let server = Server::start(&[]).await;
    let (level, other) = (server.level(), server.level());
    assert_eq!(level.position().await, None);
    let key = Keys::new("buffetbot", "db").position;
    for snapshot in ["7:7:", "3:9:3,5,8", "100:104:100,102"] {
        level.set_position(snapshot).await;
        assert_eq!(other.position().await.as_deref(), Some(snapshot));
    }
    let life: i64 = server.ask(&["PTTL", &key]).await;
    assert!((1..3_600_000).contains(&life), "the log goes back further: {life}");
    for text in ["", "7", "0:7:", "9:7:", "3:9:3,3", "3:9:9", "3:9:x", "3:9:3,", "-3:9:"] {
        let _: String = server.ask(&["SET", &key, text]).await;
        assert_eq!(level.position().await, None, "{text}");
    }
}

#[tokio::test]
async fn of_analyses_what_a_change_does_not_name_is_dropped_whatever_its_version() {
    let server = Server::start(&[]).await;
    let (level, at) = (server.level(), address("fundamentals", None));
    let result = EntryKey { space: Namespace::Analyses, ..at.clone() };
    for at in [&at, &result] {
        level.put(at.as_ref(), &packed(7), Instant::now()).await;
        level.forget(&[change(at, 7)]).await;
        assert_eq!(version(&level, at).await, Some(7), "it is what the change made");
        level.forget(&[change(at, 5)]).await;
    }
    assert_eq!(version(&level, &at).await, Some(7), "newer is newer");
    for late in [5, 7, 8] {
        level.put(result.as_ref(), &packed(late), Instant::now()).await;
        assert_eq!(version(&level, &result).await, None, "kept out for now: {late}");
    }
    let life: i64 = server.ask(&["PTTL", &key(&result)]).await;
    assert!((1..=10_000).contains(&life), "{life}");
}
