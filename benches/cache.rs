//! The cache against hand-written code for the same server, driver and rows, and against bare moka.
//!
//! `cargo bench --bench cache` prints a table of ratios (ours to the other's, of times: less is
//! better) with their goals; `-- --plot FILE.svg` draws it, `-- --smoke` only shows that it runs.

#[path = "raw/documents.rs"]
mod documents;
mod support;

use std::cell::Cell;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use buffetbot_db::cache::{BoxError, CacheOptions, Cached, Policy};
use buffetbot_db::prelude::*;
use documents::{CompanyInfo, ENTRIES, RawCache, company, key};
use futures_util::future::try_join_all;
use support::{Arguments, Effort, Row, pair};

/// Keys that are asked for at once.
const MANY: usize = 100;
/// Callers who want the same key at the same time.
const CROWD: usize = 64;
const DAY: Duration = Duration::from_secs(86_400);

struct Sizes {
    memory: Effort,
    database: Effort,
    many: Effort,
}

type Outcome<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let arguments = Arguments::parse()?;
    let effort = |rounds, operations| Effort { rounds, operations };
    let sizes = match arguments.smoke {
        true => Sizes { memory: effort(1, 100), database: effort(1, 10), many: effort(1, 1) },
        false => {
            Sizes { memory: effort(31, 20_000), database: effort(31, 200), many: effort(31, 5) }
        }
    };
    // One thread for both contenders: what is measured is the work, not how soon another core wakes.
    let one_thread = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let rows = one_thread.block_on(async {
        let db = Database::ephemeral().await?;
        db.migrate().await?;
        let url = db.server().map(|server| server.url("buffetbot")).unwrap_or_default();
        eprintln!("PostgreSQL {}", db.server().map_or("?", |s| s.version()));
        let raw = RawCache::connect(&url).await?;
        let entries: Vec<NewCacheEntry> = (0..ENTRIES)
            .map(|i| {
                let options = PutOptions::ttl(DAY).source("bench");
                Ok(NewCacheEntry::new(key(i), Document::encode(&company(i))?, options))
            })
            .collect::<Result<_>>()?;
        db.market_cache().put_many(&entries).await?;
        raw.batch("VACUUM ANALYZE market_data_cache").await?;
        let mut rows = vec![memory(&db, &sizes).await?];
        // Without copies in memory every lookup asks the database.
        let bare = db.clone().with_cache(CacheOptions::default().memory(0))?;
        rows.extend(database(&bare, &raw, &sizes).await?);
        rows.push(puts(&bare, &raw, &sizes).await?);
        rows.push(crowd(&db, &sizes).await?);
        Outcome::Ok(rows)
    })?;
    arguments.finish("Time, as a share of the other's (tick: goal)", &rows)?;
    Ok(())
}

fn policy() -> Policy {
    Policy::ttl(DAY).source("bench")
}

/// A lookup of what is there.
async fn look_up(cache: &Cache, key: &CacheKey, policy: &Policy) -> Cached<CompanyInfo> {
    let fetch = |_| async { Err::<CompanyInfo, _>("it is there") };
    cache.get_or_fetch(key, policy, fetch).await.expect("the document")
}

async fn memory(db: &Database, sizes: &Sizes) -> Outcome<Row> {
    // Hits do not yield: for as long as they are timed nobody reads the log of changes.
    let db = db.clone().with_cache(CacheOptions::default().max_staleness(DAY))?;
    let (cache, policy) = (db.cache(), policy());
    let keys: Vec<CacheKey> = (0..ENTRIES).map(key).collect();
    let names: Vec<String> = keys
        .iter()
        .map(|key| {
            let parameters = key.parameters.as_ref().map_or("", Document::as_str);
            format!("{}:{}:{parameters}", key.ticker, key.data_type)
        })
        .collect();
    let peer = moka::sync::Cache::<String, Arc<CompanyInfo>>::new(2 * ENTRIES as u64);
    for (key, name) in keys.iter().zip(&names) {
        peer.insert(name.clone(), look_up(cache, key, &policy).await.value);
    }
    let ours = async |i: usize| {
        black_box(look_up(cache, &keys[i % ENTRIES], &policy).await);
    };
    let other = async |i: usize| {
        black_box(peer.get(&names[i % ENTRIES]).expect("the document"));
    };
    let row = pair("get_or_fetch, in memory / moka's get", 1.5, sizes.memory, ours, other).await;
    let hits = cache.counters().memory_hits as usize;
    assert_eq!(hits, (sizes.memory.rounds + 1) * sizes.memory.operations, "all were in memory");
    Ok(row)
}

/// The type of a small document.
fn quote() -> DataType {
    DataType::new("quote").expect("a data type")
}

async fn database(db: &Database, raw: &RawCache, sizes: &Sizes) -> Outcome<Vec<Row>> {
    let keys: Vec<CacheKey> = (0..ENTRIES).map(key).collect();
    let hundred: Vec<CacheKey> = (0..MANY).map(|i| key(i * 7)).collect();
    let repository: Arc<dyn MarketCacheRepository> = db.market_cache_arc();
    let ours = async |i: usize| {
        let found = db.cache().get::<CompanyInfo>(&keys[i % ENTRIES]).await;
        black_box(found.expect("get").expect("the document"));
    };
    let many = async |_| {
        let found = repository.get_many(&hundred).await.expect("get_many");
        assert!(found.iter().all(Option::is_some));
    };
    let single = async |_| {
        for key in &hundred {
            black_box(repository.get(key).await.expect("get").expect("the document"));
        }
    };
    // What a round trip costs shows where the document itself costs little.
    let quotes: Vec<CacheKey> =
        hundred.iter().map(|key| CacheKey { data_type: quote(), ..key.clone() }).collect();
    for key in &quotes {
        let value = serde_json::json!({"price": 430.47, "volume": 1_234_567});
        db.cache().put(key, value, &policy()).await?;
    }
    let many_quotes = async |_| {
        let found = repository.get_many(&quotes).await.expect("get_many");
        assert!(found.iter().all(Option::is_some));
    };
    let single_quotes = async |_| {
        for key in &quotes {
            black_box(repository.get(key).await.expect("get").expect("the quote"));
        }
    };
    let fetch_many = |_| async { Ok::<Vec<(CacheKey, CompanyInfo)>, BoxError>(Vec::new()) };
    let policy = policy();
    let many_cached = async |_| {
        let found = db.cache().get_many_or_fetch(&hundred, &policy, fetch_many).await;
        assert!(found.expect("get_many_or_fetch").iter().all(Result::is_ok));
    };
    let single_cached = async |_| {
        for key in &hundred {
            black_box(look_up(db.cache(), key, &policy).await);
        }
    };
    Ok(vec![
        pair("cache get into a struct / raw into Value", 1.0, sizes.database, ours, async |i| {
            black_box(raw.get::<serde_json::Value>(&keys[i % ENTRIES]).await);
        })
        .await,
        pair(
            "cache get into a struct / raw into the same",
            1.15,
            sizes.database,
            ours,
            async |i| {
                black_box(raw.get::<CompanyInfo>(&keys[i % ENTRIES]).await);
            },
        )
        .await,
        pair("get_many of 100 quotes / 100 gets", 0.1, sizes.many, many_quotes, single_quotes)
            .await,
        pair("get_many of 100 keys / 100 gets", 0.1, sizes.many, many, single).await,
        pair(
            "get_many_or_fetch of 100 stored keys / 100 get_or_fetch",
            0.1,
            sizes.many,
            many_cached,
            single_cached,
        )
        .await,
    ])
}

async fn puts(db: &Database, raw: &RawCache, sizes: &Sizes) -> Outcome<Row> {
    let keys: Vec<CacheKey> = (0..ENTRIES).map(key).collect();
    let policy = policy();
    // Each writes what the row does not hold yet, from a struct that is made anew.
    let turn = Cell::new(0);
    let next = || company(turn.replace(turn.get() + 1));
    let ours = async |i: usize| {
        black_box(db.cache().put(&keys[i % ENTRIES], next(), &policy).await.expect("put"));
    };
    let other = async |i: usize| {
        let document = Document::encode(&next()).expect("a document");
        black_box(raw.put(&keys[i % ENTRIES], &document).await);
    };
    let name = "cache put / raw prepared upsert";
    Ok(pair(name, 1.15, sizes.database, ours, other).await)
}

/// One flight: a crowd costs little more than one caller.
async fn crowd(db: &Database, sizes: &Sizes) -> Outcome<Row> {
    let db = db.clone().with_cache(CacheOptions::default())?;
    let policy = policy();
    let turn = Cell::new(0);
    let cold = || {
        let ticker = Ticker::new(&format!("C{}", turn.replace(turn.get() + 1)));
        CacheKey::new(&ticker.expect("a ticker"), DataType::FUNDAMENTALS)
    };
    let fetch = |_| async { Ok::<_, BoxError>(company(0)) };
    let ours = async |_| {
        let key = cold();
        let callers = (0..CROWD).map(|_| db.cache().get_or_fetch(&key, &policy, fetch));
        black_box(try_join_all(callers).await.expect("the document"));
    };
    let other = async |_| {
        let key = cold();
        black_box(db.cache().get_or_fetch(&key, &policy, fetch).await.expect("the document"));
    };
    let name = "64 callers of a cold key / one caller";
    let effort = Effort { operations: sizes.many.operations * 4, ..sizes.many };
    let row = pair(name, 1.5, effort, ours, other).await;
    assert_eq!(db.cache().counters().fetches, turn.get() as u64, "one fetch for each key");
    Ok(row)
}
