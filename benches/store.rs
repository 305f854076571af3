//! The repositories against hand-written code for the same driver, server and rows.
//!
//! `cargo bench --bench store` prints a table of ratios (ours to the other's, of times: less is
//! better) with their goals; `-- --plot FILE.svg` draws it, `-- --smoke` only shows that it runs.

#[path = "support/market.rs"]
mod market;
mod raw;
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use buffetbot_db::prelude::*;
use buffetbot_db::users::UserPatch;
use chrono::NaiveDate;
use futures_util::future::try_join_all;
use market::bars;
use raw::Raw;
use raw::documents::{CompanyInfo, ENTRIES, RawCache, company, key};
use support::{Arguments, Effort, Row, pair, shown};

/// Bars of one ticker that a range read returns: ten years of trading days.
const RANGE: usize = 2_500;

struct Sizes {
    fast: Effort,
    bulk: Effort,
    bars: usize,
}

type Outcome<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let arguments = Arguments::parse()?;
    let sizes = if arguments.smoke {
        let effort = Effort { rounds: 1, operations: 10 };
        Sizes { fast: effort, bulk: Effort { operations: 1, ..effort }, bars: 5_000 }
    } else {
        let bulk = Effort { rounds: 5, operations: 1 };
        Sizes { fast: Effort { rounds: 31, operations: 200 }, bulk, bars: 200_000 }
    };
    // One thread for both contenders: what is measured is the work, not how soon another core wakes.
    let one_thread = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let db = one_thread.block_on(async {
        let db = Database::ephemeral().await?;
        db.migrate().await.map(|_| db)
    })?;
    let url = db.server().map(|server| server.url("buffetbot")).unwrap_or_default();
    eprintln!("PostgreSQL {}", db.server().map_or("?", |s| s.version()));
    let mut rows = one_thread.block_on(cache(&db, &url, &sizes))?;
    // Pipelining lets the driver's half of the connection work beside the caller's: two threads.
    let threads =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    rows.push(threads.block_on(pipelining(&url, &sizes))?);
    rows.extend(one_thread.block_on(async {
        let raw = Raw::connect(&url).await?;
        let mut rows = updates(&db, &raw, &sizes).await?;
        rows.extend(reads(&db, &raw, &sizes).await?);
        rows.extend(bulk(&db, &raw, &url, &sizes).await?);
        Outcome::Ok(rows)
    })?);
    arguments.finish("Time, as a share of the other's (tick: goal)", &rows)?;
    one_thread.block_on(checkout(&db))?;
    Ok(())
}

async fn cache(db: &Database, url: &str, sizes: &Sizes) -> Outcome<Vec<Row>> {
    let raw = RawCache::connect(url).await?;
    let options = PutOptions::ttl(Duration::from_secs(86_400)).source("bench");
    let documents: Vec<Document> =
        (0..ENTRIES).map(|i| Document::encode(&company(i))).collect::<Result<_>>()?;
    let entries = documents.iter().enumerate();
    let entries: Vec<_> =
        entries.map(|(i, d)| NewCacheEntry::new(key(i), d.clone(), options.clone())).collect();
    db.market_cache().put_many(&entries).await?;
    raw.batch("VACUUM ANALYZE market_data_cache").await?;
    let keys: Vec<CacheKey> = (0..ENTRIES).map(key).collect();
    let dynamic: Arc<dyn MarketCacheRepository> = db.market_cache_arc();
    let get = async |i: usize| {
        let entry = dynamic.get(&keys[i % ENTRIES]).await.expect("get").expect("an entry");
        std::hint::black_box(entry.decode::<CompanyInfo>().expect("the document"));
    };
    let put = async |i: usize| {
        let document = &documents[(i + 1) % ENTRIES];
        dynamic.put(&keys[i % ENTRIES], document, &options).await.expect("put");
    };
    Ok(vec![
        pair("cache get into a struct / raw into Value", 1.0, sizes.fast, get, async |i| {
            std::hint::black_box(raw.get::<serde_json::Value>(&keys[i % ENTRIES]).await);
        })
        .await,
        pair("cache get into a struct / raw into the same", 1.1, sizes.fast, get, async |i| {
            std::hint::black_box(raw.get::<CompanyInfo>(&keys[i % ENTRIES]).await);
        })
        .await,
        pair("cache put / raw prepared upsert", 1.1, sizes.fast, put, async |i| {
            raw.put(&keys[i % ENTRIES], &documents[(i + 1) % ENTRIES]).await;
        })
        .await,
    ])
}

async fn pipelining(url: &str, sizes: &Sizes) -> Outcome<Row> {
    let db = Database::connect(Config::new(url)?).await?;
    let ten: Vec<CacheKey> = (0..10).map(|i| key(i * 7)).collect();
    let unit = db.begin().await?;
    let row = pair(
        "ten gets pipelined in a unit of work / in sequence",
        0.6,
        sizes.fast,
        async |_| {
            let gets = ten.iter().map(|key| unit.market_cache().get(key));
            std::hint::black_box(try_join_all(gets).await.expect("gets"));
        },
        async |_| {
            for key in &ten {
                std::hint::black_box(unit.market_cache().get(key).await.expect("get"));
            }
        },
    )
    .await;
    unit.rollback().await?;
    Ok(row)
}

async fn updates(db: &Database, raw: &Raw, sizes: &Sizes) -> Outcome<Vec<Row>> {
    let hash = PasswordHash::new(raw::HASH)?;
    let new: Vec<NewUser> =
        (0..500).map(|i| NewUser::new(format!("user{i}@example.com"), hash.clone())).collect();
    let users = db.users().create_many(&new).await?;
    raw.batch("VACUUM ANALYZE users").await?;
    let ours = async |i: usize| {
        let patch = UserPatch::default().first_name(format!("N{i}"));
        std::hint::black_box(db.users().update(users[i % 500].id, &patch).await.expect("update"));
    };
    let other = async |i: usize| {
        std::hint::black_box(raw.rename(users[i % 500].id.0, &format!("M{i}")).await);
    };
    Ok(vec![pair("update of a user / raw prepared UPDATE", 1.1, sizes.fast, ours, other).await])
}

async fn reads(db: &Database, raw: &Raw, sizes: &Sizes) -> Outcome<Vec<Row>> {
    let stored = bars(RANGE * 20, RANGE);
    db.prices().upsert_many(&stored).await?;
    raw.batch("VACUUM ANALYZE price_history").await?;
    let first = stored[0].clone();
    let (from, to) = (NaiveDate::MIN, NaiveDate::MAX);
    let prices: Arc<dyn PriceRepository> = db.prices_arc();
    let effort = Effort { operations: sizes.fast.operations / 10, ..sizes.fast };
    let ours = async |_| {
        let found = prices.range(&first.ticker, from, to).await.expect("range");
        assert_eq!(found.len(), RANGE);
    };
    let other = async |_| assert_eq!(raw.range(first.ticker.as_str()).await.len(), RANGE);
    Ok(vec![pair("range of 2,500 bars into structs / raw", 1.1, effort, ours, other).await])
}

async fn bulk(db: &Database, raw: &Raw, url: &str, sizes: &Sizes) -> Outcome<Vec<Row>> {
    let new = bars(sizes.bars, RANGE);
    raw.batch("ALTER TABLE price_history DISABLE TRIGGER price_history_refuse_truncate").await?;
    let fresh = async || raw.batch("TRUNCATE price_history").await.expect("truncate");
    let ours = async |_| {
        fresh().await;
        let report = db.prices().upsert_many(&new).await.expect("upsert_many");
        assert_eq!(report.inserted, new.len() as u64);
    };
    let copied = async |_| {
        fresh().await;
        assert_eq!(raw.copy_and_merge(&new).await, new.len() as u64);
    };
    let diesel = raw::DieselPeer::connect(url).await?;
    let inserted = async |_| {
        fresh().await;
        assert_eq!(diesel.insert(&new).await, new.len());
    };
    Ok(vec![
        pair(
            "upsert_many of 200,000 bars / raw COPY staging + merge",
            1.25,
            sizes.bulk,
            ours,
            copied,
        )
        .await,
        pair(
            "upsert_many of 200,000 bars / Diesel multi-row insert",
            0.5,
            sizes.bulk,
            ours,
            inserted,
        )
        .await,
    ])
}

/// Taking an idle connection from the pool and giving it back.
async fn checkout(db: &Database) -> Outcome<()> {
    const TIMES: u32 = 20_000;
    let mut samples = Vec::new();
    for _ in 0..15 {
        let started = Instant::now();
        for _ in 0..TIMES {
            std::hint::black_box(db.pool().get().await?);
        }
        samples.push(started.elapsed() / TIMES);
    }
    samples.sort_unstable();
    println!(
        "pool checkout and return, uncontended: {} (goal: 1 us)",
        shown(samples[samples.len() / 2])
    );
    Ok(())
}
