//! One at a time: callers who want the same thing share one future.

use std::any::TypeId;
use std::collections::HashMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};

use crate::store::EntryKey;

/// What is under way: two types of one key are two things.
pub(crate) type FlightKey = (EntryKey, TypeId);

/// The shared future of one thing under way.
pub(crate) type Flight<V> = Shared<BoxFuture<'static, V>>;

/// Flights by key, each with its number.
type UnderWay<V> = HashMap<FlightKey, (u64, WeakShared<BoxFuture<'static, V>>)>;

/// What is under way now.
pub(crate) struct Flights<V: Clone> {
    under_way: Mutex<UnderWay<V>>,
    count: AtomicU64,
}

impl<V: Clone + Send + Sync + 'static> Flights<V> {
    pub fn new() -> Arc<Self> {
        Arc::new(Flights { under_way: Mutex::default(), count: AtomicU64::new(0) })
    }

    /// Joins what is under way, or starts it. The callers drive it together:
    /// it ends unfinished when all have left.
    pub fn join<F>(self: &Arc<Self>, key: FlightKey, start: impl FnOnce() -> F) -> Flight<V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut under_way = self.lock();
        if let Some(flight) = Self::found(&under_way, &key) {
            return flight;
        }
        let landing = self.landing(key.clone());
        let (id, work) = (landing.id, start());
        let flight = async move {
            let _landing = landing;
            work.await
        };
        let flight = flight.boxed().shared();
        Self::announce(&mut under_way, key, id, &flight);
        flight
    }

    /// As [`join`](Self::join) (and whether it was started), on a separate task, which continues when all callers have left;
    /// `panicked` gives the value for callers whose task has panicked.
    pub fn launch<F>(
        self: &Arc<Self>,
        key: FlightKey,
        start: impl FnOnce() -> F,
        panicked: impl FnOnce() -> V + Send + 'static,
    ) -> (Flight<V>, bool)
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut under_way = self.lock();
        if let Some(flight) = Self::found(&under_way, &key) {
            return (flight, false);
        }
        let landing = self.landing(key.clone());
        let (id, work) = (landing.id, start());
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let flight = async move {
            // The sender is dropped unused when the runtime shuts down.
            match receiver.await {
                Ok(value) => value,
                Err(_) => panicked(),
            }
        };
        let flight = flight.boxed().shared();
        Self::announce(&mut under_way, key, id, &flight);
        drop(under_way);
        // Held, so that later callers join as long as the task runs.
        let held = flight.clone();
        tokio::spawn(async move {
            let value = AssertUnwindSafe(work).catch_unwind().await;
            drop(landing);
            if let Ok(value) = value {
                // Nobody may be left to hear it.
                let _ = sender.send(value);
            }
            drop(held);
        });
        (flight, true)
    }

    /// Lets later callers start again where `is_meant`; those who have joined stay.
    pub fn close(&self, is_meant: impl Fn(&EntryKey) -> bool) {
        self.lock().retain(|(address, _), _| !is_meant(address));
    }

    fn lock(&self) -> MutexGuard<'_, UnderWay<V>> {
        // Nothing that can panic runs under it but `start`, which only makes a future.
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn found(under_way: &UnderWay<V>, key: &FlightKey) -> Option<Flight<V>> {
        under_way.get(key).and_then(|(_, flight)| flight.upgrade())
    }

    fn announce(under_way: &mut UnderWay<V>, key: FlightKey, id: u64, flight: &Flight<V>) {
        if let Some(weak) = flight.downgrade() {
            under_way.insert(key, (id, weak));
        }
    }

    fn landing(self: &Arc<Self>, key: FlightKey) -> Landing<V> {
        let id = self.count.fetch_add(1, Ordering::Relaxed);
        Landing { flights: self.clone(), key, id }
    }
}

/// Takes a flight off the list when it is over, however it ends.
struct Landing<V: Clone + Send + Sync + 'static> {
    flights: Arc<Flights<V>>,
    key: FlightKey,
    id: u64,
}

impl<V: Clone + Send + Sync + 'static> Drop for Landing<V> {
    fn drop(&mut self) {
        let mut under_way = self.flights.lock();
        // Another may have begun since.
        if under_way.get(&self.key).is_some_and(|(id, _)| *id == self.id) {
            under_way.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market_cache::CacheKey;
    use crate::store::EntryKeyRef;
    use crate::types::DataType;

    #[tokio::test]
    async fn what_is_closed_is_not_joined_and_still_lands() {
        let flights = Flights::<u32>::new();
        let ticker = "IBM".parse().expect("a ticker");
        let key = CacheKey::new(&ticker, DataType::FUNDAMENTALS);
        let key = (EntryKeyRef::from(&key).to_owned(), TypeId::of::<u32>());
        let (open, opened) = tokio::sync::oneshot::channel::<()>();
        let before = flights.join(key.clone(), || async move {
            opened.await.expect("opened");
            1
        });
        flights.close(|address| address.ticker != ticker);
        let joined = flights.join(key.clone(), || async { 2 });
        flights.close(|address| address.ticker == ticker);
        let after = flights.join(key.clone(), || async { 3 });
        open.send(()).expect("somebody waits");
        assert_eq!((before.await, joined.await), (1, 1));
        // The first one's landing has not taken the second off the list.
        let last = flights.join(key, || async { 4 });
        assert_eq!((after.await, last.await), (3, 3));
    }
}
