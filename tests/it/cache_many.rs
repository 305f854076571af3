//! Many keys in one call.

mod alone;
mod answers;
mod together;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use buffetbot_db::cache::{BoxError, CacheOptions, Cached, Fetched, Origin, Policy};
use buffetbot_db::market_cache::CacheKey;
use buffetbot_db::testing::TestDatabase;
use buffetbot_db::types::{DataType, Ticker};
use buffetbot_db::{Database, Error, Result};

use crate::support::{number, parsed};

pub const HOUR: Duration = Duration::from_secs(3600);

pub fn an_hour() -> Policy {
    Policy::ttl(HOUR).jitter(0.0)
}

pub fn key(symbol: &str) -> CacheKey {
    CacheKey::new(&parsed::<Ticker>(symbol), DataType::FUNDAMENTALS)
}

/// `T0`, `T1`, ...
pub fn keys(numbers: impl IntoIterator<Item = usize>) -> Vec<CacheKey> {
    numbers.into_iter().map(|n| key(&format!("T{n}"))).collect()
}

/// A handle as another process has it: the same database, a cache of its own.
pub fn process(db: &TestDatabase, options: CacheOptions) -> Database {
    Database::clone(db).with_cache(options).expect("a cache")
}

/// A provider that has every ticker, and notes what it is asked for.
#[derive(Clone, Default)]
pub struct Provider {
    calls: Arc<Mutex<Vec<Vec<CacheKey>>>>,
    fetched: Arc<AtomicU32>,
}

impl Provider {
    /// The keys of each fetch.
    pub fn calls(&self) -> Vec<Vec<CacheKey>> {
        self.calls.lock().expect("no panic").clone()
    }

    pub fn note(&self, keys: &[CacheKey]) -> u32 {
        self.calls.lock().expect("no panic").push(keys.to_vec());
        self.fetched.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// The values of keys; those that are fetched are `<ticker> <number of the fetch>`, the last key
    /// first.
    pub async fn get(&self, db: &Database, keys: &[CacheKey]) -> Vec<Result<Cached<String>>> {
        self.get_by(db, keys, &an_hour()).await
    }

    pub async fn get_by(
        &self,
        db: &Database,
        keys: &[CacheKey],
        policy: &Policy,
    ) -> Vec<Result<Cached<String>>> {
        let provider = self.clone();
        let fetch = move |keys: Vec<CacheKey>| {
            let n = provider.note(&keys);
            async move {
                // Others may come between.
                tokio::task::yield_now().await;
                let name = |key: CacheKey| (key.clone(), format!("{} {n}", key.ticker));
                Ok::<_, BoxError>(keys.into_iter().rev().map(name).collect())
            }
        };
        db.cache().get_many_or_fetch::<String>(keys, policy, fetch).await.expect("answers")
    }

    /// A call whose fetch fails.
    pub async fn fail(
        &self,
        db: &Database,
        keys: &[CacheKey],
        policy: &Policy,
    ) -> Vec<Result<Cached<String>>> {
        let provider = self.clone();
        let fetch = move |keys: Vec<CacheKey>| {
            provider.note(&keys);
            async { Err::<Vec<(CacheKey, String)>, _>("the provider is down") }
        };
        db.cache().get_many_or_fetch::<String>(keys, policy, fetch).await.expect("answers")
    }
}

/// Puts a value under a key.
pub async fn put(db: &Database, key: &CacheKey, value: &str, policy: &Policy) {
    db.cache().put(key, value.to_owned(), policy).await.expect("put");
}

/// The values and where they came from.
pub fn values(answers: &[Result<Cached<String>>]) -> Vec<(&str, Origin)> {
    let value =
        |answer: &'_ Result<Cached<String>>| -> Origin { answer.as_ref().expect("a value").origin };
    answers.iter().map(|a| (a.as_ref().expect("a value").value.as_str(), value(a))).collect()
}

/// What the errors say that they are of, and `None` for a value.
pub fn errors(answers: &[Result<Cached<String>>]) -> Vec<Option<&'static str>> {
    let name = |error: &Error| match error {
        Error::Fetch { .. } => "fetch",
        Error::BackingOff { .. } => "put off",
        Error::Timeout { .. } => "timeout",
        other => panic!("{other:?}"),
    };
    answers.iter().map(|answer| answer.as_ref().err().map(name)).collect()
}

/// Lets every entry of the table expire, with an hour in which it may be served.
pub async fn expire(db: &Database) {
    sql(
        db,
        "UPDATE market_data_cache SET cached_at = now() - interval '2 h',
        expires_at = now() - interval '1 h', stale_until = now() + interval '1 h'",
    )
    .await;
}

pub async fn sql(db: &Database, statement: &str) {
    let connection = db.connection().await.expect("a connection");
    crate::support::batch(&connection, statement).await.expect(statement);
}

pub async fn leases(db: &Database) -> i64 {
    let connection = db.connection().await.expect("a connection");
    let held = "SELECT count(*) AS n FROM cache_leases WHERE token IS NOT NULL";
    number(&connection, held).await.expect("leases")
}

/// A fetch that has begun and ends when it is told to.
#[derive(Clone)]
pub struct Gate {
    begun: Arc<tokio::sync::Semaphore>,
    open: Arc<tokio::sync::Semaphore>,
}

impl Gate {
    pub fn new() -> Self {
        let shut = || Arc::new(tokio::sync::Semaphore::new(0));
        Gate { begun: shut(), open: shut() }
    }

    /// In the fetch: says that it has begun, and waits.
    pub async fn pass(&self) {
        self.begun.add_permits(1);
        drop(self.open.acquire().await.expect("open"));
    }

    pub async fn begun(&self) {
        self.begun.acquire().await.expect("begun").forget();
    }

    pub fn open(&self) {
        self.open.add_permits(1);
    }
}

/// A call on a task of its own, whose fetch stops at the gate.
pub fn behind(
    gate: &Gate,
    provider: &Provider,
    db: &Database,
    keys: &[CacheKey],
    policy: &Policy,
) -> tokio::task::JoinHandle<Vec<Result<Cached<String>>>> {
    let (gate, provider, db) = (gate.clone(), provider.clone(), db.clone());
    let (keys, policy) = (keys.to_vec(), policy.clone());
    tokio::spawn(async move {
        let fetch = move |keys: Vec<CacheKey>| {
            let (n, gate) = (provider.note(&keys), gate.clone());
            async move {
                gate.pass().await;
                let name =
                    |key: CacheKey| (key.clone(), Fetched::new(format!("{} {n}", key.ticker)));
                Ok::<_, BoxError>(keys.into_iter().map(name).collect())
            }
        };
        db.cache().get_many_or_fetch::<String>(&keys, &policy, fetch).await.expect("answers")
    })
}
