//! Streams millions of made-up bars into a database and out again, and tells how much memory that took:
//!
//! ```sh
//! cargo run -p buffetbot-db --example stream_millions -- 5000000
//! ```
//!
//! `benches/memory.sh` holds the figure against its limit. The server is another process.

use std::time::Instant;

use buffetbot_db::prices::{DeliveredBar, IngestOptions, NewPriceBar};
use buffetbot_db::types::{Price, Ticker};
use buffetbot_db::{Database, Result};
use chrono::{Days, NaiveDate};
use futures_util::{StreamExt, TryStreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};

/// Bars of one ticker.
const DAYS: u64 = 10_000;

#[tokio::main]
async fn main() -> Result<()> {
    let asked = std::env::args().nth(1).and_then(|count| count.parse().ok());
    let count: u64 = asked.unwrap_or(1_000_000);
    let db = Database::ephemeral().await?;
    db.migrate().await?;

    let bar = progress("in", count);
    let started = Instant::now();
    let delivered = stream::iter((0..count).map(|i| bar_of(i).map(DeliveredBar::from)))
        .inspect(|_| bar.inc(1))
        .boxed();
    let report = db.prices().copy_in(delivered, &IngestOptions::new()).await?;
    bar.finish_and_clear();
    println!("in:  {} bars in {:.1} s", report.inserted, started.elapsed().as_secs_f64());

    let bar = progress("out", count);
    let started = Instant::now();
    let tickers: Vec<Ticker> = (0..count.div_ceil(DAYS)).map(ticker).collect::<Result<_>>()?;
    let mut stored = db.prices().stream_range(&tickers, NaiveDate::MIN, NaiveDate::MAX);
    let mut read = 0u64;
    while let Some(stored) = stored.try_next().await? {
        std::hint::black_box(stored);
        read += 1;
        bar.inc(1);
    }
    bar.finish_and_clear();
    println!("out: {read} bars in {:.1} s", started.elapsed().as_secs_f64());
    if let Some(peak) = peak_memory() {
        println!("peak memory of this process: {peak} kB");
    }
    assert_eq!((report.inserted, read), (count, count));
    Ok(())
}

fn ticker(n: u64) -> Result<Ticker> {
    Ticker::new(&format!("M{n:05}"))
}

fn bar_of(i: u64) -> Result<NewPriceBar> {
    let first = NaiveDate::from_ymd_opt(1990, 1, 1).unwrap_or_default();
    let cents =
        |offset: u64| Price::new(bigdecimal::BigDecimal::new((5_000 + i % 97 + offset).into(), 2));
    let bar = NewPriceBar::new(ticker(i / DAYS)?, first + Days::new(i % DAYS), cents(5)?);
    Ok(bar.ohl(cents(3)?, cents(9)?, cents(0)?).volume(i as i64))
}

fn progress(what: &'static str, count: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:4} [{bar:40}] {pos}/{len} {per_sec} {eta}");
    ProgressBar::new(count)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_message(what)
}

/// The most memory that this process had resident, in kB, where the system tells.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}
