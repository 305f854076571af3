//! The log as a whole: its consumers, and what of it is kept.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::prelude::QueryableByName;
use diesel::sql_types::{BigInt, Interval, Text, Timestamptz};

use super::Database;
use super::event_consumer::EventConsumer;
use crate::error::Result;
use crate::events::{self, BEGINNING, ConsumerState, Event, EventFilter};
use crate::store::{SweepReport, tables};
use crate::types::{Listed, PageRequest, span};

/// What a consumer has in part is counted in full.
const CONSUMERS: &str = "
    SELECT name::TEXT, moved_at,
        (SELECT count(*) FROM events
            WHERE transaction >= pg_snapshot_xmin(seen) AND NOT pg_visible_in_snapshot(transaction, seen)) AS behind
    FROM event_consumers ORDER BY name";

#[derive(QueryableByName)]
struct StateRow {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Timestamptz)]
    moved_at: DateTime<Utc>,
    #[diesel(sql_type = BigInt)]
    behind: i64,
}

/// The log of events, of [`Database::events`].
#[derive(Debug)]
pub struct EventLog<'a> {
    database: &'a Database,
}

impl EventLog<'_> {
    /// The consumer of this name, of up to 100 characters. One that is new begins with what is committed from now on; one
    /// that exists resumes where it was. The filter may change from one run to the next.
    ///
    /// # Errors
    /// `Invalid` of `name`.
    pub async fn consumer(&self, name: &str, filter: EventFilter) -> Result<EventConsumer> {
        EventConsumer::register(self.database, name, filter, false).await
    }

    /// As [`consumer`](Self::consumer), but one that is new begins with the oldest event that is kept.
    ///
    /// # Errors
    /// As [`consumer`](Self::consumer).
    pub async fn consumer_from_beginning(
        &self,
        name: &str,
        filter: EventFilter,
    ) -> Result<EventConsumer> {
        EventConsumer::register(self.database, name, filter, true).await
    }

    /// Events after the one of this id, by id, at most `limit` (brought into 1 to 10,000); all that are kept after 0. For a
    /// client that was away for a while and knows the last event it saw, as the `Last-Event-ID` of a browser's stream of
    /// events.
    ///
    /// A transaction that commits late may add an event below ids that were read before. A program that must miss none uses a
    /// [`consumer`](Self::consumer).
    ///
    /// # Errors
    /// Those of a query.
    pub async fn since(&self, id: i64, filter: &EventFilter, limit: u32) -> Result<Listed<Event>> {
        let limit = limit.clamp(1, PageRequest::MAX_LIMIT) as usize;
        events::log::since(&self.database.session(&tables::EVENTS), id, filter, limit).await
    }

    /// All consumers by name, and how far they are: one that nobody runs any more keeps its events from being swept.
    ///
    /// # Errors
    /// Those of a query.
    pub async fn consumers(&self) -> Result<Listed<ConsumerState>> {
        let query = diesel::sql_query(CONSUMERS);
        let rows: Listed<StateRow> =
            self.database.session(&tables::EVENT_CONSUMERS).fetch_list(query).await?;
        let state =
            |row: StateRow| ConsumerState::new(row.name, row.behind.unsigned_abs(), row.moved_at);
        Ok(rows.map(|rows| rows.into_iter().map(state).collect()))
    }

    /// Forgets a consumer. Returns `false` if it did not exist.
    ///
    /// # Errors
    /// Those of a statement.
    pub async fn forget(&self, name: &str) -> Result<bool> {
        let statement = diesel::sql_query("DELETE FROM event_consumers WHERE name = $1");
        let statement = statement.bind::<Text, _>(name);
        Ok(self.database.session(&tables::EVENT_CONSUMERS).execute(statement).await? > 0)
    }

    /// Deletes events that are older than `age` and that every consumer has gone past, the oldest first, up to `limit` of
    /// them. A [subscription](Database::subscribe) that is behind by more than `age` loses them: it has no name
    /// by which it could be known.
    ///
    /// # Errors
    /// Those of a statement.
    pub async fn sweep(&self, limit: u32, age: Duration) -> Result<SweepReport> {
        let statement = diesel::sql_query(format!(
            "
    WITH doomed AS MATERIALIZED (
        SELECT transaction, id FROM events e
        WHERE recorded_at < now() - $1::INTERVAL
            AND NOT EXISTS (SELECT FROM event_consumers
                WHERE NOT pg_visible_in_snapshot(e.transaction, seen))
        ORDER BY recorded_at LIMIT {limit}
    )
    DELETE FROM events AS event USING doomed
    WHERE event.transaction = doomed.transaction AND event.id = doomed.id"
        ));
        let statement = statement.bind::<Interval, _>(span::age(age));
        Ok(SweepReport::new(
            self.database.session(&tables::EVENTS).execute(statement).await?,
            limit,
        ))
    }

    /// To be called once after the database was restored into another server, whose transactions have other numbers:
    /// every event that is kept comes to every consumer, again where it had come before.
    ///
    /// # Errors
    /// Those of a statement; nothing has changed then.
    pub async fn restart(&self) -> Result<()> {
        let unit = self.database.begin().await?;
        let session = unit.session(&tables::EVENTS);
        // Finished in every server; not 0, which is not a transaction.
        session.execute(diesel::sql_query("UPDATE events SET transaction = '1'")).await?;
        let restart = "UPDATE event_consumers SET seen = $1::TEXT::PG_SNAPSHOT, reading = NULL";
        session.execute(diesel::sql_query(restart).bind::<Text, _>(BEGINNING)).await?;
        unit.commit().await
    }
}

impl Database {
    /// The log of events: its durable consumers, and its retention.
    pub fn events(&self) -> EventLog<'_> {
        EventLog { database: self }
    }
}
