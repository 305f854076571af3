//! What comes out.

use std::time::{Duration, Instant};

use buffetbot_db::analyses::AnalysisResult;
use buffetbot_db::options::ChainFilter;
use buffetbot_db::portfolios::{Portfolio, Valuation};
use buffetbot_db::prices::LatestBar;
use buffetbot_db::types::{DataType, OptionType, Ticker};
use buffetbot_db::{Database, Result};

use crate::load::{self, Loaded, Overview, Risk};

/// How long each step took.
pub struct Steps {
    since: Instant,
    done: Vec<(&'static str, Duration)>,
}

impl Default for Steps {
    fn default() -> Self {
        Steps { since: Instant::now(), done: Vec::new() }
    }
}

impl Steps {
    pub fn done(&mut self, step: &'static str) {
        self.done.push((step, self.since.elapsed()));
        self.since = Instant::now();
    }

    pub fn print(&self, total: Duration) {
        heading("Timings");
        for (step, took) in self.done.iter().chain([&("all", total)]) {
            println!("{step:<22} {:>9.1} ms", took.as_secs_f64() * 1e3);
        }
    }
}

fn heading(title: &str) {
    println!("\n{title}\n{}", "-".repeat(title.len()));
}

pub fn loads(prices: &[Loaded], options: &Loaded, documents: u64) {
    heading("Loaded");
    println!(
        "{:<42} {:>6} {:>8} {:>7} {:>9} {:>8} {:>9}",
        "file", "rows", "inserted", "updated", "unchanged", "rejected", "quantised"
    );
    for Loaded { file, report } in prices.iter().chain([options]) {
        println!(
            "{file:<42} {:>6} {:>8} {:>7} {:>9} {:>8} {:>9}",
            report.rows,
            report.inserted,
            report.updated,
            report.unchanged,
            report.rejected_rows,
            report.quantised
        );
        for line in report.rejected.iter().take(3) {
            println!("  line {}: {}", line.line, line.reason);
        }
    }
    println!("{documents} documents of fundamentals in the cache");
}

pub fn valuation(portfolio: &Portfolio, valuation: &Valuation) {
    heading(&format!("Portfolio {:?}, {} risk", portfolio.name, portfolio.risk_tolerance));
    println!(
        "{:<7} {:>9} {:>11} {:>12} {:>13} {:>13} {:>8} {:>7}",
        "ticker", "shares", "of", "price", "value", "gain", "weight", "drift"
    );
    for position in &valuation.positions {
        let bar = position.bar.as_ref();
        println!(
            "{:<7} {:>9} {:>11} {:>12} {:>13} {:>13} {:>8} {:>7}",
            position.ticker,
            optional(&position.shares),
            bar.map_or("-".into(), |bar| bar.date.date_naive().to_string()),
            bar.map_or("no bar".into(), |bar| bar.close.to_string()),
            money(&position.market_value),
            money(&position.unrealised_gain),
            money(&position.weight),
            money(&position.drift),
        );
    }
    println!(
        "{:<7} {:>9} {:>11} {:>12} {:>13} {:>13}",
        "all",
        "",
        "",
        "",
        money(&Some(valuation.market_value.clone())),
        money(&Some(valuation.unrealised_gain.clone())),
    );
}

fn optional<T: ToString>(value: &Option<T>) -> String {
    value.as_ref().map_or("-".into(), T::to_string)
}

fn money(amount: &Option<bigdecimal::BigDecimal>) -> String {
    amount.as_ref().map_or("-".into(), |amount| amount.round(2).to_plain_string())
}

pub fn analysis(result: &AnalysisResult) {
    heading(&format!("Analysis of {}: {}", result.ticker, result.analysis_type));
    let recommendation = result.recommendation.as_deref().unwrap_or("-");
    println!("score {}, {recommendation}", optional(&result.score));
    if let Ok(Some(risk)) = result.metadata_as::<Risk>() {
        println!(
            "{} days: volatility {:.1}% a year, largest drawdown {:.1}%",
            risk.days,
            risk.annual_volatility * 100.0,
            risk.max_drawdown * 100.0
        );
    }
    println!("computed {}, fresh until {}", result.calculated_at, optional(&result.expires_at));
}

pub fn latest(bars: &[LatestBar]) {
    heading("Latest bars");
    println!(
        "{:<7} {:>11} {:>12} {:>12} {:>8} {:>14}",
        "ticker", "day", "close", "before", "change", "volume"
    );
    for latest in bars {
        println!(
            "{:<7} {:>11} {:>12} {:>12} {:>8} {:>14}",
            latest.bar.ticker,
            latest.bar.trading_day(),
            latest.bar.close,
            optional(&latest.previous_close),
            latest.change_ratio().map_or("-".into(), |ratio| format!("{:+.2}%", ratio * 100.0)),
            optional(&latest.bar.volume),
        );
    }
}

pub async fn chain(db: &Database, ticker: &Ticker) -> Result<()> {
    let filter = ChainFilter::default().option_type(OptionType::Call);
    let calls = db.options().latest_chain(ticker, &filter).await?;
    let Some(first) = calls.first() else { return Ok(()) };
    heading(&format!(
        "{ticker} calls of {}, to {}",
        first.fetched_at.date_naive(),
        first.expiration()
    ));
    println!(
        "{:>9} {:>8} {:>8} {:>8} {:>7} {:>9} {:>10}",
        "strike", "bid", "ask", "last", "volume", "open int.", "impl. vol."
    );
    // The middle of the strikes is where the money is.
    for quote in calls.iter().skip(calls.len().saturating_sub(8) / 2).take(8) {
        println!(
            "{:>9} {:>8} {:>8} {:>8} {:>7} {:>9} {:>10}",
            quote.strike,
            optional(&quote.bid),
            optional(&quote.ask),
            optional(&quote.last),
            optional(&quote.volume),
            optional(&quote.open_interest),
            optional(&quote.implied_volatility),
        );
    }
    Ok(())
}

pub async fn company(db: &Database) -> Result<()> {
    let entry = db.market_cache().get(&load::ibm(DataType::FUNDAMENTALS)?).await?;
    let Some(entry) = entry else { return Ok(()) };
    let overview: Overview = entry.decode()?;
    heading("Cached company overview");
    println!(
        "{} ({}), capitalisation {}",
        overview.name, overview.sector, overview.market_capitalization
    );
    println!("P/E {}, dividend yield {}", overview.pe_ratio, overview.dividend_yield);
    println!(
        "from {}, quality {}",
        optional(&entry.data_source),
        optional(&entry.data_quality_score)
    );
    Ok(())
}

pub fn rows(before: &[(&'static str, u64)], after: &[(&'static str, u64)]) {
    heading("Rows stored");
    println!("{:<18} {:>8} {:>8}", "", "before", "after");
    for ((table, before), (_, after)) in before.iter().zip(after) {
        println!("{table:<18} {before:>8} {after:>8}");
    }
    if before.iter().all(|(_, rows)| *rows == 0) {
        println!("Run it again: everything is still there.");
    } else if before == after {
        println!("Nothing was duplicated: every table has as many rows as before.");
    } else {
        println!("There were rows before this run, and it added some.");
    }
}
