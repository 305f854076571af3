//! The cache: one call, several levels.

mod clocks;
mod copies;
mod documents;
mod fail_safe;
mod levels;
mod one_fetch;
mod outage;
mod processes;
mod program;
mod races;
mod refresh;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use buffetbot_db::cache::{BoxError, Cache, CacheOptions, Cached, Fetch, Fetched, Policy};
use buffetbot_db::market_cache::CacheKey;
use buffetbot_db::testing::TestDatabase;
use buffetbot_db::types::{DataType, Ticker};
use buffetbot_db::{Database, Error};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::support::handle::Handle;
use crate::support::{GENEROUS, number};

pub const HOUR: Duration = Duration::from_secs(3600);
pub const MS: Duration = Duration::from_millis(1);

type Asked = Result<Cached<u32>, Error>;

pub fn key(ticker: &str) -> CacheKey {
    CacheKey::new(&crate::support::parsed::<Ticker>(ticker), DataType::FUNDAMENTALS)
}

pub async fn database() -> TestDatabase {
    TestDatabase::new().await.expect("a database")
}

/// Another process, as far as the cache can tell: the same database, nothing shared.
pub fn process(db: &TestDatabase, options: CacheOptions) -> Database {
    Database::clone(db).with_cache(options).expect("a cache")
}

/// Two processes without memory: what they answer is what the database holds.
pub fn forgetful(db: &TestDatabase) -> [Database; 2] {
    [(); 2].map(|()| process(db, CacheOptions::default().memory(0)))
}

/// A lookup on a task of its own.
pub fn ask(
    handle: &Database,
    ticker: &str,
    policy: &Policy,
    fetch: impl Fetch<u32>,
) -> JoinHandle<Asked> {
    let (cache, key, policy) = (handle.cache().clone(), key(ticker), policy.clone());
    tokio::spawn(async move { cache.get_or_fetch(&key, &policy, fetch).await })
}

/// What a lookup on a task returned, within any time that it may take.
pub async fn done<R>(task: JoinHandle<R>) -> R {
    tokio::time::timeout(GENEROUS, task).await.expect("in time").expect("no panic")
}

/// The value that a key has, fresh, in whichever level.
pub async fn value(handle: &Database, ticker: &str) -> Option<u32> {
    let cached = handle.cache().get::<u32>(&key(ticker)).await.expect("get");
    cached.map(|cached| *cached.value)
}

/// Stores a value for an hour.
pub async fn put(handle: &Database, ticker: &str, value: u32) {
    handle.cache().put(&key(ticker), value, &Policy::ttl(HOUR)).await.expect("put");
}

/// Lets the row of a ticker have expired a second ago; it may be served for `stale_for` more.
pub async fn expire(db: &TestDatabase, ticker: &str, stale_for: Option<Duration>) {
    let stale_until = match stale_for {
        Some(window) => format!("now() + INTERVAL '{} ms'", window.as_millis()),
        None => "NULL".into(),
    };
    let sql = format!(
        "UPDATE market_data_cache SET cached_at = now() - INTERVAL '1 hour',
            expires_at = now() - INTERVAL '1 s', stale_until = {stale_until}
         WHERE ticker = '{ticker}'"
    );
    db.sql(&sql).await;
}

/// One number `n` out of the database.
pub async fn count(db: &TestDatabase, sql: &str) -> i64 {
    number(&db.connection().await.expect("a connection"), sql).await.expect("a number")
}

/// A fetch under way, which ends when and as the test says.
pub struct Held {
    begun: oneshot::Receiver<Option<Cached<u32>>>,
    answer: oneshot::Sender<Result<Fetched<u32>, &'static str>>,
}

/// A fetch that the test holds.
pub fn held() -> (impl Fetch<u32>, Held) {
    let (begin, begun) = oneshot::channel();
    let (answer, answered) = oneshot::channel();
    let fetch = move |previous: Option<Cached<u32>>| async move {
        let _ = begin.send(previous);
        answered.await.unwrap_or(Err("the test has ended"))
    };
    (fetch, Held { begun, answer })
}

impl Held {
    /// Waits until the closure runs; the value that it was given.
    pub async fn begun(&mut self) -> Option<Cached<u32>> {
        let begun = tokio::time::timeout(GENEROUS, &mut self.begun).await;
        begun.expect("in time").expect("it was not dropped")
    }

    pub fn answer(self, answer: Result<impl Into<Fetched<u32>>, &'static str>) {
        assert!(self.answer.send(answer.map(Into::into)).is_ok(), "the fetch is gone");
    }
}

/// A fetch that must not happen.
pub fn never() -> impl Fetch<u32> {
    |_| async { panic!("this fetch must not happen") as Result<u32, BoxError> }
}

/// A fetch that returns at once.
pub fn gives(value: impl Into<Fetched<u32>>) -> impl Fetch<u32> {
    let value = value.into();
    move |_| async { Ok::<_, BoxError>(value) }
}

/// A provider that counts how often it is asked.
#[derive(Clone, Default)]
pub struct Provider {
    asked: Arc<AtomicU32>,
}

impl Provider {
    pub fn asked(&self) -> u32 {
        self.asked.load(Ordering::SeqCst)
    }

    /// A lookup whose fetch returns the next number: 1, 2, ...
    pub async fn next(&self, cache: &Cache, key: &CacheKey, policy: &Policy) -> Asked {
        let asked = self.asked.clone();
        cache
            .get_or_fetch::<u32>(key, policy, move |_| async move {
                Ok::<_, BoxError>(asked.fetch_add(1, Ordering::SeqCst) + 1)
            })
            .await
    }

    /// A lookup whose fetch fails.
    pub async fn fail(&self, cache: &Cache, key: &CacheKey, policy: &Policy) -> Asked {
        let asked = self.asked.clone();
        cache
            .get_or_fetch::<u32>(key, policy, move |_| async move {
                asked.fetch_add(1, Ordering::SeqCst);
                Err::<Fetched<u32>, _>("the provider is down")
            })
            .await
    }
}
