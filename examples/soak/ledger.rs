//! What was acknowledged, to be held against what is there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use buffetbot_db::events::EventFilter;
use buffetbot_db::{Database, Error, Isolation, Result, TransactionOptions};
use diesel::QueryableByName;
use diesel::sql_types::Text;

/// What is written, how it is known, and what is in it. Of every position there is an entry in the audit log.
const KINDS: [(&str, &str); 6] = [
    (
        "bars",
        "SELECT ticker AS key, concat_ws(' ', (date AT TIME ZONE 'UTC')::date, trim_scale(close_price)) AS value
         FROM price_history WHERE ticker LIKE 'S%'",
    ),
    (
        "positions",
        "SELECT portfolio_id || ' ' || ticker AS key, trim_scale(shares)::text AS value FROM positions",
    ),
    (
        "analyses",
        "SELECT id::text AS key, concat_ws(' ', ticker, portfolio_id) AS value FROM analysis_results",
    ),
    (
        "quotes",
        "SELECT ticker AS key, concat_ws(' ', option_type, trim_scale(strike_price),
            (expiration_date AT TIME ZONE 'UTC')::date) AS value
         FROM options_data WHERE ticker LIKE 'S%'",
    ),
    (
        "actions",
        "SELECT ticker AS key, trim_scale(amount)::text AS value
         FROM corporate_actions WHERE ticker LIKE 'S%'",
    ),
    (
        AUDIT,
        "SELECT concat_ws(' ', after->>'portfolio_id', after->>'ticker') AS key,
            trim_scale((after->>'shares')::numeric)::text AS value
         FROM audit_log WHERE table_name = 'positions' AND operation = 'insert'",
    ),
];

const AUDIT: &str = "audit";

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    key: String,
    #[diesel(sql_type = Text)]
    value: String,
}

/// Everything that is there, at one moment: a call that was cancelled may still come to its end on the server.
async fn stored(db: &Database) -> Result<Vec<(&'static str, Vec<Row>)>> {
    // In here: its methods have the names of others'.
    use diesel_async::RunQueryDsl;

    let options =
        TransactionOptions::default().isolation(Isolation::RepeatableRead).read_only(true);
    let unit = db.begin_with(options).await?;
    let connection = unit.connection().await?;
    let mut stored = Vec::new();
    for (kind, query) in KINDS {
        stored.push((kind, diesel::sql_query(query).load(&mut connection.as_diesel()).await?));
    }
    Ok(stored)
}

/// Tries again what a fault may still hit.
pub async fn again<T, F: Future<Output = Result<T>>>(run: impl Fn() -> F) -> Result<T> {
    for _ in 0..100 {
        match run().await {
            Err(Error::Unavailable { .. }) => tokio::time::sleep(Duration::from_millis(50)).await,
            answer => return answer,
        }
    }
    run().await
}

/// A write that was begun.
#[derive(Clone)]
struct Write {
    value: String,
    is_acknowledged: bool,
}

#[derive(Default)]
pub struct Ledger {
    pub stop: AtomicBool,
    pub calls: AtomicU64,
    pub cancelled: AtomicU64,
    errors: Mutex<BTreeMap<String, u64>>,
    fault: Mutex<&'static str>,
    writes: Mutex<BTreeMap<&'static str, BTreeMap<String, Write>>>,
    told: Mutex<BTreeSet<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ledger {
    pub fn is_over(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Notes a write before it is begun: without an answer it is there, as it was meant, or not.
    pub fn begin(&self, kind: &'static str, key: &str, value: String) {
        let write = Write { value, is_acknowledged: false };
        let before = lock(&self.writes).entry(kind).or_default().insert(key.to_owned(), write);
        assert!(before.is_none(), "keys are given out once");
    }

    pub fn acknowledge(&self, kind: &'static str, key: &str) {
        let mut writes = lock(&self.writes);
        let write = writes.get_mut(kind).and_then(|writes| writes.get_mut(key));
        write.expect("it was begun").is_acknowledged = true;
    }

    fn writes(&self, kind: &str) -> BTreeMap<String, Write> {
        lock(&self.writes).get(kind).cloned().unwrap_or_default()
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

    /// Prints each kind, and whatever is wrong; whether everything acknowledged is there, once and as it was meant, with its
    /// entry in the audit log, and nothing that nobody wrote.
    pub async fn check(&self, db: &Database) -> Result<bool> {
        println!("{:<10} {:>12} {:>8}", "", "acknowledged", "there");
        let (mut wrong, mut positions) = (Vec::new(), BTreeMap::new());
        // The last fault may still have cut connections that idle in the pool.
        for (kind, rows) in again(|| stored(db)).await? {
            let there = rows.len();
            let stored: BTreeMap<String, String> =
                rows.into_iter().map(|row| (row.key, row.value)).collect();
            let writes =
                if kind == AUDIT { std::mem::take(&mut positions) } else { self.writes(kind) };
            let acknowledged: Vec<&String> =
                writes.iter().filter(|(_, w)| w.is_acknowledged).map(|(key, _)| key).collect();
            println!("{kind:<10} {:>12} {there:>8}", acknowledged.len());
            let is_changed = |(key, value): &(&String, &String)| {
                writes.get(*key).is_some_and(|write| write.value != **value)
            };
            let counts = [
                ("lost", acknowledged.iter().filter(|key| !stored.contains_key(**key)).count()),
                ("twice", there - stored.len()),
                ("changed", stored.iter().filter(is_changed).count()),
                ("unknown", stored.keys().filter(|key| !writes.contains_key(*key)).count()),
            ];
            let told = counts.into_iter().filter(|(_, count)| *count > 0);
            wrong.extend(told.map(|(what, count)| format!("{kind}: {count} {what}")));
            if kind == "positions" {
                let there = |(key, value)| (key, Write { value, is_acknowledged: true });
                positions = stored.into_iter().map(there).collect();
            }
        }
        wrong.iter().for_each(|line| println!("{line}"));
        Ok(wrong.is_empty())
    }

    /// Whether every acknowledged bar was told of, by a consumer that went through the same faults.
    pub async fn wait_for_events(&self, told: tokio::task::JoinHandle<()>) -> bool {
        let began = Instant::now();
        let bars = self.writes("bars").into_iter().filter(|(_, write)| write.is_acknowledged);
        let bars: BTreeSet<String> = bars.map(|(key, _)| key).collect();
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
