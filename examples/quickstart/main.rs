//! The main job, on a private PostgreSQL and with real market data: bars, an option chain,
//! fundamentals, an analysis and a portfolio go in and come back out.
//!
//! `cargo run -p buffetbot-db --example quickstart [-- [PRICES.csv ...] [--ticker T] [--ephemeral] [--data DIR]]`
//!
//! Run again, it finds everything stored and duplicates nothing. Files of yours (any Yahoo-style CSV;
//! `--ticker` for those that name none) are loaded instead of the bars in `data/prices`.

mod load;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use buffetbot_db::analyses::{AnalysisFilter, AnalysisScope};
use buffetbot_db::market_cache::CacheFilter;
use buffetbot_db::options::OptionQuoteFilter;
use buffetbot_db::portfolios::{NewPortfolio, NewPosition, Portfolio, PortfolioFilter};
use buffetbot_db::prices::PriceBarFilter;
use buffetbot_db::types::{PasswordHash, RiskTolerance, Ticker};
use buffetbot_db::users::{NewUser, UserFilter};
use buffetbot_db::{Database, Result};

/// Where the repository's market data is.
const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data");

struct Arguments {
    files: Vec<PathBuf>,
    ticker: Option<Ticker>,
    ephemeral: bool,
    data: PathBuf,
}

impl Arguments {
    fn parse() -> Result<Self, String> {
        let mut parsed =
            Arguments { files: Vec::new(), ticker: None, ephemeral: false, data: DATA.into() };
        let mut rest = std::env::args().skip(1);
        while let Some(argument) = rest.next() {
            let mut value = || rest.next().ok_or(format!("{argument} takes a value"));
            match argument.as_str() {
                "--ephemeral" => parsed.ephemeral = true,
                "--data" => parsed.data = value()?.into(),
                "--ticker" => parsed.ticker = Some(value()?.parse().map_err(|e| format!("{e}"))?),
                flag if flag.starts_with("--") => return Err(format!("unknown option {flag}")),
                file => parsed.files.push(file.into()),
            }
        }
        Ok(parsed)
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = match Arguments::parse() {
        Ok(arguments) => arguments,
        Err(reason) => {
            eprintln!("{reason}");
            return ExitCode::from(2);
        }
    };
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quickstart: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<()> {
    let started = Instant::now();
    let mut steps = show::Steps::default();

    let db = match arguments.ephemeral {
        true => Database::ephemeral().await?,
        false => Database::embedded().await?,
    };
    steps.done("start PostgreSQL");
    if let Some(server) = db.server() {
        println!("PostgreSQL {} in {}", server.version(), server.data_dir().display());
    }
    let migrations = db.migrate().await?.len();
    steps.done("migrate");
    println!("{migrations} migrations applied");
    let before = rows(&db).await?;

    let loaded = load::prices(&db, &arguments.files, arguments.ticker, &arguments.data).await?;
    steps.done("load bars");
    let quotes = load::options(&db, &arguments.data).await?;
    steps.done("load options");
    let documents = load::fundamentals(&db, &arguments.data).await?;
    steps.done("cache fundamentals");
    show::loads(&loaded, &quotes, documents);

    let apple: Ticker = "AAPL".parse()?;
    let analysis = load::analysis(&db, &apple).await?;
    steps.done("analyse");
    let portfolio = portfolio(&db).await?;
    steps.done("make a portfolio");

    if let Some(valuation) = db.portfolios().valuation(portfolio.id, None).await? {
        show::valuation(&portfolio, &valuation);
    }
    show::analysis(&analysis);
    show::latest(&db.prices().latest(&load::tickers()?).await?);
    show::chain(&db, &apple).await?;
    show::company(&db).await?;
    steps.done("read back");

    let after = rows(&db).await?;
    show::rows(&before, &after);
    steps.print(started.elapsed());
    Ok(())
}

/// Makes a user with a portfolio in one transaction; a user who exists has hers.
async fn portfolio(db: &Database) -> Result<Portfolio> {
    const EMAIL: &str = "ada@example.com";
    if let Some(ada) = db.users().find_by_email(EMAIL).await? {
        let found = db.portfolios().find_by_name(ada.id, "Core").await?;
        if let Some(portfolio) = found {
            db.users().record_login(ada.id).await?;
            return Ok(portfolio);
        }
    }
    // Made by argon2id; a program gets it from its authentication service.
    let hash = PasswordHash::new(
        "$argon2id$v=19$m=19456,t=2,p=1$YnVmZmV0Ym90LWRlbW8$Q2hhbmdlIG1lLCBJIGFtIGEgZGVtbyBoYXNoLg",
    )?;
    let uow = db.begin().await?;
    let user = NewUser::new(EMAIL, hash).username("ada").name("Ada", "Lovelace");
    let ada = uow.users().create(&user).await?;
    let core = NewPortfolio::new(ada.id, "Core", RiskTolerance::Moderate);
    let core = uow.portfolios().create(&core).await?;
    let positions = [
        ("AAPL", "40", "310.1250", "30"),
        ("MSFT", "250", "24.87", "15"),
        ("IBM", "30", "178.5", "15"),
        ("GOOG", "12.5", "560.03", "25"),
        ("BRK-A", "0.05", "172800", "15"),
    ];
    let positions = positions
        .into_iter()
        .map(|(ticker, shares, cost, target)| {
            let position = NewPosition::new(
                core.id,
                ticker.parse()?,
                shares.parse::<buffetbot_db::types::Shares>()?,
            );
            Ok(position.average_cost(cost.parse()?).allocation(target.parse()?))
        })
        .collect::<Result<Vec<_>>>()?;
    uow.positions().create_many(&positions).await?;
    uow.commit().await?;
    Ok(core)
}

/// The rows of each table.
async fn rows(db: &Database) -> Result<Vec<(&'static str, u64)>> {
    let (users, portfolios, options) =
        (UserFilter::default(), PortfolioFilter::default(), OptionQuoteFilter::default());
    let analyses = AnalysisFilter::default().scope(AnalysisScope::All);
    let (cache, prices) = (CacheFilter::default(), PriceBarFilter::default());
    let (users, portfolios, analyses, cache, prices, options) = tokio::try_join!(
        db.users().count(&users),
        db.portfolios().count(&portfolios),
        db.analyses().count(&analyses),
        db.market_cache().count(&cache),
        db.prices().count(&prices),
        db.options().count(&options),
    )?;
    Ok(vec![
        ("users", users),
        ("portfolios", portfolios),
        ("analysis results", analyses),
        ("cached documents", cache),
        ("price bars", prices),
        ("option quotes", options),
    ])
}
