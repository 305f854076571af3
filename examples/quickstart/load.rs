//! What goes in.

use std::path::{Path, PathBuf};
use std::time::Duration;

use buffetbot_db::analyses::{AnalysisKey, AnalysisResult, Inputs, NewAnalysis};
use buffetbot_db::import::{self, CsvOptions, ImportReport};
use buffetbot_db::market_cache::{CacheKey, NewCacheEntry, PutOptions};
use buffetbot_db::types::{AnalysisType, DataType, Document, Score, Ticker, UnitInterval};
use buffetbot_db::{Database, Error, Result};
use chrono::NaiveDate;
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};

/// A file and what became of it.
pub struct Loaded {
    pub file: String,
    pub report: ImportReport,
}

/// Loads the given files, or the repository's own.
pub async fn prices(
    db: &Database,
    files: &[PathBuf],
    ticker: Option<Ticker>,
    data: &Path,
) -> Result<Vec<Loaded>> {
    let own = [
        "gspc_daily_1950_2015.csv",
        "us_stocks_daily_2000_2013.csv",
        "googl_daily_2009_2018.csv",
        "brk_a_daily_2014.csv",
        "quandl_sample_2014_raw_and_adjusted.csv",
    ];
    let files = match files.is_empty() {
        true => own.map(|file| data.join("prices").join(file)).to_vec(),
        false => files.to_vec(),
    };
    let mut loaded = Vec::new();
    for path in files {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let bar = progress_bar(&file);
        let seen = bar.clone();
        let mut options = CsvOptions::new().source("quickstart").progress(move |progress| {
            if let Some(total) = progress.total_bytes {
                seen.set_length(total);
            }
            seen.set_position(progress.bytes);
        });
        if let Some(ticker) = &ticker {
            options = options.ticker(ticker.clone());
        }
        let report = import::prices_from_csv(db, path, options).await?;
        bar.finish_and_clear();
        loaded.push(Loaded { file, report });
    }
    Ok(loaded)
}

fn progress_bar(file: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:42} [{bar:30}] {bytes}/{total_bytes} {eta}");
    ProgressBar::new(0)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_message(file.to_owned())
}

/// Loads the option chain.
pub async fn options(db: &Database, data: &Path) -> Result<Loaded> {
    let file = "aapl_chain_2016-09-06.csv";
    let options = CsvOptions::new().source("quickstart");
    let report = import::options_from_csv(db, data.join("options").join(file), options).await?;
    Ok(Loaded { file: file.into(), report })
}

/// The company overview as the provider writes it: every value is a text.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Overview {
    pub name: String,
    pub sector: String,
    pub market_capitalization: String,
    #[serde(rename = "PERatio")]
    pub pe_ratio: String,
    pub dividend_yield: String,
}

/// The key of IBM's documents of one kind.
pub fn ibm(data_type: DataType) -> Result<CacheKey> {
    CacheKey::new(&"IBM".parse()?, data_type).params(serde_json::json!({"period": "annual"}))
}

/// Puts IBM's fundamentals into the cache, all in one round trip; returns how many.
pub async fn fundamentals(db: &Database, data: &Path) -> Result<u64> {
    let files = [
        ("ibm_company_overview.json", DataType::FUNDAMENTALS),
        ("ibm_income_statement.json", DataType::INCOME_STATEMENT),
        ("ibm_balance_sheet.json", DataType::BALANCE_SHEET),
        ("ibm_cash_flow.json", DataType::CASH_FLOW),
    ];
    let options = PutOptions::ttl(Duration::from_secs(7 * 86_400))
        .source("alphavantage")
        .quality("0.95".parse()?);
    let mut entries = Vec::new();
    for (file, data_type) in files {
        let path = data.join("fundamentals").join(file);
        let text = tokio::fs::read_to_string(&path).await.map_err(|e| Error::Config {
            variable: "--data".into(),
            reason: format!("{}: {e}", path.display()),
        })?;
        entries.push(NewCacheEntry::new(ibm(data_type)?, Document::parse(text)?, options.clone()));
    }
    db.market_cache().put_many(&entries).await
}

/// The tickers whose latest bars are shown.
pub fn tickers() -> Result<Vec<Ticker>> {
    let symbols = ["^GSPC", "AAPL", "FB", "GOOG", "GOOGL", "IBM", "MSFT", "BRK-A"];
    symbols.iter().map(|symbol| symbol.parse()).collect()
}

/// What the analysis found.
#[derive(Serialize, Deserialize)]
pub struct Risk {
    pub days: usize,
    /// Standard deviation of daily log returns times the square root of 252 trading days.
    pub annual_volatility: f64,
    /// Largest fall from a high, as a fraction of it.
    pub max_drawdown: f64,
}

/// The risk of the stored bars, computed when no fresh result is stored.
pub async fn analysis(db: &Database, ticker: &Ticker) -> Result<AnalysisResult> {
    let parameters = serde_json::json!({"from": "2012-01-01", "to": "2012-12-31"});
    let key = AnalysisKey::new(ticker, AnalysisType::Risk).parameters(&parameters)?;
    if let Some(fresh) = db.analyses().latest_fresh(&key).await? {
        return Ok(fresh);
    }
    let day = |month, day| NaiveDate::from_ymd_opt(2012, month, day).unwrap_or_default();
    // Before the bars: what is corrected in between makes the result outdated, instead of passing
    // for what it was computed from.
    let inputs = Inputs::new().bars(db.prices().digest(ticker).await?);
    let bars = db.prices().range(ticker, day(1, 1), day(12, 31)).await?.complete()?;
    let closes: Vec<f64> =
        bars.iter().filter_map(|bar| bar.close.to_string().parse().ok()).collect();
    let risk = risk(&closes);
    let score = Score::quantised(100.0 * (1.0 - risk.max_drawdown.min(1.0)))?;
    let result = NewAnalysis::new(ticker.clone(), AnalysisType::Risk)
        .strategy("one year of daily closes")
        .score(score)
        .recommendation(if risk.annual_volatility > 0.4 { "caution" } else { "hold" })
        .confidence(UnitInterval::quantised((closes.len() as f64 / 252.0).min(1.0))?)
        .parameters(&parameters)?
        .metadata(&risk)?
        .inputs(inputs)
        .ttl(Duration::from_secs(86_400));
    db.analyses().create(&result).await
}

fn risk(closes: &[f64]) -> Risk {
    const TRADING_DAYS: f64 = 252.0;
    let returns: Vec<f64> = closes.windows(2).map(|pair| (pair[1] / pair[0]).ln()).collect();
    let count = returns.len().max(1) as f64;
    let mean = returns.iter().sum::<f64>() / count;
    let variance = returns.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
    let (_, max_drawdown) = closes.iter().fold((0.0, 0.0), |(high, worst): (f64, f64), &close| {
        let high = high.max(close);
        (high, worst.max(1.0 - close / high))
    });
    Risk { days: closes.len(), annual_volatility: (variance * TRADING_DAYS).sqrt(), max_drawdown }
}
