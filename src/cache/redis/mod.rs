//! A level of the cache in Redis, which all processes share.
//!
//! Redis is never the source of a value, and never needed: an operation that fails, or takes longer
//! than its limit, counts as a miss, and the [breaker](CircuitBreaker) then leaves the level out for a while.
//! What must not happen is that it serves what the database has replaced:
//!
//! - *Versions.* Each entry carries its row's version, and never replaces a newer one. A change of a row
//!   leaves a tombstone of the change's version, so that a slow reader does not put back what it read
//!   before.
//! - *Generation.* Entries carry the generation that they were written under, and count only while it
//!   is the level's. Whenever an operation that was to replace or forget something is not known to have
//!   been done, the process owes the level a new generation, which it sets before it uses Redis again;
//!   this empties the level for all. So does a change of every key of a space or of a portfolio. A generation is not a
//!   number counted up but a random one: Redis may evict the key, and must not count up to an old one.
//! - *Restarts.* A generation names the run of the server that it was made on. A server that was
//!   restarted from an older copy, or a replica that took over, is emptied by the first who connects.
//! - *Position.* A process that has applied the changes of the log to the level stores the snapshot up to which it
//!   did. A process that starts resumes from there. Without such a snapshot, because no process has read the log for as
//!   long as it is kept, it empties the level.
//! - *Order.* Of the results of an analysis, each a row of its own, the one with the lesser version may be
//!   the one that counts: a change keeps whatever has a greater version out for a moment, until it is read
//!   again.
//! - *Clocks.* Lives are those of Redis; ages follow from what is gone of them.
//!
//! What remains: a process that cannot reach Redis, while others can, leaves them what it should have
//! forgotten until their own reading of the change log forgets it.

mod layout;
mod link;
mod options;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redis::{Client, Pipeline, RedisError};

use crate::cache::breaker::CircuitBreaker;
use crate::cache::packed::Encoded;
use crate::cache::{Change, Changed, ChangedKey};
use crate::error::Result;
use crate::store::{EntryKeyRef, Namespace};
use layout::Keys;
use link::{Link, Replies};

pub use options::RedisOptions;

/// The level. Its operations never fail and take `timeout` at most.
pub(crate) struct RedisLevel {
    keys: Keys,
    link: Link,
    timeout: Duration,
    breaker: CircuitBreaker,
    errors: AtomicU64,
    /// What was loaded before is not put: it may be of what an emptying was for.
    horizon: Mutex<Instant>,
}

impl RedisLevel {
    /// The level of the database that `namespace` names; connects when it is first used.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) of `REDIS_URL`, without the URL.
    pub fn new(options: &RedisOptions, namespace: &str) -> Result<Self> {
        let client =
            Client::open(options.server.clone()).map_err(|e| options::refused(e.kind()))?;
        let keys = Keys::new(&options.prefix, namespace);
        Ok(RedisLevel {
            link: Link::new(client, keys.generation.clone()),
            keys,
            timeout: options.timeout,
            breaker: CircuitBreaker::new("redis"),
            errors: AtomicU64::new(0),
            horizon: Mutex::new(Instant::now()),
        })
    }

    /// The value, with what remains of its life.
    pub async fn get(&self, address: EntryKeyRef<'_>) -> Option<Encoded> {
        self.get_many(&[address]).await.pop().flatten()
    }

    /// The values in the order of `addresses`, in one round trip.
    pub async fn get_many(&self, addresses: &[EntryKeyRef<'_>]) -> Vec<Option<Encoded>> {
        let mut found = vec![None; addresses.len()];
        if addresses.is_empty() {
            return found;
        }
        let commands = |_: &str| {
            let mut pipe = Pipeline::with_capacity(2 * addresses.len() + 1);
            for address in addresses {
                layout::get(&mut pipe, &self.keys.entry(*address));
            }
            // Last: none of the values is of a generation that ended before they were read.
            pipe.cmd("GET").arg(&self.keys.generation);
            pipe
        };
        let Some(replies) = self.run(commands).await else { return found };
        let Some(generation) = self.link.saw(replies.last()) else { return found };
        let mut replies = replies.into_iter();
        for found in &mut found {
            if let (Some(life), Some(fields)) = (replies.next(), replies.next()) {
                *found = life
                    .ok()
                    .zip(fields.ok())
                    .and_then(|(life, fields)| layout::read(life, fields, &generation));
            }
        }
        found
    }

    /// Keeps the value, loaded from the database then, for as long as it may be kept, unless a newer one is there or
    /// the level has been emptied since.
    pub async fn put(&self, address: EntryKeyRef<'_>, packed: &Encoded, loaded: Instant) {
        self.put_many(&[(address, packed)], loaded).await;
    }

    /// As [`put`](Self::put), in one round trip.
    pub async fn put_many(&self, entries: &[(EntryKeyRef<'_>, &Encoded)], loaded: Instant) {
        if entries.is_empty() {
            return;
        }
        let debt = self.link.debt();
        let commands = |generation: &str| {
            let mut pipe = Pipeline::with_capacity(entries.len());
            // After the generation is known: an emptying from here on ends it.
            if loaded < *self.horizon() {
                pipe.cmd("GET").arg(&self.keys.generation);
                return pipe;
            }
            for (address, packed) in entries {
                let key = self.keys.entry(*address);
                let keys = [key.as_str(), &self.keys.generation];
                layout::put(&mut pipe, self.link.script(), keys, generation, packed);
            }
            pipe
        };
        if let Some(replies) = self.run(commands).await {
            debt.settle();
            self.link.saw(replies.last());
        }
    }

    /// Drops what is older than these changes, and keeps it from being put back.
    pub async fn forget(&self, changes: &[Change]) {
        if changes.is_empty() {
            return;
        }
        let debt = self.link.debt();
        if changes.iter().any(|change| !matches!(change.changed, Changed::Key(_))) {
            *self.horizon() = Instant::now();
            self.link.empty();
        }
        let commands = |_: &str| {
            let mut pipe = Pipeline::with_capacity(changes.len() + 1);
            for change in changes {
                if let Changed::Key(key) = &change.changed {
                    let key = self.keys.entry(address(change, key));
                    let keys = [key.as_str(), &self.keys.generation];
                    layout::tombstone(&mut pipe, self.link.script(), keys, change.version);
                    if change.space == Namespace::Analyses {
                        layout::unordered(&mut pipe);
                    }
                }
            }
            pipe.cmd("GET").arg(&self.keys.generation);
            pipe
        };
        if let Some(replies) = self.run(commands).await {
            debt.settle();
            self.link.saw(replies.last());
        }
    }

    /// Drops all that is in the level.
    pub async fn forget_all(&self) {
        self.forget(&[Change {
            space: Namespace::MarketData,
            changed: Changed::Namespace,
            version: 0,
        }])
        .await;
    }

    /// The snapshot of the log up to which the level has applied changes; `None`: it is unknown.
    pub async fn position(&self) -> Option<String> {
        let commands = |_: &str| {
            let mut pipe = Pipeline::with_capacity(1);
            pipe.cmd("GET").arg(&self.keys.position);
            pipe
        };
        let reply = self.run(commands).await?.pop()?.ok()?;
        layout::position(reply)
    }

    /// The level has applied every change that this snapshot of the log sees.
    pub async fn set_position(&self, snapshot: &str) {
        let commands = |_: &str| {
            let mut pipe = Pipeline::with_capacity(1);
            layout::set_position(&mut pipe, &self.keys.position, snapshot);
            pipe
        };
        // A position that is too old costs only time.
        drop(self.run(commands).await);
    }

    fn horizon(&self) -> MutexGuard<'_, Instant> {
        // An instant is whole whatever panics.
        self.horizon.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many operations failed. Those that were left out while the level was down do not count.
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    pub fn is_up(&self) -> bool {
        self.breaker.is_up()
    }

    /// Sends `commands`; `None`: they failed, or are left out.
    async fn run(&self, commands: impl Fn(&str) -> Pipeline) -> Option<Replies> {
        if !self.breaker.allows() {
            return None;
        }
        let reason = match tokio::time::timeout(self.timeout, self.link.send(commands)).await {
            Ok(Ok(replies)) => {
                self.breaker.worked();
                return Some(replies);
            }
            Ok(Err(error)) => described(&error),
            Err(_) => format!("no answer within {:?}", self.timeout),
        };
        // It may be out of step, or lead to a server that may not be written to any more.
        self.link.close();
        self.errors.fetch_add(1, Ordering::Relaxed);
        self.breaker.failed(&reason);
        None
    }
}

fn address<'a>(change: &Change, key: &'a ChangedKey) -> EntryKeyRef<'a> {
    EntryKeyRef {
        space: change.space,
        ticker: &key.ticker,
        name: &key.name,
        parameters: key.parameters.as_ref(),
        portfolio: key.portfolio,
    }
}

/// The error without what the server says of it, which may quote keys and values.
fn described(error: &RedisError) -> String {
    if error.is_io_error() {
        return error.to_string();
    }
    match error.code() {
        Some(code) => format!("{} ({code})", error.category()),
        None => error.category().to_owned(),
    }
}
