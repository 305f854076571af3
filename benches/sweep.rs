//! What readers of the cache notice of two sweepers at work.
//!
//! `cargo bench --bench sweep` prints a table: median and 99th percentile of `get`, by eight readers at
//! once, alone and beside the sweepers, in turns; `-- --smoke` only shows that it runs.

#[allow(dead_code, reason = "the other benchmark's table and chart")]
mod support;

use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use buffetbot_db::prelude::*;
use diesel_async::SimpleAsyncConnection;
use futures_util::future::try_join_all;
use support::shown;

const READERS: usize = 8;
/// Rows that one statement of a sweeper deletes.
const BATCH: u32 = 1_000;

struct Sizes {
    rounds: usize,
    /// Rows that stay.
    live: usize,
    /// Rows that are swept in each round.
    expired: usize,
}

/// What one round measured: times of reads, sorted, and how long the sweepers took.
struct Round {
    alone: Vec<Duration>,
    beside: Vec<Duration>,
    span: Duration,
}

type Outcome<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let smoke = std::env::args().any(|argument| argument == "--smoke");
    let sizes = match smoke {
        true => Sizes { rounds: 1, live: 2_000, expired: 2_000 },
        false => Sizes { rounds: 7, live: 200_000, expired: 200_000 },
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(run(&sizes))
}

async fn run(sizes: &Sizes) -> Outcome<()> {
    let server = Database::ephemeral().await?;
    server.migrate().await?;
    let url = server.server().map(|server| server.url("buffetbot")).unwrap_or_default();
    let db = Database::connect(Config::new(&url)?.pool_size(READERS as u32 + 2)).await?;
    fill(&db, "L", sizes.live, "+ interval '1 day'").await?;
    let mut rounds = Vec::new();
    for round in 0..=sizes.rounds {
        fill(&db, "E", sizes.expired, "- interval '1 hour'").await?;
        batch(&db, "VACUUM ANALYZE market_data_cache; CHECKPOINT").await?;
        let done = AtomicBool::new(false);
        let started = Instant::now();
        let (beside, deleted) = tokio::try_join!(readers(&db, sizes.live, &done), async {
            let deleted = tokio::try_join!(sweeper(&db), sweeper(&db))?;
            done.store(true, Ordering::Relaxed);
            Ok(deleted.0 + deleted.1)
        })?;
        let span = started.elapsed();
        assert_eq!(deleted, sizes.expired as u64);
        // As long without them, on the table as it is then.
        done.store(false, Ordering::Relaxed);
        let (alone, ()) = tokio::try_join!(readers(&db, sizes.live, &done), async {
            tokio::time::sleep(span).await;
            done.store(true, Ordering::Relaxed);
            Ok(())
        })?;
        // The first round does not count.
        if round > 0 {
            rounds.push(Round { alone, beside, span });
        }
    }
    report(sizes, &rounds);
    Ok(())
}

/// Entries of 1 kB or so, under keys that start with `prefix`.
async fn fill(db: &Database, prefix: &str, rows: usize, expiry: &str) -> Result<()> {
    let insert = format!(
        "INSERT INTO market_data_cache (ticker, data_type, data, cached_at, expires_at)
         SELECT '{prefix}' || i, 'news',
             jsonb_build_object('text', md5(i::text) || repeat(md5((i + 1)::text), 30)),
             now() - interval '2 days', now() {expiry}
         FROM generate_series(0, {rows} - 1) i"
    );
    batch(db, &insert).await
}

async fn batch(db: &Database, sql: &str) -> Result<()> {
    let connection = db.connection().await?;
    for statement in sql.split(';') {
        connection.as_diesel().batch_execute(statement).await?;
    }
    Ok(())
}

async fn sweeper(db: &Database) -> Result<u64> {
    let mut deleted = 0;
    loop {
        let swept = db.market_cache().sweep_expired(BATCH, Duration::ZERO).await?;
        deleted += swept.deleted;
        if !swept.more_left {
            return Ok(deleted);
        }
    }
}

/// The times of all reads until `done`, sorted.
async fn readers(db: &Database, live: usize, done: &AtomicBool) -> Result<Vec<Duration>> {
    let next = AtomicUsize::new(0);
    let reader = async || {
        let mut times = Vec::new();
        while !done.load(Ordering::Relaxed) {
            let i = next.fetch_add(104_729, Ordering::Relaxed) % live;
            let key = CacheKey::new(&format!("L{i}").parse()?, DataType::NEWS);
            let started = Instant::now();
            let found = db.market_cache().get(&key).await?;
            times.push(started.elapsed());
            assert!(found.is_some(), "{key:?}");
        }
        Ok::<_, buffetbot_db::Error>(times)
    };
    let mut times = try_join_all((0..READERS).map(|_| reader())).await?.concat();
    times.sort_unstable();
    Ok(times)
}

fn report(sizes: &Sizes, rounds: &[Round]) {
    let middle = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    println!(
        "| get by {READERS} readers, {} live rows | alone | beside two sweepers | ratio |\n|---|---|---|---|",
        sizes.live
    );
    for (name, share) in [("median", 0.5), ("99th percentile", 0.99)] {
        let at = |times: &[Duration]| times[((times.len() - 1) as f64 * share) as usize];
        let of = |pick: &dyn Fn(&Round) -> f64| middle(rounds.iter().map(pick).collect());
        let alone = of(&|round| at(&round.alone).as_secs_f64());
        let beside = of(&|round| at(&round.beside).as_secs_f64());
        let ratio = of(&|round| at(&round.beside).as_secs_f64() / at(&round.alone).as_secs_f64());
        println!(
            "| {name} | {} | {} | {ratio:.2} |",
            shown(Duration::from_secs_f64(alone)),
            shown(Duration::from_secs_f64(beside)),
        );
    }
    let rate = middle(rounds.iter().map(|r| sizes.expired as f64 / r.span.as_secs_f64()).collect());
    println!("\nswept meanwhile: {rate:.0} rows a second, {BATCH} a statement");
}
