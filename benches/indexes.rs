//! What each index of `price_history` and `options_data` costs: ingest without it against ingest with all,
//! and its size.
//!
//! `cargo bench --bench indexes` prints a table; `-- --smoke` only shows that it runs. What the indexes are
//! for is in `docs/schema.md`, and plans in the tests.

#[path = "support/market.rs"]
mod market;
#[allow(dead_code, reason = "the other benchmarks' plot")]
mod support;

use buffetbot_db::options::OptionContract;
use buffetbot_db::prelude::*;
use buffetbot_db::types::{Premium, TradingDay};
use chrono::{DateTime, Days, NaiveDate, Utc};
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Text};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use support::{Arguments, Effort, pair};

type Outcome<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Indexes that a statement can do without; of the others one is the primary key, and one the key that the
/// merge goes by.
const PRICES: [&str; 1] = ["idx_price_date_ticker"];
const OPTIONS: [&str; 5] = [
    "idx_options_ticker_expiration",
    "idx_options_ticker_type_exp",
    "idx_options_expiration_strike",
    "idx_options_fetch_timestamp",
    "options_data_ticker_fetched_idx",
];

#[derive(QueryableByName)]
struct Size {
    #[diesel(sql_type = BigInt)]
    bytes: i64,
}

#[derive(QueryableByName)]
struct Definition {
    #[diesel(sql_type = Text)]
    definition: String,
}

fn main() -> Outcome<()> {
    let arguments = Arguments::parse()?;
    let (count, rounds) = if arguments.smoke { (4_000, 1) } else { (200_000, 5) };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let db = Database::ephemeral().await?;
        db.migrate().await?;
        let effort = Effort { rounds, operations: 1 };
        let bars = market::bars(count, 400);
        let quotes = snapshots(count)?;
        let mut sizes = Vec::new();
        for index in PRICES {
            sizes.push(measure(&db, "price_history", index, effort, &Load::Bars(&bars)).await?);
        }
        for index in OPTIONS {
            sizes.push(measure(&db, "options_data", index, effort, &Load::Quotes(&quotes)).await?);
        }
        println!("| index | rows | ingest with it / without | bytes a row |\n|---|---|---|---|");
        for (index, ratio, bytes) in sizes {
            let per_row = bytes as f64 / count as f64;
            println!("| `{index}` | {count} | {ratio:.2} | {per_row:.0} |");
        }
        Ok(())
    })
}

enum Load<'a> {
    Bars(&'a [NewPriceBar]),
    Quotes(&'a [NewOptionQuote]),
}

impl Load<'_> {
    async fn store(&self, db: &Database) {
        let report = match self {
            Load::Bars(bars) => db.prices().upsert_many(bars).await,
            Load::Quotes(quotes) => db.options().upsert_many(quotes).await,
        };
        assert_eq!(report.expect("stored").rejected_count(), 0);
    }
}

/// The index's name, the ratio, and the bytes that it has when all is stored.
async fn measure(
    db: &Database,
    table: &str,
    index: &'static str,
    effort: Effort,
    load: &Load<'_>,
) -> Outcome<(&'static str, f64, i64)> {
    let connection = db.connection().await?;
    let run = async |sql: String| connection.as_diesel().batch_execute(&sql).await;
    let query = format!("SELECT pg_get_indexdef('{index}'::regclass) AS definition");
    let Definition { definition } =
        diesel::sql_query(query).get_result(&mut connection.as_diesel()).await?;
    if table == "price_history" {
        run(format!("ALTER TABLE {table} DISABLE TRIGGER {table}_refuse_truncate")).await?;
    }
    let with = async |_| {
        let create = definition.replace("CREATE INDEX", "CREATE INDEX IF NOT EXISTS");
        run(format!("TRUNCATE {table}; {create}")).await.expect("the index");
        load.store(db).await;
    };
    let without = async |_| {
        run(format!("TRUNCATE {table}; DROP INDEX IF EXISTS {index}")).await.expect("dropped");
        load.store(db).await;
    };
    let row = pair(index, 1.0, effort, with, without).await;
    with(0).await;
    let query = format!("SELECT pg_relation_size('{index}'::regclass) AS bytes");
    let Size { bytes } = diesel::sql_query(query).get_result(&mut connection.as_diesel()).await?;
    run(format!("TRUNCATE {table}")).await?;
    Ok((index, row.ratio, bytes))
}

/// Snapshots of 40 underlyings with 100 contracts each, one a day.
fn snapshots(count: usize) -> Result<Vec<NewOptionQuote>> {
    let first = NaiveDate::from_ymd_opt(2024, 1, 2).unwrap_or_default();
    let mut quotes = Vec::with_capacity(count);
    for n in 0..count as u64 {
        let (contract, underlying, day) = (n % 100, n / 100 % 40, n / 4_000);
        let ticker = Ticker::new(&format!("U{underlying:02}"))?;
        let expiration = first + Days::new(200 + contract / 50 * 28);
        let option_type = if contract % 2 == 0 { OptionType::Call } else { OptionType::Put };
        let strike = Price::new(bigdecimal::BigDecimal::from(50 + contract % 50))?;
        let taken: DateTime<Utc> = TradingDay::from(first + Days::new(day)).midnight_utc();
        let contract = OptionContract::new(ticker, expiration, option_type, strike);
        let premium =
            |cents: u64| Premium::new(bigdecimal::BigDecimal::new((100 + cents).into(), 2));
        let quote = NewOptionQuote::new(contract).last(premium(n % 97)?).open_interest(n as i64);
        quotes.push(quote.volume(n as i64 % 1_000).fetched_at(taken));
    }
    Ok(quotes)
}
