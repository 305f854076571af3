//! A million bars of 500 tickers: taken in, delivered again, and the latest of each, against what one
//! would write by hand for the same table.
//!
//! `cargo bench --bench series` prints a table of ratios (ours to the other's, of times: less is better)
//! with their goals; `-- --plot FILE.svg` draws it, `-- --smoke` only shows that it runs.

#[path = "raw/bars.rs"]
mod bars;
#[path = "support/market.rs"]
mod market;
#[expect(dead_code, reason = "the peers of other benchmarks")]
mod raw;
mod support;

use bars::{DieselBars, RawBars, Sqlx, plain};
use buffetbot_db::prelude::*;
use buffetbot_db::prices::{ArrowOptions, Decimals, IngestOptions, Series};
use chrono::NaiveDate;
use futures_util::{StreamExt, TryStreamExt, stream};
use raw::DieselPeer;
use support::{Arguments, Effort, Row, pair};

/// Bars of one ticker: eight years of trading days.
const DAYS: usize = 2_000;

type Outcome<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let arguments = Arguments::parse()?;
    let (count, rounds) = if arguments.smoke { (10_000, 1) } else { (1_000_000, 3) };
    // Two threads, as programs have: encoding goes on while the server answers.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let db = Database::ephemeral().await?;
        db.migrate().await?;
        let url = db.server().map(|server| server.url("buffetbot")).unwrap_or_default();
        eprintln!("PostgreSQL {}", db.server().map_or("?", |s| s.version()));
        let new = market::bars(count, DAYS);
        let effort = Effort { rounds, operations: 1 };
        let mut rows = reads(&db, &url, &new, effort).await?;
        rows.push(latest(&db, &url, &new).await?);
        rows.extend(ingest(&db, &url, &new, effort).await?);
        arguments.finish("Time, as a share of the other's (tick: goal)", &rows)?;
        Ok(())
    })
}

async fn ingest(
    db: &Database,
    url: &str,
    new: &[NewPriceBar],
    effort: Effort,
) -> Outcome<Vec<Row>> {
    let (raw, diesel) = (RawBars::connect(url).await?, DieselPeer::connect(url).await?);
    let socket = db.server().ok_or("the embedded server")?.socket_dir();
    let sqlx = Sqlx::connect(socket).await?;
    let plain = plain(new);
    let all = new.len() as u64;
    let observer = raw::documents::client(url).await?;
    let permit = "ALTER TABLE price_history DISABLE TRIGGER price_history_refuse_truncate";
    observer.batch_execute(permit).await?;
    let fresh = async || observer.batch_execute("TRUNCATE price_history").await.expect("truncated");
    let upserted = async |_| {
        fresh().await;
        assert_eq!(db.prices().upsert_many(new).await.expect("stored").inserted, all);
    };
    let streamed = async |_| {
        fresh().await;
        let bars = stream::iter(new.iter().map(|bar| Ok(bar.clone().into()))).boxed();
        let report = db.prices().copy_in(bars, &IngestOptions::new()).await.expect("stored");
        assert_eq!(report.inserted, all);
    };
    let copied = async |_| {
        fresh().await;
        assert_eq!(raw.copy(&plain).await, all);
    };
    let unnested = async |_| {
        fresh().await;
        assert_eq!(sqlx.upsert(&plain).await, all);
    };
    let inserted = async |_| {
        fresh().await;
        assert_eq!(diesel.insert(new).await as u64, all);
    };
    let mut rows = vec![
        pair("upsert_many / raw binary COPY, no merge", 1.0 / 0.9, effort, upserted, copied).await,
        pair("copy_in / raw binary COPY, no merge", 1.0 / 0.9, effort, streamed, copied).await,
        pair("upsert_many / sqlx UNNEST upsert", 1.0 / 1.3, effort, upserted, unnested).await,
        pair("copy_in / sqlx UNNEST upsert", 1.0 / 1.3, effort, streamed, unnested).await,
    ];
    let again = async |_| {
        let report = db.prices().upsert_many(new).await.expect("stored");
        assert_eq!((report.unchanged, report.written()), (all, 0));
    };
    fresh().await;
    db.prices().upsert_many(new).await?;
    raw.analyze().await?;
    rows.push(pair("the same bars again / stored first", 1.0 / 3.0, effort, again, upserted).await);
    // Minutes, in which little is left to chance.
    let once = Effort { rounds: 1, ..effort };
    let name = "upsert_many / Diesel multi-row insert";
    rows.push(pair(name, 1.0 / 2.5, once, upserted, inserted).await);
    Ok(rows)
}

/// The whole million, as columns and as structs, against what the server sends.
async fn reads(db: &Database, url: &str, new: &[NewPriceBar], effort: Effort) -> Outcome<Vec<Row>> {
    let (raw, diesel) = (RawBars::connect(url).await?, DieselBars::connect(url).await?);
    db.prices().upsert_many(new).await?;
    raw.analyze().await?;
    let tickers: Vec<Ticker> =
        new[..new.len() / DAYS].iter().map(|bar| bar.ticker.clone()).collect();
    let (first, last) = (NaiveDate::MIN, NaiveDate::MAX);
    let prices = db.prices();
    let structs = async |_| {
        let bars = prices.range_many(&tickers, first, last).await.expect("read");
        assert_eq!(bars.len(), new.len());
    };
    let loaded = async |_| assert_eq!(diesel.load(&tickers).await, new.len());
    let columns = async |_| {
        let all = prices.columns(&tickers, first, last).await.expect("read");
        assert_eq!(all.iter().map(Series::len).sum::<usize>(), new.len());
    };
    let batches = async |options: ArrowOptions| {
        let rows = db
            .record_batches(&tickers, first, last, options)
            .try_fold(0, async |sum, batch| Ok(sum + batch.num_rows()));
        assert_eq!(rows.await.expect("read"), new.len());
    };
    let floats = ArrowOptions::new().decimals(Decimals::Float64);
    let exact = async |_| batches(ArrowOptions::new()).await;
    let any_floats = async |_| batches(floats.unordered()).await;
    let any_exact = async |_| batches(ArrowOptions::new().unordered()).await;
    let floats = async |_| batches(floats).await;
    let bytes = async |_| assert!(raw.copy_out().await > new.len() as u64);
    let effort = Effort { rounds: effort.rounds.max(7), ..effort };
    let (structs_goal, bytes_goal) = (1.0 / 1.6, 1.0 / 0.8);
    Ok(vec![
        pair("columns / Diesel load into structs", structs_goal, effort, columns, loaded).await,
        pair("record_batches / Diesel load into structs", structs_goal, effort, exact, loaded)
            .await,
        pair("columns / range_many into structs", 1.0, effort, columns, structs).await,
        pair("columns / COPY OUT thrown away", bytes_goal, effort, columns, bytes).await,
        pair("Float64 batches, unordered / COPY OUT", bytes_goal, effort, any_floats, bytes).await,
        pair("Decimal128 batches, unordered / COPY OUT", bytes_goal, effort, any_exact, bytes)
            .await,
        pair("Float64 batches, in order / COPY OUT", bytes_goal, effort, floats, bytes).await,
        pair("Decimal128 batches, in order / COPY OUT", bytes_goal, effort, exact, bytes).await,
    ])
}

/// Of the bars that are stored.
async fn latest(db: &Database, url: &str, new: &[NewPriceBar]) -> Outcome<Row> {
    let raw = RawBars::connect(url).await?;
    let tickers: Vec<Ticker> =
        new[..new.len() / DAYS].iter().map(|bar| bar.ticker.clone()).collect();
    let names: Vec<String> = tickers.iter().map(Ticker::to_string).collect();
    let effort = Effort { rounds: 11, operations: 1 };
    let ours = async |_| {
        assert_eq!(db.prices().latest(&tickers).await.expect("read").len(), tickers.len());
    };
    let other = async |_| assert_eq!(raw.latest(&names).await, names.len());
    let name = "latest of 500 tickers, with the close before / DISTINCT ON";
    Ok(pair(name, 1.0 / 20.0, effort, ours, other).await)
}
