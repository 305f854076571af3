//! A slow, limited and unreliable provider behind the cache: 200 callers, and what they notice.
//!
//! `cargo run -p buffetbot-db --example cached_provider [-- --quick]`
//!
//! The provider is a stand-in on loopback that serves the documents of `data/fundamentals`; the
//! database is that of `DATABASE_URL`, else a private one that vanishes. How a program asks through
//! the cache is in `market.rs`; the rest is the demonstration. It ends with an error if what it
//! claims does not hold.

mod callers;
mod market;
mod provider;
mod report;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use buffetbot_db::cache::{BoxError, CacheOptions, Cached};
use buffetbot_db::types::DataType;
use buffetbot_db::{Config, Database};
use callers::{Seen, Tally};
use market::{Client, Market};
use provider::{Health, Provider, Terms};

const DOCUMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/fundamentals");
const CALLERS: usize = 200;
/// The documents that they ask for.
const NAMES: [&str; 6] = [
    "ibm_company_overview",
    "ibm_balance_sheet",
    "ibm_cash_flow",
    "ibm_income_statement",
    "msft_yahoo_quotesummary_2017",
    "tsla_yahoo_quotesummary_2017",
];
/// IBM's latest quarter in its document, and in what the provider publishes later.
const QUARTERS: [&str; 2] = ["2020-06-30", "2020-09-30"];

#[derive(Clone, Copy)]
struct Scale {
    terms: Terms,
    /// How long quotes are fresh.
    ttl: Duration,
    /// How long a fetch may take.
    patience: Duration,
    /// What phases are multiples of, and the staleness bound between processes.
    unit: Duration,
}

impl Scale {
    fn new(is_quick: bool) -> Self {
        let ms = Duration::from_millis;
        let terms = |latency| Terms { latency: ms(latency), limit: 25, seed: 7 };
        match is_quick {
            false => Scale { terms: terms(300), ttl: ms(400), patience: ms(1000), unit: ms(1000) },
            true => Scale { terms: terms(100), ttl: ms(150), patience: ms(400), unit: ms(300) },
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_quick = match &arguments[..] {
        [] => false,
        [quick] if quick == "--quick" => true,
        _ => {
            eprintln!("cached_provider [--quick]");
            return ExitCode::from(2);
        }
    };
    match run(Scale::new(is_quick)).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cached_provider: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(scale: Scale) -> Result<bool, BoxError> {
    let db = match std::env::var_os("DATABASE_URL") {
        Some(_) => Database::connect(Config::from_env()?).await?,
        None => Database::ephemeral().await?,
    };
    db.migrate().await?;
    let provider = Provider::start(Path::new(DOCUMENTS), scale.terms).await?;
    let client = Client::new(provider.address());
    let options = || CacheOptions::default().max_staleness(scale.unit).poll_every(scale.unit / 4);
    let run = uuid::Uuid::new_v4().to_string();
    let market = |db| Market::new(db, client, &run, scale.ttl, scale.patience);
    let here = market(db.clone().with_cache(options())?)?;
    // The same database and nothing else in common: another process, as far as a cache can tell.
    let there = market(db.with_cache(options())?)?;

    let (one, both) = ([here.clone()], [here.clone(), there]);
    let phase = async |name, units, markets: &[Market]| {
        let before = provider.requests("");
        let markets = markets.to_vec();
        let mut tally = callers::run(name, CALLERS, scale.unit.mul_f64(units), move |caller, n| {
            let market = markets[caller % markets.len()].clone();
            async move { ask(&market, n).await }
        })
        .await?;
        tally.requests = provider.requests("") - before;
        Ok::<_, BoxError>(tally)
    };

    let without = without_cache(scale).await?;
    let cold = phase("cold start", 0.5, &one).await?;
    provider.is_now(Health::Flaky);
    let steady = phase("flaky provider", 2.0, &one).await?;
    provider.is_now(Health::Down);
    let down = phase("provider down", 2.0, &one).await?;
    provider.is_now(Health::Well);
    let back = phase("provider back", 2.5, &one).await?;
    let ages = [here.quote("MSFT").await?.age, here.quote("TSLA").await?.age];
    let joined = phase("second process", 1.0, &both).await?;
    let filings = provider.requests("ibm_");
    let (news, invalidated) = tokio::join!(phase("invalidation", 2.0, &both), async {
        tokio::time::sleep(scale.unit / 2).await;
        provider.publish(NAMES[0], QUARTERS[0], QUARTERS[1]);
        here.invalidate_filings().await.map(|_| Instant::now())
    });
    let (news, invalidated) = (news?, invalidated?);
    here.forget().await?;

    let cached = [&cold, &steady, &down, &back, &joined, &news];
    report::table(&[&[&without], &cached[..]].concat());
    report::saved(&cached, scale.terms);
    // How long after the invalidation somebody of a process was still told the old quarter.
    let lag = |process| {
        let old = news.quarters.iter().filter(|(caller, _, quarter)| {
            caller % both.len() == process && quarter == QUARTERS[0]
        });
        old.map(|(_, asked, _)| asked.saturating_duration_since(invalidated)).max()
    };
    let (here, there) = (lag(0).unwrap_or_default(), lag(1).unwrap_or_default());
    let latency = scale.terms.latency;
    let errors: u64 = cached.iter().map(|t| t.errors).sum();
    let (calls, requests) = cached.iter().fold((0, 0), |(c, r), t| (c + t.calls, r + t.requests));
    let is_new = |(_, _, quarter): &(usize, Instant, String)| quarter == QUARTERS[1];
    Ok(report::claims(&[
        (
            format!("{CALLERS} callers at once made one request for each document"),
            cold.requests == NAMES.len() as u64,
        ),
        (format!("{errors} errors with the cache, whatever the provider did"), errors == 0),
        (
            format!("{} requests over the limit, {} without", provider.refused(), without.errors),
            provider.refused() == 0 && without.errors > 0,
        ),
        (
            "nobody waited for a provider that was down".into(),
            down.stale > 0 && down.quantile(0.99) < latency,
        ),
        (
            "once it was back, quotes were fetched again".into(),
            ages.into_iter().all(|age| age < back.span),
        ),
        (
            "the second process asked the provider for nothing that was stored".into(),
            joined.database > 0 && filings == 4,
        ),
        (
            format!(
                "what was invalidated was gone at once here, and {:.0} ms later there",
                there.as_secs_f64() * 1e3
            ),
            here.is_zero() && there <= scale.unit && news.quarters.iter().any(is_new),
        ),
        (
            format!("{requests} requests for {calls} calls: less than one in a hundred"),
            requests * 100 < calls,
        ),
    ]))
}

/// A call for one of [`NAMES`].
async fn ask(market: &Market, n: usize) -> Result<Seen, BoxError> {
    fn seen<T>(cached: &Cached<T>) -> Seen {
        Seen { origin: Some(cached.origin), quarter: None }
    }
    Ok(match n % NAMES.len() {
        0 => {
            let cached = market.overview().await?;
            let quarter = cached.value.document.latest_quarter.clone();
            Seen { quarter: Some(quarter), ..seen(&cached) }
        }
        1 => seen(&market.statements(DataType::BALANCE_SHEET).await?),
        2 => seen(&market.statements(DataType::CASH_FLOW).await?),
        3 => seen(&market.statements(DataType::INCOME_STATEMENT).await?),
        4 => seen(&market.quote("MSFT").await?),
        _ => seen(&market.quote("TSLA").await?),
    })
}

/// The same callers, each of whom asks the provider himself.
async fn without_cache(scale: Scale) -> Result<Tally, BoxError> {
    let provider = Provider::start(Path::new(DOCUMENTS), scale.terms).await?;
    let client = Client::new(provider.address());
    let mut tally =
        callers::run("without cache", CALLERS, scale.unit / 2, move |_, n| async move {
            client.get(NAMES[n % NAMES.len()], None).await?;
            Ok(Seen { origin: None, quarter: None })
        })
        .await?;
    tally.requests = provider.requests("");
    Ok(tally)
}
