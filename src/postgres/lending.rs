//! What is lent comes back clean: the session is reset behind a borrower who ran SQL on it, and a unit of work
//! notices where such SQL ended its transaction or changed its role.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use diesel_async::AnsiTransactionManager;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::pg_connection::PgConnection;
use super::receipts::{HISTORY, History};
use super::sqlstate::without_secrets;
use super::tenant::Tenant;
use super::transport::Transport;
use crate::error::{Error, Result};

/// Everything that a session holds, prepared statements excepted. `DISCARD ALL` would throw those away, and
/// cannot be part of a message. Allowed inside of a transaction, also in one that only reads.
const RESET: &str = "SET SESSION AUTHORIZATION DEFAULT; RESET ROLE; RESET ALL; CLOSE ALL; UNLISTEN *; \
    SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD PLANS; DISCARD TEMP; DISCARD SEQUENCES";

/// What `PREPARE` made; the driver's own statements stay.
const DEALLOCATE: &str = "DO $$ DECLARE prepared text; BEGIN \
    FOR prepared IN SELECT name FROM pg_catalog.pg_prepared_statements WHERE from_sql \
    LOOP EXECUTE pg_catalog.format('DEALLOCATE %I', prepared); END LOOP; END $$";

/// As whom a session acts, and where it looks for tables. Unlike a query, SHOW takes no snapshot and calls no
/// function that somebody could have put in front of the server's.
const SHOW: &str = "SHOW session_authorization; SHOW role; SHOW search_path";

/// The setting that marks a unit's transaction: `SET LOCAL` ends with it.
const UNIT: &str = "buffetbot.unit";

/// Its value: one that nobody sets by accident, and the same in every program, so that the text of BEGIN repeats
/// (`pg_stat_statements` keeps an entry of each).
const MARK: &str = "d7b1f3a80c5e4c7f9a6e2b94615f08ac";

/// Puts temporary tables, which else come first, behind those of the configured `search_path`. Where that names no
/// schema that exists, tables would be made among the temporary ones: it stays as it is.
fn temporary_last(local: bool) -> String {
    const NAMED: &str = r#"(^|,)\\s*"?pg_temp"?\\s*"#;
    format!(
        "SELECT pg_catalog.set_config('search_path', CASE \
             WHEN path ~* E'{NAMED}(,|$)' THEN pg_catalog.concat_ws(', ', nullif(pg_catalog.btrim( \
                 pg_catalog.regexp_replace(path, E'{NAMED}(?=,|$)', '', 'gi'), ', '), ''), 'pg_temp') \
             WHEN pg_catalog.current_schema() IS NULL THEN path \
             ELSE path || ', pg_temp' END, {local}) \
         FROM (SELECT pg_catalog.current_setting('search_path')) AS configured (path)"
    )
}

/// A literal that means the same whatever encoding and string syntax the session is set to.
fn literal(text: &str) -> String {
    let mut literal = String::from("E'");
    for c in text.chars() {
        match c {
            '\'' => literal.push_str("''"),
            '\\' => literal.push_str("\\\\"),
            ' '..='~' => literal.push(c),
            other => literal.push_str(&format!("\\U{:08X}", u32::from(other))),
        }
    }
    literal.push('\'');
    literal
}

/// The first column of every row of an answer, as text.
pub(super) fn first_columns(messages: &[SimpleQueryMessage]) -> Vec<String> {
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
        _ => None,
    });
    rows.collect()
}

/// What [`SHOW`] shows.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Standing {
    session_user: String,
    role: String,
    search_path: String,
}

impl Standing {
    fn of(shown: &[String]) -> Option<Arc<Self>> {
        let [session_user, role, search_path] = shown else { return None };
        let [session_user, role, search_path] = [session_user, role, search_path].map(Clone::clone);
        Some(Arc::new(Standing { session_user, role, search_path }))
    }

    /// Prepares a new session, and remembers what it is to be reset to: one round trip.
    pub async fn begin(client: &Client) -> Result<Option<Arc<Self>>, tokio_postgres::Error> {
        let sql = format!("{}; {SHOW}", temporary_last(false));
        let shown = first_columns(&client.simple_query(&sql).await?);
        Ok(shown.get(1..).and_then(Self::of))
    }
}

/// Counts the statements that a borrower runs, by the interfaces that only borrowers use.
#[derive(Default)]
pub(super) struct OwnSql {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl OwnSql {
    /// How many were begun.
    pub fn begun(&self) -> u64 {
        self.begun.load(Ordering::Acquire)
    }

    fn is_running(&self) -> bool {
        // Read in this order, one that ends in between counts as running.
        let ended = self.ended.load(Ordering::Acquire);
        ended != self.begun()
    }
}

/// A borrower's statement, from before it is sent until it has been answered.
pub(super) struct OwnStatement(Arc<Transport>);

impl OwnStatement {
    pub fn begin(wire: &Arc<Transport>) -> Self {
        wire.own_sql.begun.fetch_add(1, Ordering::AcqRel);
        OwnStatement(wire.clone())
    }
}

impl Drop for OwnStatement {
    fn drop(&mut self) {
        self.0.own_sql.ended.fetch_add(1, Ordering::AcqRel);
    }
}

impl PgConnection {
    /// Resets the session if its borrower ran statements, without waiting for the answer: the next caller that takes the
    /// connection waits. What cannot be reset is discarded.
    pub(super) fn clean(&mut self) {
        let (wire, begun) = (self.wire().clone(), self.wire().own_sql.begun());
        // Behind a pooler the end of the transaction has done it: the session is another client's by now.
        if wire.is_pooled() || begun == self.cleaned || wire.is_broken() {
            return;
        }
        self.cleaned = begun;
        self.transaction_state = AnsiTransactionManager::default();
        let Some(standing) = self.standing.clone().filter(|_| !wire.own_sql.is_running()) else {
            wire.close();
            return;
        };
        wire.transaction_ends();
        // In an aborted transaction BEGIN would be refused; in none, ROLLBACK alone fills the server's log with warnings.
        let begin = if wire.take_failed() { "" } else { "BEGIN; " };
        // Where SQL prepared statements, the driver's next may meet a name that is taken; where it
        // deallocated, the driver's own are gone.
        let sql = format!(
            "{begin}ROLLBACK; {RESET}; SELECT pg_catalog.set_config('search_path', {}, false); \
             SELECT NOT coalesce(pg_catalog.bool_or(from_sql), false) AND pg_catalog.count(*) >= {} \
             FROM pg_catalog.pg_prepared_statements",
            literal(&standing.search_path),
            wire.cached_statements(),
        );
        self.cleaning = Some(self.wire().spawn(reset(wire, sql)));
    }
}

/// Whether the session is clean now; else the connection is discarded.
async fn reset(wire: Arc<Transport>, sql: String) -> bool {
    let answer = wire.answered(wire.client.simple_query(&sql)).await;
    let reason = match answer {
        Ok(Ok(messages)) if first_columns(&messages).last().is_some_and(|clean| clean == "t") => {
            tracing::trace!(target: "buffetbot_db::query", sql, "connection reset after lending");
            return true;
        }
        Ok(Ok(_)) => "its prepared statements were changed".into(),
        Ok(Err(error)) => without_secrets(&error),
        Err(error) => error.to_string(),
    };
    wire.mark_broken();
    tracing::debug!(target: "buffetbot_db::connection", reason, "a lent connection is discarded");
    false
}

/// Which transaction a unit of work began, and as whom: what SQL beside its repositories may not change.
pub(super) struct Identity {
    tenant: Option<Tenant>,
    /// Behind a pooler it is known when the transaction has begun.
    standing: OnceLock<Arc<Standing>>,
    /// The `search_path` that a check has set for the rest of the transaction, behind a pooler.
    set: OnceLock<String>,
    /// The borrower's statements when it began, and at the last look.
    began_at: u64,
    seen: AtomicU64,
}

const ENDED: &str = "SQL run on its connection ended its transaction";
const RENAMED: &str = "SQL run on its connection changed its role or user";
const MOVED: &str = "SQL run on its connection changed its search_path";

impl Identity {
    pub fn new(connection: &PgConnection, tenant: Option<&Tenant>) -> Self {
        let begun = connection.wire().own_sql.begun();
        Identity {
            tenant: tenant.cloned(),
            standing: connection.standing.clone().map(OnceLock::from).unwrap_or_default(),
            set: OnceLock::new(),
            began_at: begun,
            seen: AtomicU64::new(begun),
        }
    }

    /// Begins the transaction, in one message; returns on which history of the server, if asked to.
    ///
    /// # Errors
    /// Whatever the server reports; the role is not fit.
    pub async fn begin(
        &self,
        connection: &PgConnection,
        begin: &str,
        asks_history: bool,
    ) -> Result<Option<History>> {
        let mut sql = format!("{begin}; SET LOCAL {UNIT} = '{MARK}'");
        if self.standing.get().is_none() {
            sql.push_str("; ");
            sql.push_str(SHOW);
        }
        if asks_history {
            sql.push_str("; ");
            sql.push_str(HISTORY);
        }
        if let Some(tenant) = &self.tenant {
            let assume = tenant.assume(connection).await?;
            sql.push_str("; ");
            sql.push_str(&assume);
        }
        let mut shown = connection.ask(&sql).await?;
        let history = asks_history.then(|| shown.pop()).flatten();
        if let Some(standing) = Standing::of(&shown) {
            // Nobody else begins this transaction.
            let _ = self.standing.set(standing);
        }
        Ok(history.and_then(|history| History::of(&history)))
    }

    /// Whether a borrower ran statements since the transaction began.
    pub fn has_lent(&self, connection: &PgConnection) -> bool {
        connection.wire().own_sql.begun() != self.began_at
    }

    /// Looks whether the transaction is still this one, if a borrower ran statements since the last look: one round
    /// trip. Returns what is different, or `None`.
    ///
    /// # Errors
    /// [`Error::Ended`] in an aborted transaction; the connection failed.
    pub async fn changed(&self, connection: &PgConnection) -> Result<Option<&'static str>> {
        let own = &connection.wire().own_sql;
        let (begun, running) = (own.begun(), own.is_running());
        if begun == self.seen.load(Ordering::Acquire) {
            return Ok(None);
        }
        let pooled = connection.wire().is_pooled();
        let mut sql = format!("SHOW {UNIT}; {SHOW}");
        if let Some(tenant) = &self.tenant {
            let (_, setting, _) = tenant.shows();
            sql.push_str("; SHOW ");
            sql.push_str(setting);
        }
        if pooled {
            sql.push_str("; ");
            sql.push_str(&temporary_last(true));
        }
        let shown = match connection.ask(&sql).await {
            Ok(shown) => shown,
            // Another session, which has never seen the mark.
            Err(Error::Database { sqlstate, .. }) if sqlstate == "42704" => {
                return Ok(Some(ENDED));
            }
            Err(error) => return Err(error),
        };
        let changed = self.compare(&shown);
        if changed.is_none() {
            if let Some(set) = shown.last().filter(|_| pooled) {
                let _ = self.set.set(set.clone());
            }
            // What was being sent meanwhile is looked at once more.
            if !running {
                self.seen.fetch_max(begun, Ordering::AcqRel);
            }
        }
        Ok(changed)
    }

    fn compare(&self, shown: &[String]) -> Option<&'static str> {
        let (Some(standing), [mark, now @ ..]) = (self.standing.get(), shown) else {
            return Some(ENDED);
        };
        let (Some(now), user) = (now.get(..3).and_then(Standing::of), now.get(3)) else {
            return Some(ENDED);
        };
        if mark != MARK {
            return Some(ENDED);
        }
        let (role, named) = match &self.tenant {
            Some(tenant) => {
                let (role, _, id) = tenant.shows();
                (role, user.is_some_and(|user| *user == id.to_string()))
            }
            None => (&*standing.role, true),
        };
        if now.role != role || now.session_user != standing.session_user || !named {
            return Some(RENAMED);
        }
        let expected = [Some(&standing.search_path), self.set.get()];
        (!expected.contains(&Some(&now.search_path))).then_some(MOVED)
    }

    /// What commits: behind a pooler the session is reset first, in the same transaction, because afterwards it is another
    /// client's; what waits for the commit is done before that, in the role that it was ordered by.
    pub fn commit(&self, connection: &PgConnection) -> Option<String> {
        let reset = connection.wire().is_pooled() && self.has_lent(connection);
        reset.then(|| format!("SET CONSTRAINTS ALL IMMEDIATE; {RESET}; {DEALLOCATE}"))
    }

    /// What rolls back, and behind a pooler resets in the same message what no rollback undoes.
    pub fn rollback(&self, connection: &PgConnection) -> String {
        match connection.wire().is_pooled() && self.has_lent(connection) {
            true => format!("ROLLBACK; {RESET}; {DEALLOCATE}"),
            false => "ROLLBACK".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::literal;

    #[test]
    fn literals_are_ascii_and_cannot_end_early() {
        assert_eq!(literal("\"$user\", public"), "E'\"$user\", public'");
        assert_eq!(literal("a'b\\c"), "E'a''b\\\\c'");
        assert_eq!(literal("ü\n"), "E'\\U000000FC\\U0000000A'");
    }
}
