//! Many callers at once, and what they got.

use std::future::Future;
use std::time::{Duration, Instant};

use buffetbot_db::cache::{BoxError, Origin};
use futures_util::future::try_join_all;
use indicatif::{ProgressBar, ProgressStyle};

/// What a caller does between two calls.
const THINKING: Duration = Duration::from_millis(10);

/// What one call returned.
pub struct Seen {
    /// `None` without a cache.
    pub origin: Option<Origin>,
    /// The quarter that an overview is of.
    pub quarter: Option<String>,
}

/// What the callers of one phase got.
#[derive(Default)]
pub struct Tally {
    pub name: &'static str,
    pub span: Duration,
    pub calls: u64,
    pub memory: u64,
    pub database: u64,
    /// Calls that made a fetch or waited for one.
    pub fetched: u64,
    pub stale: u64,
    pub errors: u64,
    /// Requests that the provider saw meanwhile.
    pub requests: u64,
    /// Sorted.
    pub latencies: Vec<Duration>,
    /// Overviews: which caller asked when, and the quarter that he was told.
    pub quarters: Vec<(usize, Instant, String)>,
}

impl Tally {
    fn add(&mut self, caller: usize, asked: Instant, answer: Result<Seen, BoxError>) {
        self.calls += 1;
        self.latencies.push(asked.elapsed());
        let Ok(seen) = answer else {
            self.errors += 1;
            return;
        };
        match seen.origin {
            Some(Origin::Memory) => self.memory += 1,
            Some(Origin::Database) => self.database += 1,
            Some(Origin::Stale) => self.stale += 1,
            _ => self.fetched += 1,
        }
        self.quarters.extend(seen.quarter.map(|quarter| (caller, asked, quarter)));
    }

    fn merge(&mut self, mut other: Tally) {
        self.calls += other.calls;
        self.memory += other.memory;
        self.database += other.database;
        self.fetched += other.fetched;
        self.stale += other.stale;
        self.errors += other.errors;
        self.latencies.append(&mut other.latencies);
        self.quarters.append(&mut other.quarters);
    }

    /// The latency that this share of the calls stayed within.
    pub fn quantile(&self, share: f64) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        let at = (last as f64 * share).round() as usize;
        self.latencies.get(at).copied().unwrap_or_default()
    }
}

/// Lets `callers` tasks call for `span`, each one call after the other. `ask` is given the number of
/// the caller and that of the call.
pub async fn run<F, A>(
    name: &'static str,
    callers: usize,
    span: Duration,
    ask: F,
) -> Result<Tally, BoxError>
where
    F: Fn(usize, usize) -> A + Clone + Send + 'static,
    A: Future<Output = Result<Seen, BoxError>> + Send,
{
    let started = Instant::now();
    let tasks = (0..callers).map(|caller| {
        let ask = ask.clone();
        tokio::spawn(async move {
            let mut tally = Tally::default();
            while started.elapsed() < span {
                let asked = Instant::now();
                let answer = ask(caller, caller + tally.calls as usize).await;
                tally.add(caller, asked, answer);
                tokio::time::sleep(THINKING).await;
            }
            tally
        })
    });
    let tallies = tokio::select! {
        tallies = try_join_all(tasks) => tallies?,
        never = show_progress(name, span, started) => match never {},
    };
    let mut all = Tally { name, span, ..Tally::default() };
    tallies.into_iter().for_each(|tally| all.merge(tally));
    all.latencies.sort_unstable();
    Ok(all)
}

async fn show_progress(
    name: &'static str,
    span: Duration,
    started: Instant,
) -> std::convert::Infallible {
    let style = ProgressStyle::with_template("{msg:16} [{bar:30}] {percent:>3} %");
    let bar = ProgressBar::new(span.as_millis() as u64)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_message(name)
        .with_finish(indicatif::ProgressFinish::AndClear);
    loop {
        bar.set_position(started.elapsed().as_millis() as u64);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
