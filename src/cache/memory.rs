//! The memory level: copies of rows, bounded by bytes, dropped when their rows change.

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use moka::notification::RemovalCause;

use super::cached::Entry;
use super::change::{Change, Changed, ChangedKey};
use super::counters::Counters;
use crate::store::{EntryKey, EntryKeyRef, Namespace};
use crate::types::Ticker;
use crate::types::canonical::canonical;

/// What an entry weighs beside its text and its key.
const OVERHEAD: usize = 200;
/// How long it is remembered that a key changed; what was loaded longer ago is not accepted.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Most changed keys that are remembered.
const MOST_REMEMBERED: usize = 50_000;

/// A copy, of whichever type its caller asked for.
#[derive(Clone)]
struct Copy {
    entry: Arc<dyn Any + Send + Sync>,
    version: i64,
    /// Distinguishes this copy from an earlier one of the same key.
    id: u64,
    weight: u32,
}

pub(crate) struct Memory {
    copies: moka::sync::Cache<EntryKey, Copy, foldhash::fast::RandomState>,
    index: Arc<Mutex<Index>>,
    ids: AtomicU64,
}

/// Which copies there are of a ticker, and which keys changed lately. Never held while `copies` is
/// called, whose eviction listener takes it.
struct Index {
    /// The ids of the copies of each key. Two that are put at once may be entered in one order and inserted in the
    /// other, so that the one that stays is not the one that was entered last.
    copies: HashMap<(Namespace, Ticker), HashMap<EntryKey, Vec<u64>>>,
    changed: HashMap<Place, (Instant, i64)>,
    /// What was loaded before is not accepted.
    horizon: Instant,
}

/// A key without its parameters: coarse, so that nothing is parsed to look it up.
type Place = (Namespace, Ticker, Box<str>);

impl Memory {
    pub fn new(bytes: u64, counters: Arc<Counters>) -> Self {
        let index = Arc::new(Mutex::new(Index {
            copies: HashMap::new(),
            changed: HashMap::new(),
            horizon: Instant::now(),
        }));
        let listener = {
            let index = index.clone();
            move |address: Arc<EntryKey>, copy: Copy, cause: RemovalCause| {
                if cause == RemovalCause::Size {
                    counters.evictions.one();
                }
                lock(&index).leave(&address, copy.id);
            }
        };
        let copies = moka::sync::Cache::builder()
            .max_capacity(bytes)
            .weigher(|_, copy: &Copy| copy.weight)
            .eviction_listener(listener)
            .build_with_hasher(foldhash::fast::RandomState::default());
        Memory { copies, index, ids: AtomicU64::new(1) }
    }

    /// The copy of this key, if it is a `T`.
    pub fn get<T: Send + Sync + 'static>(&self, address: EntryKeyRef<'_>) -> Option<Arc<Entry<T>>> {
        let copy = self.copies.get(&address)?;
        copy.entry.downcast().ok()
    }

    /// Takes a copy in, unless its row has changed since it was loaded.
    pub fn put<T: Send + Sync + 'static>(&self, address: EntryKeyRef<'_>, entry: &Arc<Entry<T>>) {
        let address = address.to_owned();
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let weight = address.weight() + entry.size + OVERHEAD;
        let weight = u32::try_from(weight).unwrap_or(u32::MAX);
        let copy = Copy { entry: entry.clone(), version: entry.version, id, weight };
        {
            let mut index = lock(&self.index);
            if index.is_outdated(&address, entry.loaded, entry.version) {
                return;
            }
            index.enter(&address, id);
        }
        self.copies.insert(address.clone(), copy);
        // A change that was applied between the two did not find the copy.
        let outdated = lock(&self.index).is_outdated(&address, entry.loaded, entry.version);
        if outdated {
            self.copies.invalidate(&address);
        }
    }

    pub fn remove(&self, address: EntryKeyRef<'_>) {
        self.copies.invalidate(&address);
    }

    /// Drops every copy.
    pub fn clear(&self) {
        lock(&self.index).horizon = Instant::now();
        self.copies.invalidate_all();
    }

    /// Drops the copies whose rows changed. Returns how many.
    pub fn apply(&self, changes: &[Change]) -> u64 {
        let mut dropped = self.drop_portfolios(changes);
        for change in changes {
            let key = match &change.changed {
                Changed::Namespace => {
                    self.clear();
                    continue;
                }
                Changed::Portfolio(_) => continue,
                Changed::Key(key) => key,
            };
            let candidates = {
                let mut index = lock(&self.index);
                index.remember(change.space, key, change.version);
                index.candidates(change.space, key)
            };
            if candidates.is_empty() {
                continue;
            }
            let parameters = canonical(key.parameters.as_ref());
            for address in candidates {
                if canonical(address.parameters.as_ref()) != parameters {
                    continue;
                }
                let copy = self.copies.get(&address);
                if copy.is_some_and(|copy| is_older(change.space, copy.version, change.version)) {
                    self.copies.invalidate(&address);
                    dropped += 1;
                }
            }
        }
        dropped
    }

    /// Drops every copy of the portfolios whose owners were erased, and accepts none that was loaded before; returns how many.
    /// One pass over the keys, of however many portfolios.
    fn drop_portfolios(&self, changes: &[Change]) -> u64 {
        let erased = changes.iter().filter_map(|change| match change.changed {
            Changed::Portfolio(portfolio) => Some((change.space, Some(portfolio))),
            Changed::Namespace | Changed::Key(_) => None,
        });
        let erased: HashSet<_> = erased.collect();
        if erased.is_empty() {
            return 0;
        }
        let concerned: Vec<EntryKey> = {
            let mut index = lock(&self.index);
            index.horizon = Instant::now();
            let addresses = index.copies.values().flat_map(HashMap::keys);
            addresses.filter(|a| erased.contains(&(a.space, a.portfolio))).cloned().collect()
        };
        concerned.iter().for_each(|address| self.copies.invalidate(address));
        concerned.len() as u64
    }

    /// Copies and the bytes that they weigh.
    pub fn size(&self) -> (u64, u64) {
        self.copies.run_pending_tasks();
        (self.copies.entry_count(), self.copies.weighted_size())
    }
}

/// Whether a copy of this version is not what the row holds since a change. Versions of an entry are
/// drawn while it is locked and so are in order; the results of an analysis are rows of their own,
/// and two that are stored at once may become visible the other way round.
fn is_older(space: Namespace, copy: i64, changed: i64) -> bool {
    match space {
        Namespace::MarketData => copy < changed,
        Namespace::Analyses => copy != changed,
    }
}

fn lock(index: &Mutex<Index>) -> MutexGuard<'_, Index> {
    // Maps are left whole by whatever panics between.
    index.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Index {
    fn enter(&mut self, address: &EntryKey, id: u64) {
        let ticker = (address.space, address.ticker.clone());
        self.copies.entry(ticker).or_default().entry(address.clone()).or_default().push(id);
    }

    fn leave(&mut self, address: &EntryKey, id: u64) {
        let ticker = (address.space, address.ticker.clone());
        if let Some(copies) = self.copies.get_mut(&ticker) {
            if let Some(ids) = copies.get_mut(address) {
                ids.retain(|other| *other != id);
                if ids.is_empty() {
                    copies.remove(address);
                }
            }
            if copies.is_empty() {
                self.copies.remove(&ticker);
            }
        }
    }

    fn candidates(&self, space: Namespace, key: &ChangedKey) -> HashSet<EntryKey> {
        let copies = self.copies.get(&(space, key.ticker.clone()));
        let is_meant = |a: &&EntryKey| a.name == key.name && a.portfolio == key.portfolio;
        copies.into_iter().flat_map(HashMap::keys).filter(is_meant).cloned().collect()
    }

    fn remember(&mut self, space: Namespace, key: &ChangedKey, version: i64) {
        let now = Instant::now();
        if self.changed.len() >= MOST_REMEMBERED {
            self.changed.retain(|_, (at, _)| now.duration_since(*at) < REMEMBERED);
        }
        if self.changed.len() >= MOST_REMEMBERED {
            self.changed.clear();
            self.horizon = now;
        }
        let place = (space, key.ticker.clone(), key.name.clone());
        let (at, newest) = self.changed.entry(place).or_insert((now, version));
        (*at, *newest) = (now, version.max(*newest));
    }

    fn is_outdated(&self, address: &EntryKey, loaded: Instant, version: i64) -> bool {
        if loaded < self.horizon || loaded.elapsed() >= REMEMBERED {
            return true;
        }
        let place = (address.space, address.ticker.clone(), address.name.clone());
        self.changed.get(&place).is_some_and(|(at, changed)| {
            *at >= loaded && is_older(address.space, version, *changed)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    fn entry(version: i64) -> Arc<Entry<i64>> {
        let hour = Duration::from_secs(3600);
        Arc::new(Entry {
            value: Arc::new(version),
            version,
            revision: version,
            loaded: Instant::now(),
            age: Duration::ZERO,
            fresh_for: hour,
            kept_for: hour,
            source: None,
            quality: None,
            size: 10,
        })
    }

    #[test]
    fn a_change_finds_the_copy_of_whichever_load_came_last() {
        let memory = Memory::new(1_000_000, Arc::default());
        let ticker: Ticker = "AAPL".parse().expect("a ticker");
        let news = EntryKeyRef {
            space: Namespace::MarketData,
            ticker: &ticker,
            name: "news",
            parameters: None,
            portfolio: None,
        };
        let change = |version| Change {
            space: Namespace::MarketData,
            changed: Changed::Key(ChangedKey {
                ticker: ticker.clone(),
                name: "news".into(),
                parameters: None,
                portfolio: None,
            }),
            version,
        };
        let both = Barrier::new(2);
        let load = |round| {
            both.wait();
            memory.put(news, &entry(2 * round));
            both.wait();
        };
        let mut found = Vec::new();
        std::thread::scope(|scope| {
            scope.spawn(|| (0..20_000).for_each(load));
            for round in 0..20_000 {
                load(round);
                memory.apply(&[change(2 * round + 1)]);
                found.extend(memory.get::<i64>(news));
            }
        });
        assert!(found.is_empty(), "{} outdated copies", found.len());
        assert!(lock(&memory.index).copies.is_empty());
    }
}
