//! Many keys in one call: one reading, one fetch for all that is missing.

use std::any::TypeId;
use std::collections::HashMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::{join_all, try_join_all};
use futures_util::{FutureExt, StreamExt};
use tokio::sync::oneshot;

use super::cached::{Cached, Entry, Origin};
use super::core::{AnyEntry, CacheInner};
use super::database::{DatabaseLevel, is_down};
use super::documents::{CacheValue, Documents};
use super::fetched::{BoxError, Fetched};
use super::fetching::{FetchOutcome, failed};
use super::flights::Flight;
use super::kind::{Cacheable, Job};
use super::lease::LeaseOutcome;
use super::policy::Policy;
use super::{Cache, fetching, lease};
use crate::error::{Error, Limit, Result};
use crate::market_cache::CacheKey;
use crate::store::{EntryKey, EntryKeyRef};
use crate::types::span;

/// How many fetched values are stored at a time, each on a connection of its own.
const STORED_AT_ONCE: usize = 4;

/// A fetch of many: a closure that is given the keys that are missing and returns a future of their
/// values, in any order; what it leaves out is an error of its key only. It may be called more than
/// once: for a key whose fetch in another process has failed, again for that key alone.
pub trait FetchMany<T>:
    Fn(Vec<CacheKey>) -> <Self as FetchMany<T>>::Future + Send + Sync + 'static
{
    /// The closure's future.
    type Future: Future<Output = Result<Vec<(CacheKey, Self::Value)>, Self::Error>> + Send + 'static;
    /// `T` or [`Fetched<T>`].
    type Value: Into<Fetched<T>> + Send;
    /// What becomes [`Error::Fetch`](crate::Error::Fetch).
    type Error: Into<BoxError>;
}

impl<T, F, Fut, V, E> FetchMany<T> for F
where
    F: Fn(Vec<CacheKey>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Vec<(CacheKey, V)>, E>> + Send + 'static,
    V: Into<Fetched<T>> + Send,
    E: Into<BoxError>,
{
    type Future = Fut;
    type Value = V;
    type Error = E;
}

/// What the levels have of each key.
type FoundMany<T> = Vec<Option<(Arc<Entry<T>>, Origin)>>;

/// A key whose value is to be fetched, and its waiting caller.
struct Wanted<T> {
    key: CacheKey,
    address: EntryKey,
    previous: Option<Arc<Entry<T>>>,
    told: oneshot::Sender<FetchOutcome>,
}

impl<T> Wanted<T> {
    fn tell(self, outcome: FetchOutcome) {
        // The callers may have left.
        let _ = self.told.send(outcome);
    }
}

/// What is known of one key of the call.
enum Answer<T> {
    Known(Result<Cached<T>>),
    UnderWay { stale: Option<Arc<Entry<T>>>, flight: Flight<FetchOutcome> },
}

impl Cache {
    /// As [`get_or_fetch`](Self::get_or_fetch), of many keys: one reading of each level, and one fetch of
    /// all that is missing and that nobody else is fetching. The answers are in the order of the keys; one
    /// that cannot be given does not keep the others away. Nothing is fetched before its expiry
    /// ([`Policy::eager`] does not count here).
    ///
    /// # Errors
    /// `Invalid` of the policy; what the database refuses.
    #[tracing::instrument(level = "debug", name = "cache.get_many_or_fetch", skip_all)]
    pub async fn get_many_or_fetch<T: CacheValue>(
        &self,
        keys: &[CacheKey],
        policy: &Policy,
        fetch: impl FetchMany<T>,
    ) -> Result<Vec<Result<Cached<T>>>> {
        policy.validate()?;
        let began = Instant::now();
        let found = self.core.find_many::<T>(keys).await?;
        let fetch = Arc::new(fetch);
        let mut wanted = Vec::new();
        let mut answers = Vec::with_capacity(keys.len());
        for (key, found) in keys.iter().zip(found) {
            answers.push(self.core.answer(key, found, policy, &mut wanted));
        }
        if !wanted.is_empty() {
            tokio::spawn(run(self.core.clone(), wanted, policy.clone(), fetch));
        }
        let deadline = |patience| tokio::time::Instant::from_std(span::after(began, patience));
        let answers = answers.into_iter().map(async |answer| match answer {
            Answer::Known(known) => known,
            Answer::UnderWay { stale, flight } => {
                let patience = match &stale {
                    Some(_) => policy.soft_timeout.min(policy.hard_timeout),
                    None => policy.hard_timeout,
                };
                let outcome = tokio::time::timeout_at(deadline(patience), flight).await;
                self.core.landed(outcome, stale)
            }
        });
        Ok(join_all(answers).await)
    }
}

impl CacheInner {
    /// What the levels have of the keys, in their order.
    async fn find_many<T: CacheValue>(self: &Arc<Self>, keys: &[CacheKey]) -> Result<FoundMany<T>> {
        if let Some(sync) = &self.sync {
            sync.ensure_running(self).await;
        }
        let now = Instant::now();
        let mut found: FoundMany<T> = keys
            .iter()
            .map(|key| {
                self.fresh_copy::<Documents<T>>(key.into(), now).map(|e| (e, Origin::Memory))
            })
            .collect();
        let missing = |found: &FoundMany<T>| -> Vec<usize> {
            let is_missing =
                |i: &usize| found[*i].as_ref().is_none_or(|(entry, _)| !entry.is_fresh_at(now));
            (0..keys.len()).filter(is_missing).collect()
        };
        #[cfg(feature = "redis")]
        if let Some(redis) = &self.redis {
            let places = missing(&found);
            let addresses: Vec<EntryKeyRef<'_>> =
                places.iter().map(|&i| (&keys[i]).into()).collect();
            let packed = redis.get_many(&addresses).await;
            for ((i, address), packed) in places.into_iter().zip(addresses).zip(packed) {
                if let Some(Ok(entry)) = packed.map(|p| Documents::<T>::unpack(p, now)) {
                    let entry = Arc::new(entry);
                    if entry.is_fresh_at(now) && self.is_trusted(now) {
                        self.keep(address, &entry);
                    }
                    found[i] = Some((entry, Origin::Redis));
                }
            }
        }
        let Some(database) = &self.database else { return Ok(found) };
        let places = if self.is_trusted(now) { missing(&found) } else { (0..keys.len()).collect() };
        if places.is_empty() {
            return Ok(found);
        }
        let wanted: Vec<&CacheKey> = places.iter().map(|&i| &keys[i]).collect();
        let rows = match database.run(Documents::<T>::read_many(database, &wanted)).await {
            Ok(rows) => rows,
            Err(error) if is_down(&error) => {
                for i in places {
                    let copy = || self.memory.as_ref()?.get(EntryKeyRef::from(&keys[i]));
                    found[i] = found[i].take().or_else(|| Some((copy()?, Origin::Memory)));
                }
                return Ok(found);
            }
            Err(error) => return Err(error),
        };
        #[cfg(feature = "redis")]
        let mut fresh = Vec::new();
        for (i, packed) in places.into_iter().zip(rows) {
            let Some(packed) = packed else {
                found[i] = None;
                continue;
            };
            match Documents::<T>::unpack(packed.clone(), now) {
                Ok(entry) => {
                    let entry = Arc::new(entry);
                    self.keep((&keys[i]).into(), &entry);
                    found[i] = Some((entry, Origin::Database));
                    #[cfg(feature = "redis")]
                    fresh.push((i, packed));
                }
                Err(_) => {
                    self.counters.corrupt.one();
                    found[i] = None;
                }
            }
        }
        #[cfg(feature = "redis")]
        if let Some(redis) = &self.redis {
            let passed = now.elapsed();
            let aged = fresh.into_iter().map(|(i, packed)| (i, packed.aged(passed)));
            let fresh: Vec<_> = aged.filter(|(_, packed)| packed.is_fresh()).collect();
            let entries: Vec<_> =
                fresh.iter().map(|(i, packed)| (EntryKeyRef::from(&keys[*i]), packed)).collect();
            redis.put_many(&entries, now).await;
        }
        Ok(found)
    }

    fn answer<T: CacheValue>(
        self: &Arc<Self>,
        key: &CacheKey,
        found: Option<(Arc<Entry<T>>, Origin)>,
        policy: &Policy,
        wanted: &mut Vec<Wanted<T>>,
    ) -> Answer<T> {
        let now = Instant::now();
        if let Some((entry, origin)) = found.as_ref().filter(|(entry, _)| entry.is_fresh_at(now)) {
            self.count_hit(*origin);
            return Answer::Known(Ok(Cached::new(entry.clone(), *origin, now)));
        }
        self.counters.misses.one();
        if let Err(error) = EntryKeyRef::from(key).check_storable() {
            return Answer::Known(Err(error));
        }
        let previous = found.map(|(entry, _)| entry);
        let stale = previous.clone().filter(|entry| entry.is_usable_at(now, policy.stale_for));
        let address = EntryKeyRef::from(key).to_owned();
        if let Some(retry_in) = self.pause(address.as_ref(), now) {
            self.counters.backing_off.one();
            let backing_off = || Error::BackingOff { retry_in };
            return Answer::Known(stale.map(|e| self.stale(e, now)).ok_or_else(backing_off));
        }
        let (told, outcome) = oneshot::channel();
        let stopped = || Err(failed("the fetch's task was stopped"));
        let flight = async move { outcome.await.unwrap_or_else(|_| stopped()) };
        let name = (address.clone(), TypeId::of::<T>());
        let (flight, is_first) = self.fetches().launch(name, || flight, stopped);
        if is_first {
            wanted.push(Wanted { key: key.clone(), address, previous, told });
        } else {
            self.counters.waits.one();
        }
        Answer::UnderWay { stale, flight }
    }
}

/// Fetches what is wanted, but for what other processes are fetching.
async fn run<T: CacheValue, F: FetchMany<T>>(
    core: Arc<CacheInner>,
    wanted: Vec<Wanted<T>>,
    policy: Policy,
    fetch: Arc<F>,
) {
    let (mine, elsewhere) = match &core.database {
        None => (wanted.into_iter().map(|w| (w, None)).collect(), Vec::new()),
        Some(database) => match turns(&core, database, wanted).await {
            Ok(split) => split,
            Err(wanted) => (wanted.into_iter().map(|w| (w, None)).collect(), Vec::new()),
        },
    };
    for wanted in elsewhere {
        let (core, policy, fetch) = (core.clone(), policy.clone(), fetch.clone());
        tokio::spawn(async move {
            let Wanted { key, address, previous, told } = wanted;
            let job = single::<T, F>(key, fetch);
            let outcome =
                fetching::run::<Documents<T>>(core, address, policy, previous, false, job).await;
            // The callers may have left.
            let _ = told.send(outcome);
        });
    }
    if !mine.is_empty() {
        fetch_mine(&core, mine, &policy, &*fetch).await;
    }
}

/// What the closure returns, in types that can be held on to.
async fn values<T: CacheValue, F: FetchMany<T>>(
    fetch: &F,
    keys: Vec<CacheKey>,
) -> Result<Vec<(CacheKey, Fetched<T>)>, BoxError> {
    let values = fetch(keys).await.map_err(Into::into)?;
    Ok(values.into_iter().map(|(key, value)| (key, value.into())).collect())
}

/// The fetch of one key by the closure for many.
fn single<T: CacheValue, F: FetchMany<T>>(key: CacheKey, fetch: Arc<F>) -> Job<Documents<T>> {
    Box::new(move |_| {
        async move {
            let wanted = EntryKeyRef::from(&key).to_owned();
            let mut values = values(&*fetch, vec![key]).await?.into_iter();
            let value = values.find(|(key, _)| EntryKeyRef::from(key).to_owned() == wanted);
            value.map(|(_, value)| value).ok_or_else(|| "the fetch left the key out".into())
        }
        .boxed()
    })
}

/// With the lease of each: its token, and the failures in a row before it.
type Mine<T> = Vec<(Wanted<T>, Option<(i64, u32)>)>;

/// Takes the leases that can be had, and answers those whose value has come meanwhile.
async fn turns<T: CacheValue>(
    core: &Arc<CacheInner>,
    database: &DatabaseLevel,
    wanted: Vec<Wanted<T>>,
) -> std::result::Result<(Mine<T>, Vec<Wanted<T>>), Vec<Wanted<T>>> {
    let take = async {
        let connection = database.session.connection().await?;
        let takes =
            wanted.iter().map(|w| lease::take(&connection, w.address.as_ref(), core.options.lease));
        try_join_all(takes).await
    };
    let Ok(turns) = database.run(take).await else { return Err(wanted) };
    // Read after the leases were asked for: what their last holders stored is seen.
    let keys: Vec<&CacheKey> = wanted.iter().map(|w| &w.key).collect();
    let rows = database.run(Documents::<T>::read_many(database, &keys)).await;
    let rows = rows.unwrap_or_else(|_| vec![None; keys.len()]);
    let (mut mine, mut elsewhere) = (Vec::new(), Vec::new());
    for ((mut wanted, turn), row) in wanted.into_iter().zip(turns).zip(rows) {
        let entry =
            row.and_then(|row| Documents::<T>::unpack(row, Instant::now()).ok()).map(Arc::new);
        match (turn, entry) {
            (LeaseOutcome::Taken { token, .. }, Some(entry))
                if entry.is_fresh_at(Instant::now()) =>
            {
                // It runs out by itself.
                let _ = database.release(wanted.address.as_ref(), token).await;
                core.keep(wanted.address.as_ref(), &entry);
                wanted.tell(Ok((entry as AnyEntry, Origin::Database)));
            }
            (LeaseOutcome::Taken { token, failures }, entry) => {
                wanted.previous = entry;
                mine.push((wanted, Some((token, failures))));
            }
            _ => elsewhere.push(wanted),
        }
    }
    Ok((mine, elsewhere))
}

/// One fetch for all of them; each is stored and reported by itself.
async fn fetch_mine<T: CacheValue, F: FetchMany<T>>(
    core: &CacheInner,
    mine: Mine<T>,
    policy: &Policy,
    fetch: &F,
) {
    core.counters.fetches.one();
    let keys: Vec<CacheKey> = mine.iter().map(|(wanted, _)| wanted.key.clone()).collect();
    let work = AssertUnwindSafe(values(fetch, keys)).catch_unwind();
    let work = tokio::time::timeout(policy.hard_timeout, work);
    let outcome = match &core.database {
        Some(database) => {
            let leases = mine.iter().filter_map(|(wanted, lease)| Some((wanted, (*lease)?.0)));
            let renewals =
                leases.map(|(w, token)| database.keep_renewing(w.address.as_ref(), token));
            let mut renewals: futures_util::stream::FuturesUnordered<_> = renewals.collect();
            tokio::select! {
                outcome = work => outcome,
                Some(never) = renewals.next() => match never {},
            }
        }
        None => work.await,
    };
    let values = match outcome {
        Ok(Ok(Ok(values))) => Ok(values),
        Ok(Ok(Err(error))) => Err(failed(error)),
        Ok(Err(_)) => Err(failed("the fetch panicked")),
        Err(_) => Err(Error::Timeout { limit: Limit::Fetch }),
    };
    let settled = match values {
        Ok(values) => {
            let mut values: HashMap<EntryKey, Fetched<T>> = values
                .into_iter()
                .map(|(key, value)| (EntryKeyRef::from(&key).to_owned(), value))
                .collect();
            let left_out = || failed("the fetch left the key out");
            mine.into_iter()
                .map(|(w, lease)| {
                    let value = values.remove(&w.address).ok_or_else(left_out);
                    (w, lease, value)
                })
                .collect::<Vec<_>>()
        }
        Err(error) => mine.into_iter().map(|(w, lease)| (w, lease, Err(error.clone()))).collect(),
    };
    futures_util::stream::iter(settled)
        .for_each_concurrent(STORED_AT_ONCE, async |(wanted, lease, value)| {
            let previous = wanted.previous.clone();
            let lease = fetching::Lease {
                token: lease.map(|(token, _)| token),
                failures: lease.map_or_else(
                    || core.failures(wanted.address.as_ref()),
                    |(_, failures)| failures,
                ),
                previous,
            };
            let outcome =
                fetching::conclude::<Documents<T>>(core, &wanted.address, policy, lease, value)
                    .await;
            wanted.tell(outcome);
        })
        .await;
}
