//! What was acknowledged, to be held against what is there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use buffetbot_db::{Database, Error, EventFilter, Result};
use diesel::QueryableByName;
use diesel::sql_types::Text;

/// What is written, how it is known, and where it is.
pub const KINDS: [(&str, &str); 5] = [
    ("bars", "SELECT ticker AS key FROM price_history WHERE ticker LIKE 'S%'"),
    ("positions", "SELECT portfolio_id || ' ' || ticker AS key FROM positions"),
    ("analyses", "SELECT id::text AS key FROM analysis_results WHERE summary = 'soak'"),
    ("quotes", "SELECT ticker AS key FROM options_data WHERE ticker LIKE 'S%'"),
    ("actions", "SELECT ticker AS key FROM corporate_actions WHERE ticker LIKE 'S%'"),
];

#[derive(Default)]
pub struct Ledger {
    pub stop: AtomicBool,
    pub calls: AtomicU64,
    pub cancelled: AtomicU64,
    errors: Mutex<BTreeMap<String, u64>>,
    fault: Mutex<&'static str>,
    acknowledged: Mutex<BTreeMap<&'static str, BTreeSet<String>>>,
    told: Mutex<BTreeSet<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ledger {
    pub fn is_over(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    pub fn acknowledge(&self, kind: &'static str, key: String) {
        let is_new = lock(&self.acknowledged).entry(kind).or_default().insert(key);
        assert!(is_new, "keys are given out once");
    }

    pub fn failed(&self, error: &Error) {
        let text = format!("{error:?}");
        let name = text.split([' ', '(', '{']).next().unwrap_or_default();
        *lock(&self.errors).entry(name.to_owned()).or_default() += 1;
    }

    pub fn errors(&self) -> BTreeMap<String, u64> {
        lock(&self.errors).clone()
    }

    pub fn set_fault(&self, fault: &'static str) {
        *lock(&self.fault) = fault;
    }

    pub fn fault(&self) -> &'static str {
        match *lock(&self.fault) {
            "" => "all is well",
            fault => fault,
        }
    }

    /// Prints each kind; whether everything acknowledged is there, and nothing twice.
    pub async fn check(&self, db: &Database) -> Result<bool> {
        // In here: its methods have the names of others'.
        use diesel_async::RunQueryDsl;

        #[derive(QueryableByName)]
        struct Key {
            #[diesel(sql_type = Text)]
            key: String,
        }
        println!("{:<10} {:>12} {:>8} {:>6} {:>6}", "", "acknowledged", "there", "lost", "twice");
        let mut is_right = true;
        for (kind, query) in KINDS {
            let connection = db.connection().await?;
            let rows: Vec<Key> = diesel::sql_query(query).load(&mut connection.as_diesel()).await?;
            let stored: BTreeSet<&str> = rows.iter().map(|row| &*row.key).collect();
            let acknowledged = lock(&self.acknowledged).get(kind).cloned().unwrap_or_default();
            let lost = acknowledged.iter().filter(|key| !stored.contains(&***key)).count();
            let twice = rows.len() - stored.len();
            let (said, there) = (acknowledged.len(), rows.len());
            println!("{kind:<10} {said:>12} {there:>8} {lost:>6} {twice:>6}");
            is_right &= lost == 0 && twice == 0;
        }
        Ok(is_right)
    }

    /// Whether every acknowledged bar was told of, by a consumer that went through the same faults.
    pub async fn wait_for_events(&self, told: tokio::task::JoinHandle<()>) -> bool {
        let began = Instant::now();
        let bars = lock(&self.acknowledged).get("bars").cloned().unwrap_or_default();
        let missing = || bars.difference(&lock(&self.told)).count();
        while missing() > 0 && began.elapsed() < Duration::from_secs(60) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        told.abort();
        let missing = missing();
        let told = lock(&self.told).len();
        println!("{:<10} {:>12} {told:>8} {missing:>6}", "events", bars.len());
        missing == 0
    }
}

/// Notes the tickers of every event, by a durable consumer.
pub async fn told(db: Database, filter: EventFilter, ledger: Arc<Ledger>) {
    let consumer = async || db.events().consumer_from_beginning("soak", filter.clone()).await;
    loop {
        let Ok(mut consumer) = consumer().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        while let Ok(delivery) = consumer.next().await {
            let tickers: Vec<String> =
                delivery.events().iter().map(|event| event.ticker.to_string()).collect();
            // Only what the consumer has gone past.
            if delivery.commit().await.is_ok() {
                lock(&ledger.told).extend(tickers);
            }
        }
    }
}
