//! The receipt of a transaction, which is asked for in front of its first write and answered with it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::TryStreamExt;
use tokio::task::JoinHandle;

use super::lending::first_columns;
use super::transport::Transport;
use crate::error::Receipt;

/// How long is waited for answers that have come, or never will.
const SETTLING: Duration = Duration::from_secs(1);

/// The server and history of a session, as [`History`] reads it. After a crash all of these statistics
/// begin again; resetting one of them changes nothing here. A standby has no timeline of its own.
pub(super) const HISTORY: &str = "SELECT pg_catalog.concat_ws(' ', c.system_identifier, \
        (extract(epoch FROM least(w.stats_reset, b.stats_reset, a.stats_reset)) * 1000000)::bigint, \
        CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN pg_catalog.substr( \
            pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8) END) \
    FROM pg_catalog.pg_control_system() c, pg_catalog.pg_stat_wal w, pg_catalog.pg_stat_bgwriter b, \
        pg_catalog.pg_stat_archiver a";

/// The id of the transaction, which has one from here on, and the place in the log behind a record that bears it.
const MARK: &str = "SELECT pg_catalog.pg_current_xact_id(); \
    SELECT pg_catalog.pg_logical_emit_message(false, 'buffetbot_db', '')";

/// What [`HISTORY`] shows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct History {
    pub system: i64,
    pub recovered: i64,
    /// `None` on a standby.
    pub timeline: Option<u32>,
}

impl History {
    pub fn of(shown: &str) -> Option<Self> {
        let mut parts = shown.split(' ');
        let (system, recovered) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let timeline = match parts.next() {
            Some(hex) => Some(u32::from_str_radix(hex, 16).ok()?),
            None => None,
        };
        Some(History { system, recovered, timeline })
    }
}

/// A transaction that is to have a receipt.
pub(super) struct Asked {
    history: History,
    timeline: u32,
    answers: Arc<Answers>,
    asking: AtomicBool,
    waiting: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct Answers {
    id: OnceLock<(u64, String)>,
    is_kept: AtomicBool,
}

impl Asked {
    /// Nothing on a standby, where nothing is written.
    pub fn on(history: History) -> Option<Arc<Self>> {
        Some(Arc::new(Asked {
            timeline: history.timeline?,
            history,
            answers: Arc::default(),
            asking: AtomicBool::new(false),
            waiting: Mutex::default(),
        }))
    }

    /// Sends the question for the id, unless it was sent: what is sent next follows it without a wait.
    pub fn before_write(self: &Arc<Self>, wire: &Transport) {
        if self.answers.id.get().is_some() || self.asking.swap(true, Ordering::AcqRel) {
            return;
        }
        let asked = self.clone();
        self.ask(wire, MARK, move |shown| {
            let id = match shown {
                [id, place] => id.parse().ok().map(|id| (id, place.clone())),
                _ => None,
            };
            match id {
                Some(id) => drop(asked.answers.id.set(id)),
                // Refused in a transaction that is aborted; a savepoint may yet save it.
                None => asked.asking.store(false, Ordering::Release),
            }
        });
    }

    /// Sends the question whether the id has been written down; ahead of the COMMIT nobody waits for the answer. An id that has not may be given
    /// to another transaction after a crash.
    pub async fn ask_whether_kept(&self, wire: &Transport) {
        self.settle().await;
        let Some((_, place)) = self.answers.id.get() else { return };
        // The place is the server's: it is checked, because it becomes part of a statement.
        if !place.chars().all(|c| c.is_ascii_hexdigit() || c == '/') {
            return;
        }
        let sql = format!("SELECT pg_catalog.pg_current_wal_flush_lsn() >= '{place}'");
        let answers = self.answers.clone();
        self.ask(wire, &sql, move |shown| {
            if shown.first().is_some_and(|kept| kept == "t") {
                answers.is_kept.store(true, Ordering::Release);
            }
        });
    }

    fn ask(&self, wire: &Transport, sql: &str, answer: impl FnOnce(&[String]) + Send + 'static) {
        // The answer is taken by a task: one that nobody reads would block the next ones.
        let Some(stream) = wire.queue(sql) else { return };
        let task = wire.spawn(async move {
            let messages: Vec<_> = stream.try_collect().await.unwrap_or_default();
            answer(&first_columns(&messages));
        });
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(task);
    }

    async fn settle(&self) {
        let waiting =
            std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        let all = futures_util::future::join_all(waiting);
        // What has not come by then is not known.
        let _ = tokio::time::timeout(SETTLING, all).await;
    }

    /// The receipt, where the transaction has written and the server has sent its id.
    pub async fn receipt(&self) -> Option<Receipt> {
        self.settle().await;
        let (id, _) = self.answers.id.get()?;
        Some(Receipt {
            system: self.history.system,
            timeline: self.timeline,
            id: *id,
            recovered: self.history.recovered,
            is_kept: self.answers.is_kept.load(Ordering::Acquire),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::History;

    #[test]
    fn a_standby_has_no_timeline() {
        let history = History { system: 7, recovered: 8, timeline: Some(0x1f) };
        assert_eq!(History::of("7 8 0000001F"), Some(history));
        assert_eq!(History::of("7 8"), Some(History { timeline: None, ..history }));
        assert_eq!(History::of("7"), None);
        assert_eq!(History::of("7 8 x"), None);
    }
}
