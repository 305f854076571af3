//! What became of a transaction whose COMMIT was not answered.

use std::time::{Duration, Instant};

use super::pool::Pool;
use super::receipts::{HISTORY, History};
use crate::error::{Error, Receipt, Result};
use crate::types::span;

/// How long [`Database::outcome`](crate::Database::outcome) waits for a transaction that is in progress to end.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// Between looks at a transaction that is in progress, or at a server that does not answer.
const PAUSE: Duration = Duration::from_millis(20);

/// What became of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It was committed: all of it is there.
    Committed,
    /// It was rolled back: nothing of it is there, nor will be.
    Aborted,
    /// It is still running, and could not be ended.
    InProgress,
    /// The server that answers does not know.
    Unknowable {
        /// Why not.
        reason: &'static str,
    },
}

const OTHER_SERVER: &str = "another server answers";
const OTHER_TIMELINE: &str = "the server has continued on another timeline";
const STANDBY: &str = "a standby answers";
const TOO_OLD: &str = "the transaction is too long ago";
const LOST: &str = "the server does not know the transaction's id";
const CRASHED: &str =
    "the server has recovered from a crash and may have given the transaction's id to another one";

/// What one look shows.
#[derive(Debug, PartialEq)]
enum Seen {
    Settled(Outcome),
    /// It is in progress, and sure to be the one that is asked for or not.
    Open {
        is_it: bool,
    },
}

/// The state of a transaction, as `pg_xact_status` has it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Status {
    Committed,
    Aborted,
    InProgress,
    /// No longer known.
    Forgotten,
    /// The id has not been given to a transaction.
    Future,
}

/// What became of it; one that is in progress is ended and asked for again within this time.
///
/// # Errors
/// Those of taking a connection and of a query.
pub(crate) async fn outcome(pool: &Pool, receipt: &Receipt, within: Duration) -> Result<Outcome> {
    let until = span::after(Instant::now(), within);
    loop {
        match look(pool, receipt).await? {
            Seen::Settled(outcome) => return Ok(outcome),
            Seen::Open { is_it: true } => end(pool, receipt).await?,
            // Another one may have the id by now.
            Seen::Open { is_it: false } => {}
        }
        if Instant::now() >= until {
            return Ok(Outcome::InProgress);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Asks until it is known, at most for this long: whether it was committed, or `None`.
pub(super) async fn resolve(pool: &Pool, receipt: &Receipt, within: Duration) -> Option<bool> {
    let known = async {
        loop {
            match outcome(pool, receipt, within).await {
                Ok(Outcome::Committed) => return Some(true),
                Ok(Outcome::Aborted) => return Some(false),
                Ok(Outcome::Unknowable { reason }) if reason != STANDBY => return None,
                // The server is away, or only reads for now.
                Ok(_) | Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    };
    tokio::time::timeout(within, known).await.unwrap_or(None)
}

async fn look(pool: &Pool, receipt: &Receipt) -> Result<Seen> {
    let connection = pool.checkout().await?;
    let sql = format!("{HISTORY}; SELECT pg_catalog.pg_xact_status('{}')", receipt.id);
    let (shown, future) = match connection.ask(&sql).await {
        // The only thing that it refuses: an id of the future.
        Err(Error::Database { sqlstate, .. }) if sqlstate == "22023" => {
            (connection.ask(HISTORY).await?, true)
        }
        shown => (shown?, false),
    };
    let history = shown.first().and_then(|history| History::of(history));
    let history = history.ok_or(Error::Corrupt {
        key: "?".into(),
        table: "pg_control_system".into(),
        column: "system_identifier".into(),
        reason: "cannot be read".into(),
    })?;
    let status = match shown.get(1).map(String::as_str) {
        _ if future => Status::Future,
        Some("committed") => Status::Committed,
        Some("aborted") => Status::Aborted,
        Some("in progress") => Status::InProgress,
        _ => Status::Forgotten,
    };
    Ok(judge(receipt, history, status))
}

/// An id that was not written down before a crash is given to another transaction afterwards. So what the server says of
/// the id is true of the transaction where it has not recovered since, or had written it down. Otherwise only that it was
/// not committed is sure: what was committed survives.
fn judge(receipt: &Receipt, history: History, status: Status) -> Seen {
    let unknowable = |reason| Seen::Settled(Outcome::Unknowable { reason });
    if history.system != receipt.system {
        return unknowable(OTHER_SERVER);
    }
    let Some(timeline) = history.timeline else { return unknowable(STANDBY) };
    if timeline != receipt.timeline {
        return unknowable(OTHER_TIMELINE);
    }
    let is_same_run = history.recovered == receipt.recovered;
    match status {
        Status::Committed if is_same_run || receipt.is_kept => Seen::Settled(Outcome::Committed),
        Status::Committed => unknowable(CRASHED),
        Status::Aborted => Seen::Settled(Outcome::Aborted),
        Status::InProgress => Seen::Open { is_it: is_same_run },
        Status::Forgotten => unknowable(TOO_OLD),
        Status::Future if is_same_run => unknowable(LOST),
        Status::Future => Seen::Settled(Outcome::Aborted),
    }
}

/// Ends the backend that runs it, where this login may: what it has not committed is undone, and a COMMIT that is still
/// on its way finds nobody.
async fn end(pool: &Pool, receipt: &Receipt) -> Result<()> {
    // `xid` has the lower half of the bits.
    let xid = receipt.id & u64::from(u32::MAX);
    let sql = format!(
        "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity \
         WHERE backend_xid = '{xid}'::pg_catalog.xid"
    );
    match pool.checkout().await?.ask(&sql).await {
        Ok(_) | Err(Error::Denied { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECEIPT: Receipt =
        Receipt { system: 1, timeline: 2, id: 3, recovered: 4, is_kept: false };
    const HERE: History = History { system: 1, recovered: 4, timeline: Some(2) };

    fn is_unknowable(seen: &Seen) -> bool {
        matches!(seen, Seen::Settled(Outcome::Unknowable { .. }))
    }

    #[test]
    fn only_the_same_history_is_believed() {
        for elsewhere in [
            History { system: 9, ..HERE },
            History { timeline: Some(3), ..HERE },
            History { timeline: None, ..HERE },
        ] {
            for status in [Status::Committed, Status::Aborted, Status::InProgress, Status::Future] {
                assert!(is_unknowable(&judge(&RECEIPT, elsewhere, status)), "{elsewhere:?}");
            }
        }
        assert_eq!(judge(&RECEIPT, HERE, Status::Committed), Seen::Settled(Outcome::Committed));
        assert_eq!(judge(&RECEIPT, HERE, Status::Aborted), Seen::Settled(Outcome::Aborted));
        assert_eq!(judge(&RECEIPT, HERE, Status::InProgress), Seen::Open { is_it: true });
        assert!(is_unknowable(&judge(&RECEIPT, HERE, Status::Forgotten)));
        assert!(is_unknowable(&judge(&RECEIPT, HERE, Status::Future)));
    }

    #[test]
    fn after_a_crash_an_id_may_be_another_ones() {
        let later = History { recovered: 5, ..HERE };
        assert!(is_unknowable(&judge(&RECEIPT, later, Status::Committed)));
        assert_eq!(judge(&RECEIPT, later, Status::Aborted), Seen::Settled(Outcome::Aborted));
        assert_eq!(judge(&RECEIPT, later, Status::Future), Seen::Settled(Outcome::Aborted));
        assert_eq!(judge(&RECEIPT, later, Status::InProgress), Seen::Open { is_it: false });
        let kept = Receipt { is_kept: true, ..RECEIPT };
        assert_eq!(judge(&kept, later, Status::Committed), Seen::Settled(Outcome::Committed));
    }
}
