//! What watches a statement until it is answered.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use diesel::QueryResult;
use diesel::result::Error as DieselError;
use tokio::time::Sleep;

use super::{CANCEL_TIMEOUT, DROPPED, READ_ONLY, Transport, UNANSWERED};
use crate::config::QueryReport;
use crate::postgres::companions::Waiting;
use crate::postgres::rendered_query::Effect;
use crate::postgres::scope::Sending;
use crate::postgres::sqlstate;
use crate::postgres::sqlstate::{closed, diesel_error_of};

/// Watches one statement. Dropped before [`finish`](Guard::finish), the statement was abandoned:
/// the server is asked to cancel it and the connection is never used again, because whatever is
/// still coming would be read as the next statement's answer or stall it.
pub(in crate::postgres) struct Guard {
    wire: Arc<Transport>,
    sql: Arc<str>,
    started: Instant,
    armed: bool,
    sending: Sending,
    /// The server may have begun to run it.
    sent: AtomicBool,
    /// Others wait for its answer before they end what drops it.
    _waiting: Waiting,
}

impl Guard {
    /// Of one statement. Until [`is_sent`](Self::is_sent) it is known to have had no effect.
    ///
    /// # Errors
    /// The connection was discarded or is closed: nothing is sent.
    pub fn arm(wire: &Arc<Transport>, sql: &Arc<str>, effect: Effect) -> QueryResult<Self> {
        wire.check_open()?;
        Ok(Self::armed(wire, sql, wire.sends(wire.scope.sends_one(sql, effect)), false))
    }

    /// Of a message of statements without binds, which is sent at once.
    ///
    /// # Errors
    /// As [`arm`](Self::arm).
    pub fn arm_batch(wire: &Arc<Transport>, sql: &Arc<str>) -> QueryResult<Self> {
        wire.check_open()?;
        Ok(Self::armed(wire, sql, wire.sends(wire.scope.sends(sql)), true))
    }

    fn armed(wire: &Arc<Transport>, sql: &Arc<str>, sending: Sending, sent: bool) -> Self {
        Guard {
            sql: sql.clone(),
            started: Instant::now(),
            armed: true,
            sending,
            sent: AtomicBool::new(sent),
            _waiting: wire.companions.joined(),
            wire: wire.clone(),
        }
    }

    /// From here on the server may run the statement.
    pub fn is_sent(&self) {
        self.sent.store(true, Ordering::Release);
    }

    /// Whether the statement, which was not answered, may have made something permanent.
    fn may_have_committed(&self) -> bool {
        self.sent.load(Ordering::Acquire)
            && self.wire.scope.may_have_committed(&self.sql, &self.sending)
    }

    /// Waits for the server's answer.
    ///
    /// # Errors
    /// None came in time. The statement is to be abandoned then.
    pub async fn answered<T>(&self, answer: impl Future<Output = T>) -> QueryResult<T> {
        match self.wire.answer_timeout() {
            None => Ok(answer.await),
            Some(limit) => {
                tokio::time::timeout(limit, answer).await.map_err(|_| self.unanswered(limit))
            }
        }
    }

    /// The error of a statement that the server did not answer.
    pub(in crate::postgres) fn unanswered(&self, limit: Duration) -> DieselError {
        self.wire.abandoned.get_or_init(|| UNANSWERED);
        closed(format!("no answer within {limit:?}"), self.may_have_committed())
    }

    pub fn finish(mut self, rows: u64) {
        self.wire.scope.is_done(&self.sending);
        self.report(rows, None);
    }

    pub fn fail(mut self, error: tokio_postgres::Error) -> DieselError {
        let wire = self.wire.clone();
        // The server's last message on a closed connection says why.
        let error = if error.is_closed() { wire.last_word().unwrap_or(&error) } else { &error };
        if sqlstate::is_stale_plan(error) {
            self.wire.forget(&self.sql, error);
        }
        self.wire.failed.store(true, Ordering::Release);
        let code = error.code().map_or_else(|| "?".to_owned(), |c| c.code().to_owned());
        let waited = self.started.elapsed();
        let unknown = sqlstate::leaves_outcome_open(error) && self.may_have_committed();
        match sqlstate::ends_connection(error) {
            // An answer that the driver does not expect, such as that to a COPY by its text.
            true if error.as_db_error().is_none() => self.wire.close(),
            true => self.wire.mark_broken(),
            false => {}
        }
        if code == READ_ONLY {
            self.wire.read_only.store(true, Ordering::Relaxed);
        }
        self.report(0, Some(&code));
        diesel_error_of(error, waited, unknown)
    }

    fn report(&mut self, rows: u64, sqlstate: Option<&str>) {
        self.armed = false;
        let elapsed = self.started.elapsed();
        let sql = &*self.sql;
        if self.wire.slow.is_some_and(|limit| elapsed >= limit) {
            tracing::warn!(target: "buffetbot_db::slow", sql, rows, ?elapsed, sqlstate, "slow statement");
        } else {
            tracing::trace!(target: "buffetbot_db::query", sql, rows, ?elapsed, sqlstate);
        }
        if let Some(observer) = &self.wire.observer {
            observer(&QueryReport { sql, rows, elapsed, sqlstate });
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        self.wire.abandoned.get_or_init(|| DROPPED);
        self.wire.mark_broken();
        let token = self.wire.client.cancel_token();
        let canceller = self.wire.canceller.clone();
        self.wire.runtime.spawn(async move {
            let cancel = canceller.cancel(token);
            // Best effort: without it the server notices when the statement ends.
            let reason = match tokio::time::timeout(CANCEL_TIMEOUT, cancel).await {
                Ok(Ok(())) => return,
                Ok(Err(e)) => sqlstate::without_secrets(&e),
                Err(_) => "timed out".into(),
            };
            tracing::warn!(target: "buffetbot_db::connection", reason, "cancel request failed");
        });
        let (sql, elapsed) = (&*self.sql, self.started.elapsed());
        tracing::debug!(target: "buffetbot_db::connection", sql, ?elapsed, "statement abandoned and cancelled");
    }
}

/// Runs while the server's next message is waited for.
#[derive(Default)]
pub(in crate::postgres) struct Deadline(Option<Pin<Box<Sleep>>>);

impl Deadline {
    /// The message has come.
    pub fn clear(&mut self) {
        self.0 = None;
    }

    /// Ready, with the limit, when the message on the guarded statement is late.
    pub fn poll(&mut self, guard: Option<&Guard>, context: &mut Context<'_>) -> Poll<Duration> {
        let Some(limit) = guard.and_then(|guard| guard.wire.answer_timeout()) else {
            return Poll::Pending;
        };
        let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        sleep.as_mut().poll(context).map(|()| limit)
    }
}
