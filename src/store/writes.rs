//! Statements that write, and the hand-over of what they have changed: readers of events are notified, and copies of cached
//! rows are outdated, here and nowhere else. The table says what there is to do, so that no repository can forget it.

use std::ops::Deref;

use diesel::deserialize::FromSqlRow;
use diesel::pg::Pg;
use diesel::query_builder::{AsQuery, QueryFragment};
use diesel::query_dsl::CompatibleType;
use futures_util::FutureExt;

use super::entry_key::EntryKeyRef;
use super::session::{Session, Source};
use super::tables::{CACHE_CHANNEL, EVENT_CHANNEL, Events};
use crate::error::{Entity, Error, Result};
use crate::postgres::{Lease, PgConnection, RenderedQuery};

impl Session {
    /// The first row that a statement which writes returns, or `None` where it wrote nothing.
    ///
    /// # Errors
    /// [`Error::WrittenUnreadable`] where the row is written and cannot be read; [`Error::Corrupt`] where it cannot be
    /// read and was not written: in a user's name, and in a unit of work, whose transaction is aborted then.
    pub async fn write_optional<Q, U, ST>(&self, statement: Q) -> Result<Option<U>>
    where
        Q: AsQuery,
        Q::Query: QueryFragment<Pg>,
        Q::SqlType: CompatibleType<U, Pg, SqlType = ST>,
        U: FromSqlRow<ST, Pg> + Send + 'static,
        ST: 'static,
    {
        let built = RenderedQuery::writing(&statement.as_query());
        let row = self.written(&built?).await?;
        self.has_changed(false).await;
        Ok(row)
    }

    /// As [`write_optional`](Self::write_optional), of a statement that always writes a row.
    ///
    /// # Errors
    /// As [`write_optional`](Self::write_optional).
    pub async fn write_one<Q, U, ST>(&self, statement: Q) -> Result<U>
    where
        Q: AsQuery,
        Q::Query: QueryFragment<Pg>,
        Q::SqlType: CompatibleType<U, Pg, SqlType = ST>,
        U: FromSqlRow<ST, Pg> + Send + 'static,
        ST: 'static,
    {
        let row = self.write_optional(statement).await?;
        row.ok_or_else(|| Error::not_found(Entity::Row, self.table.name))
    }

    /// As [`write_optional`](Self::write_optional), of a statement that stores the row of one key: only copies of that are
    /// outdated.
    ///
    /// # Errors
    /// As [`write_optional`](Self::write_optional).
    pub async fn replace_optional<Q, U, ST>(&self, statement: Q) -> Result<Option<Replaced<'_, U>>>
    where
        Q: AsQuery,
        Q::Query: QueryFragment<Pg>,
        Q::SqlType: CompatibleType<U, Pg, SqlType = ST>,
        U: FromSqlRow<ST, Pg> + Send + 'static,
        ST: 'static,
    {
        let built = RenderedQuery::writing(&statement.as_query());
        let row = self.written(&built?).await?;
        Ok(row.map(|row| Replaced { row, pending: Pending::of(self) }))
    }

    /// Runs one statement that writes; returns how many rows it changed.
    pub async fn execute<Q: QueryFragment<Pg>>(&self, statement: Q) -> Result<u64> {
        self.run(statement, false).await
    }

    /// As [`execute`](Self::execute), of one that deletes rows: those that go with them count as changed, too.
    pub async fn delete<Q: QueryFragment<Pg>>(&self, statement: Q) -> Result<u64> {
        self.run(statement, true).await
    }

    async fn run<Q: QueryFragment<Pg>>(&self, statement: Q, deletes: bool) -> Result<u64> {
        let built = RenderedQuery::writing(&statement);
        drop(statement);
        let built = built?;
        debug_assert!(
            deletes || self.table.cascades.is_empty() || !built.sql.starts_with("DELETE"),
            "rows go with those of {}: see Session::delete",
            self.table.name
        );
        let run = self.statement(&built, |connection, built| connection.count(built).boxed());
        let done = run.await;
        if may_be_written(&done) {
            self.has_changed(deletes).await;
        }
        done
    }

    /// The row of a statement that writes. Where that cannot be read, nothing is written, unless the statement was a
    /// transaction by itself and the error says so.
    async fn written<U, ST>(&self, built: &RenderedQuery) -> Result<Option<U>>
    where
        U: FromSqlRow<ST, Pg> + Send + 'static,
        ST: 'static,
    {
        let run = self.statement(built, |connection, built| connection.optional(built).boxed());
        let error = match run.await {
            Ok(row) => return Ok(row),
            Err(error) => error,
        };
        match (error, &self.source) {
            (error @ Error::Corrupt { .. }, Source::Pool(..)) => {
                // Whose copies are outdated the row does not say any more.
                self.has_changed(true).await;
                Err(error.of_a_written_row())
            }
            (error @ Error::Corrupt { .. }, Source::Transaction(transaction)) => {
                transaction.abort().await;
                Err(error)
            }
            // In a user's name an unreadable row was rolled back.
            (error, _) => {
                let done = Err(error);
                if may_be_written(&done) {
                    self.has_changed(true).await;
                }
                done
            }
        }
    }

    /// A connection for one statement that writes and is a transaction by itself; `None` where it needs one around it, which
    /// is [`atomic`](Self::atomic).
    ///
    /// # Errors
    /// Those of taking a connection.
    pub async fn alone(&self) -> Result<Option<Alone<'_>>> {
        if !self.is_pooled() {
            return Ok(None);
        }
        let lease = self.connection().await?;
        Ok(Some(Alone { lease, pending: Pending::of(self) }))
    }

    /// Hands over that rows of the table may have changed, or been `deleted`, with those that go with them: returns when
    /// this process's copies are outdated, but for a unit of work, whose commit waits for that.
    pub(super) async fn has_changed(&self, deleted: bool) {
        if self.notify_of_changes(deleted)
            && let Some(copies) = self.copies()
        {
            copies.catch_up().await;
        }
    }

    /// Notifies other processes, soon after the commit; returns whether there may be copies of the rows.
    fn notify_of_changes(&self, deleted: bool) -> bool {
        let tables = self.table.changed(deleted);
        if tables.iter().any(|table| table.events != Events::Never) {
            self.notify(EVENT_CHANNEL);
        }
        let is_cached = tables.iter().any(|table| table.cached);
        if is_cached {
            self.notify(CACHE_CHANNEL);
        }
        is_cached
    }

    fn notify(&self, channel: &'static str) {
        match &self.source {
            Source::Pool(pool, _) | Source::Tenant(pool, ..) => pool.notify(channel),
            Source::Transaction(transaction) => transaction.notify_at_commit(channel),
        }
    }
}

/// Whether a statement or a COMMIT that ended so may have taken effect. One notification too many is better than none.
pub(super) fn may_be_written<T>(done: &Result<T>) -> bool {
    matches!(done, Ok(_) | Err(Error::OutcomeUnknown { .. }))
}

/// What is to be handed over. Dropped before, it notifies other processes all the same.
struct Pending<'a> {
    session: &'a Session,
    is_due: bool,
}

impl<'a> Pending<'a> {
    fn of(session: &'a Session) -> Self {
        Pending { session, is_due: true }
    }

    /// Rows may have changed.
    async fn rows(mut self) {
        self.is_due = false;
        self.session.has_changed(false).await;
    }

    /// The row of this key has this version now.
    async fn replaced(mut self, key: EntryKeyRef<'_>, version: i64) {
        self.is_due = false;
        if self.session.table.events == Events::Always {
            self.session.notify(EVENT_CHANNEL);
        }
        self.session.notify(CACHE_CHANNEL);
        if let Some(copies) = self.session.copies() {
            copies.replaced(key, version).await;
        }
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if self.is_due {
            self.session.notify_of_changes(false);
        }
    }
}

/// A connection for one statement that writes.
pub(crate) struct Alone<'a> {
    // Goes back to the pool before others are notified.
    lease: Lease<'a>,
    pending: Pending<'a>,
}

impl Alone<'_> {
    /// Hands over what the statement has changed.
    pub async fn done(self) {
        let Alone { lease, pending } = self;
        drop(lease);
        pending.rows().await;
    }
}

impl Deref for Alone<'_> {
    type Target = PgConnection;
    fn deref(&self) -> &PgConnection {
        &self.lease
    }
}

/// A row that was stored under its key, which is to be [named](Self::of).
#[must_use = "the copies of the row are outdated"]
pub(crate) struct Replaced<'a, U> {
    row: U,
    pending: Pending<'a>,
}

impl<U> Replaced<'_, U> {
    /// The row. Its copies in this process are outdated then.
    pub async fn of<'k>(self, key: impl FnOnce(&U) -> (EntryKeyRef<'k>, i64)) -> U {
        let Replaced { row, pending } = self;
        let (key, version) = key(&row);
        pending.replaced(key, version).await;
        row
    }
}
