//! A thousand users at once on the default pool, all repositories, and faults all the while; at the end every write that
//! was acknowledged must be there, once and as it was meant, with its entry in the audit log, and nothing that nobody wrote:
//!
//! ```sh
//! cargo run -p buffetbot-db --example soak -- --minutes 5
//! ```

mod faults;
mod ledger;
mod sabotage;
mod work;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use buffetbot_db::events::EventFilter;
use buffetbot_db::postgres::PoolState;
use buffetbot_db::types::EventKind;
use buffetbot_db::{Config, Database, Result};
use indicatif::{ProgressBar, ProgressStyle};
use ledger::Ledger;
use sabotage::Sabotage;

/// SPEC: 1000+ concurrent users.
const USERS: usize = 1_000;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(usage) => {
            eprintln!("{usage}");
            return ExitCode::FAILURE;
        }
    };
    match soak(arguments).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

struct Arguments {
    time: Duration,
    /// Shows that the ledger can be wrong.
    sabotage: Option<Sabotage>,
}

fn arguments() -> Result<Arguments, String> {
    let usage = || "usage: soak [--minutes N]   (1 by default; 0.5 is half a minute)".to_owned();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (mut minutes, mut sabotage) = (1.0, None);
    for pair in arguments.chunks(2) {
        match pair {
            [name, value] if name == "--minutes" => minutes = value.parse().map_err(|_| usage())?,
            [name, value] if name == "--sabotage" => sabotage = Some(value.parse()?),
            _ => return Err(usage()),
        }
    }
    if !(minutes > 0.0 && minutes < 1e6) {
        return Err(usage());
    }
    Ok(Arguments { time: Duration::from_secs_f64(minutes * 60.0), sabotage })
}

/// Whether the ledger is right.
async fn soak(Arguments { time, sabotage }: Arguments) -> Result<bool> {
    let db = Database::ephemeral().await?;
    db.migrate().await?;
    db.create_roles().await?;
    println!("PostgreSQL {}, {USERS} users, a pool of {}", version(&db), db.pool().state().max);
    let ledger = Arc::new(Ledger::default());
    let accounts = work::accounts(&db, USERS).await?;
    let prices = EventFilter::new().kinds([EventKind::PricesUpdated]);
    let told = tokio::spawn(ledger::told(db.clone(), prices, ledger.clone()));

    let users: Vec<_> = accounts
        .into_iter()
        .map(|account| tokio::spawn(work::run(db.clone(), account, ledger.clone())))
        .collect();
    let admin = Config::new(&db.server().map(|s| s.url("buffetbot")).unwrap_or_default())?;
    let trouble = tokio::spawn(faults::bring_on(admin.clone().pool_size(2), ledger.clone()));
    watch(&db, &ledger, time).await;

    ledger.stop.store(true, Ordering::Release);
    trouble.await.expect("no panic")?;
    for user in users {
        user.await.expect("no panic");
    }
    let state = settled(&db).await;
    println!("{}", summary(&ledger, time));
    if let Some(sabotage) = sabotage {
        sabotage.commit(&admin).await?;
    }
    let is_right = ledger.check(&db).await?;
    let has_all_events = ledger.wait_for_events(told).await;
    println!("pool: {} open, {} in use", state.open, state.in_use);
    Ok(is_right && has_all_events && state.in_use == 0)
}

fn version(db: &Database) -> String {
    db.server().map_or_else(|| "?".into(), |server| server.version().to_string())
}

/// Shows how it goes until the time is over.
async fn watch(db: &Database, ledger: &Ledger, time: Duration) {
    let bar = ProgressBar::new(time.as_secs().max(1));
    let style = ProgressStyle::with_template("{elapsed_precise} {bar:30} {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let (began, mut before) = (Instant::now(), 0);
    while began.elapsed() < time {
        tokio::time::sleep(Duration::from_secs(1).min(time)).await;
        let calls = ledger.calls.load(Ordering::Relaxed);
        let errors: u64 = ledger.errors().values().sum();
        let cancelled = ledger.cancelled.load(Ordering::Relaxed);
        let in_use = db.pool().state().in_use;
        bar.set_position(began.elapsed().as_secs());
        bar.set_message(format!(
            "{} calls/s, {calls} calls, {cancelled} cancelled, {errors} errors, {in_use} connections in use, now {}",
            calls - before,
            ledger.fault()
        ));
        before = calls;
    }
    bar.finish_and_clear();
}

/// The pool when everybody has ended.
async fn settled(db: &Database) -> PoolState {
    let began = Instant::now();
    while db.pool().state().in_use > 0 && began.elapsed() < Duration::from_secs(10) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    db.pool().state()
}

fn summary(ledger: &Ledger, time: Duration) -> String {
    let calls = ledger.calls.load(Ordering::Relaxed);
    let cancelled = ledger.cancelled.load(Ordering::Relaxed);
    let errors: BTreeMap<String, u64> = ledger.errors();
    let per_second = calls as f64 / time.as_secs_f64();
    format!("{calls} calls ({per_second:.0}/s), {cancelled} cancelled, errors: {errors:?}")
}
