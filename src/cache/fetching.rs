//! One fetch: the lease, the caller's closure, and what becomes of its result.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;

use super::cached::{Cached, Entry, Origin};
use super::core::{AnyEntry, CacheInner};
use super::database::{DatabaseLevel, is_down};
use super::fetched::BoxError;
use super::kind::{Cacheable, Job, Read};
use super::lease::LeaseOutcome;
use super::policy::Policy;
use crate::error::{Error, Limit, Result};
use crate::store::EntryKey;
use crate::types::span;

/// The entry, and whether this fetch made it or another process did.
pub(crate) type FetchOutcome = Result<(AnyEntry, Origin)>;

/// How soon a waiter looks again for what another process fetches, at first; then it doubles.
const FIRST_LOOK: Duration = Duration::from_millis(10);
/// How long a waiter waits at most between two looks.
const LAST_LOOK: Duration = Duration::from_millis(250);

/// An [`Error::Fetch`], or what a fetch says of the request or of the next try by an error of ours. A fetch that itself asked a
/// cache may return an [`Error::Fetch`], too.
pub(crate) fn failed(error: impl Into<BoxError>) -> Error {
    match error.into().downcast::<Error>() {
        Ok(own) if own.is_of_the_request() => *own,
        Ok(own) if matches!(*own, Error::BackingOff { .. } | Error::Fetch { .. }) => *own,
        Ok(own) => Error::Fetch { source: Arc::new(own) },
        Err(other) => Error::Fetch { source: Arc::new(other) },
    }
}

/// Fetches, unless another process does or has just done so.
pub(crate) async fn run<K: Cacheable>(
    core: Arc<CacheInner>,
    address: EntryKey,
    policy: Policy,
    previous: Option<Arc<Entry<K::Value>>>,
    is_eager: bool,
    job: Job<K>,
) -> FetchOutcome {
    let mut lease = Lease { token: None, failures: core.failures(address.as_ref()), previous };
    if let Some(database) = &core.database {
        // A value that is replaced before its expiry is fetched although it is fresh.
        let replaces = lease.previous.as_ref().filter(|_| is_eager).map_or(0, |p| p.version);
        match wait_for_turn::<K>(&core, database, &address, &policy, replaces, &mut lease).await {
            Ok(Some(entry)) => return Ok((entry, Origin::Database)),
            Ok(None) => {}
            // One process can fetch without the others' consent better than not at all.
            Err(error) if is_down(&error) => {}
            Err(error) => return Err(error),
        }
    }
    let value = fetch::<K>(&core, &address, &policy, &lease, job).await;
    conclude::<K>(&core, &address, &policy, lease, value).await
}

/// Stores what was fetched, or puts the next fetch off, unless the error, of the fetch or of storing what it returned, says
/// something of the request; gives the lease up either way.
pub(crate) async fn conclude<K: Cacheable>(
    core: &CacheInner,
    address: &EntryKey,
    policy: &Policy,
    lease: Lease<K::Value>,
    value: Result<K::New>,
) -> FetchOutcome {
    let Lease { token, failures, previous } = lease;
    let database = core.database.as_ref();
    if previous.is_some() && value.is_ok() {
        core.counters.refreshes.one();
    }
    let had = previous.clone();
    let settled = match value {
        Ok(new) => K::settle(database, address, token, new, policy, previous, core.packs()).await,
        Err(error) => Err(error),
    };
    match settled {
        Ok(settled) if settled.is_current => {
            core.put_off_no_longer(address.as_ref());
            Ok((core.take_in(address, settled.read).await, Origin::Fetched))
        }
        Ok(settled) => {
            core.counters.superseded.one();
            Ok((Arc::new(settled.read.entry), Origin::Fetched))
        }
        Err(error) if error.is_of_the_request() => {
            if let (Some(database), Some(token)) = (database, token) {
                // Where that fails, the lease runs out by itself.
                let _ = database.release(address.as_ref(), token).await;
            }
            // Where a value stands in, no caller sees the answer: each would ask again.
            let now = Instant::now();
            let stands_in = |p: &Arc<Entry<K::Value>>| span::after(p.loaded, p.kept_for) > now;
            match had.as_ref().is_some_and(stands_in) {
                true => core.backing_off(address, 0, span::after(now, policy.pause(1))),
                false => core.put_off_no_longer(address.as_ref()),
            }
            Err(error)
        }
        Err(error) => {
            core.counters.fetch_errors.one();
            let failures = failures.saturating_add(1);
            let pause = match error {
                Error::BackingOff { retry_in } => retry_in,
                _ => policy.pause(failures),
            };
            let is_held = match (database, token) {
                // Where that fails, the lease runs out by itself.
                (Some(database), Some(token)) => {
                    database.fail(address.as_ref(), token, pause).await.unwrap_or(true)
                }
                _ => true,
            };
            // What was invalidated meanwhile may be fetched at once.
            if is_held {
                core.backing_off(address, failures, span::after(Instant::now(), pause));
            }
            Err(error)
        }
    }
}

/// The right to fetch a key.
pub(crate) struct Lease<T> {
    /// `None`: without a database, or it is down.
    pub token: Option<i64>,
    /// Of the fetches before this one, in a row.
    pub failures: u32,
    /// What the row held when the lease was taken.
    pub previous: Option<Arc<Entry<T>>>,
}

/// Takes the lease, or returns what its holder has stored meanwhile.
async fn wait_for_turn<K: Cacheable>(
    core: &CacheInner,
    database: &DatabaseLevel,
    address: &EntryKey,
    policy: &Policy,
    replaces: i64,
    lease: &mut Lease<K::Value>,
) -> Result<Option<AnyEntry>> {
    let deadline = span::after(Instant::now(), policy.hard_timeout);
    let mut news = core.sync.as_ref().map(|sync| sync.news());
    let mut look = FIRST_LOOK;
    let mut has_waited = false;
    loop {
        let turn = database.take(address.as_ref()).await?;
        // Read after the lease was asked for: what its last holder stored is seen.
        let row = match database.read::<K>(address.as_ref(), core.packs()).await {
            // It is to be replaced.
            Err(Error::Corrupt { .. }) => None,
            row => row?,
        };
        let is_done = |read: &Read<K::Value>| {
            read.entry.is_fresh_at(Instant::now()) && read.entry.version > replaces
        };
        if row.as_ref().is_some_and(is_done) {
            if let LeaseOutcome::Taken { token, .. } = turn {
                database.release(address.as_ref(), token).await?;
            }
            return match row {
                Some(read) => Ok(Some(core.take_in(address, read).await as AnyEntry)),
                None => Ok(None),
            };
        }
        let held_for = match turn {
            LeaseOutcome::Taken { token, failures } => {
                (lease.token, lease.failures) = (Some(token), failures);
                lease.previous = row.map(|read| Arc::new(read.entry));
                return Ok(None);
            }
            LeaseOutcome::BackingOff { failures, pause } => {
                core.backing_off(address, failures, span::after(Instant::now(), pause));
                return Err(Error::BackingOff { retry_in: pause });
            }
            LeaseOutcome::Held { for_now } => for_now,
        };
        if !std::mem::replace(&mut has_waited, true) {
            core.counters.waits.one();
        }
        if Instant::now() >= deadline {
            return Err(Error::Timeout { limit: Limit::FetchElsewhere });
        }
        let pause = look.min(held_for.max(Duration::from_millis(1)));
        look = (look * 2).min(LAST_LOOK);
        match &mut news {
            // The holder announces what it has stored.
            Some(news) => drop(tokio::time::timeout(pause, news.changed()).await),
            None => tokio::time::sleep(pause).await,
        }
    }
}

/// Runs the closure. No connection is held meanwhile.
async fn fetch<K: Cacheable>(
    core: &CacheInner,
    address: &EntryKey,
    policy: &Policy,
    lease: &Lease<K::Value>,
    job: Job<K>,
) -> Result<K::New> {
    core.counters.fetches.one();
    let given = lease.previous.clone().map(|entry| {
        let now = Instant::now();
        let origin = if entry.is_fresh_at(now) { Origin::Database } else { Origin::Stale };
        Cached::new(entry, origin, now)
    });
    let work = AssertUnwindSafe(async move { job(given).await }).catch_unwind();
    let work = tokio::time::timeout(policy.hard_timeout, work);
    let done = match (&core.database, lease.token) {
        (Some(database), Some(token)) => tokio::select! {
            done = work => done,
            never = database.keep_renewing(address.as_ref(), token) => match never {},
        },
        _ => work.await,
    };
    match done {
        Ok(Ok(Ok(new))) => Ok(new),
        Ok(Ok(Err(error))) => Err(failed(error)),
        Ok(Err(_)) => Err(failed("the fetch panicked")),
        Err(_) => Err(Error::Timeout { limit: Limit::Fetch }),
    }
}
