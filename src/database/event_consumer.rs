//! Consumers that resume where they were.

use std::sync::Arc;

use diesel::prelude::QueryableByName;
use diesel::sql_types::{BigInt, Bool, Nullable, Text};
use tokio::sync::watch;

use super::Database;
use super::unit_of_work::UnitOfWork;
use crate::error::{Entity, Error, Result, Unreadable};
use crate::events::{BEGINNING, Event, EventFilter, Position, log, wait};
use crate::store::{Session, tables};
use crate::types::{Listed, text};

/// Events of one delivery, unless [`EventConsumer::batch`] says otherwise.
const BATCH: usize = 256;
/// Maximum length of a consumer's name, in characters.
const MAX_NAME: usize = 100;

const REGISTER: &str = "
    INSERT INTO event_consumers (name, seen)
    VALUES ($1, CASE WHEN $2 THEN $3::TEXT::PG_SNAPSHOT ELSE pg_current_snapshot() END)
    ON CONFLICT (name) DO NOTHING";

/// Of several programs that consume under one name, one has the row at a time.
const TAKE: &str = "
    SELECT seen::TEXT AS seen, reading::TEXT AS reading, after_id,
        moved_at < now() - INTERVAL '10 s' AS is_due
    FROM event_consumers WHERE name = $1 FOR UPDATE SKIP LOCKED";

const EXISTS: &str = "SELECT EXISTS (SELECT FROM event_consumers WHERE name = $1) AS found";

const MOVE_ON: &str = "
    UPDATE event_consumers SET seen = $2::TEXT::PG_SNAPSHOT, reading = $3::TEXT::PG_SNAPSHOT,
        after_id = $4, moved_at = now()
    WHERE name = $1";

#[derive(QueryableByName)]
struct ConsumerRow {
    #[diesel(sql_type = Text)]
    seen: String,
    #[diesel(sql_type = Nullable<Text>)]
    reading: Option<String>,
    #[diesel(sql_type = BigInt)]
    after_id: i64,
    #[diesel(sql_type = Bool)]
    is_due: bool,
}

impl ConsumerRow {
    fn position(self) -> Position {
        Position { seen: self.seen, reading: self.reading, after: self.after_id }
    }
}

#[derive(QueryableByName)]
struct Exists {
    #[diesel(sql_type = Bool)]
    found: bool,
}

/// A consumer with a name and a place in the log that the database keeps: after a crash it resumes where it was, and
/// every event comes at least once. Programs that consume under one name share the work.
///
/// ```no_run
/// # use buffetbot_db::{Database, Result};
/// # use buffetbot_db::events::EventFilter;
/// # async fn example(db: &Database) -> Result<()> {
/// let mut consumer = db.events().consumer("risk-engine", EventFilter::new()).await?;
/// loop {
///     let delivery = consumer.next().await?;
///     for event in delivery.events() {
///         println!("{event:?}");
///     }
///     delivery.commit().await?;
/// }
/// # }
/// ```
pub struct EventConsumer {
    database: Database,
    name: Arc<str>,
    filter: EventFilter,
    batch: usize,
    news: watch::Receiver<u64>,
}

impl EventConsumer {
    /// # Errors
    /// `Invalid` of a name; those of the database.
    pub(super) async fn register(
        database: &Database,
        name: &str,
        filter: EventFilter,
        from_beginning: bool,
    ) -> Result<Self> {
        text::check_required("name", name, MAX_NAME)?;
        let statement = diesel::sql_query(REGISTER)
            .bind::<Text, _>(name)
            .bind::<Bool, _>(from_beginning)
            .bind::<Text, _>(BEGINNING);
        database.session(&tables::EVENT_CONSUMERS).execute(statement).await?;
        let (name, news) = (name.into(), database.waker().subscribe());
        Ok(EventConsumer { database: database.clone(), name, filter, batch: BATCH, news })
    }

    /// This consumer with deliveries of up to `events` events (256).
    pub fn batch(self, events: usize) -> Self {
        EventConsumer { batch: events.max(1), ..self }
    }

    /// Waits for the next events, at least one, readable or not. Until the delivery is committed, or dropped, its transaction is open and
    /// no other program of this consumer's name gets any: finish soon, and observe
    /// [`idle_in_transaction_timeout`](crate::Config::idle_in_transaction_timeout).
    ///
    /// # Errors
    /// `NotFound` when the consumer was forgotten; those of the database: call it again.
    pub async fn next(&mut self) -> Result<Delivery> {
        loop {
            if let Some(delivery) = self.try_next().await? {
                return Ok(delivery);
            }
            wait(&mut self.news).await;
        }
    }

    /// As [`next`](Self::next), but `None` when there is nothing now, or another program has this consumer's turn.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn try_next(&mut self) -> Result<Option<Delivery>> {
        let unit = self.database.begin().await?;
        let session = unit.session(&tables::EVENT_CONSUMERS);
        let take = diesel::sql_query(TAKE).bind::<Text, _>(&*self.name);
        let row: Option<ConsumerRow> = session.fetch_optional(take).await?;
        let Some(row) = row else {
            let exists = diesel::sql_query(EXISTS).bind::<Text, _>(&*self.name);
            return match session.fetch_one::<_, Exists, _>(exists).await?.found {
                true => Ok(None),
                false => Err(Error::not_found(Entity::EventConsumer, &self.name)),
            };
        };
        let is_due = row.is_due;
        let position = row.position();
        let (read, position) = log::read(&session, position, &self.filter, self.batch).await?;
        if !read.is_empty() {
            let mut events = Listed::default();
            read.into_iter().for_each(|event| events.take(event));
            let name = self.name.clone();
            return Ok(Some(Delivery { unit, name, events, behind: position }));
        }
        if is_due {
            // Nothing of what is behind needs to be kept for this consumer.
            move_on(&session, &self.name, &position).await?;
            unit.commit().await?;
        }
        Ok(None)
    }
}

impl std::fmt::Debug for EventConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventConsumer").field("name", &self.name).finish_non_exhaustive()
    }
}

async fn move_on(session: &Session, name: &str, position: &Position) -> Result<()> {
    let statement = diesel::sql_query(MOVE_ON)
        .bind::<Text, _>(name)
        .bind::<Text, _>(&position.seen)
        .bind::<Nullable<Text>, _>(position.reading.as_deref())
        .bind::<BigInt, _>(position.after);
    match session.execute(statement).await? {
        0 => Err(Error::not_found(Entity::EventConsumer, name)),
        _ => Ok(()),
    }
}

/// Events that are a consumer's until the delivery is committed. Dropped before, they come again.
#[derive(Debug)]
pub struct Delivery {
    unit: UnitOfWork,
    name: Arc<str>,
    events: Listed<Event>,
    behind: Position,
}

impl Delivery {
    /// The events, in the order of their ids.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Events among them that cannot be read; there may be no others. A commit moves past them, too.
    pub fn unreadable(&self) -> &[Unreadable] {
        &self.events.unreadable
    }

    /// The transaction that the consumer moves on in: what is written here takes effect exactly once.
    pub fn unit(&self) -> &UnitOfWork {
        &self.unit
    }

    /// Moves the consumer on, together with what was written in [`unit`](Self::unit).
    ///
    /// # Errors
    /// As [`UnitOfWork::commit`]; `NotFound` when the consumer was forgotten meanwhile. The events come again then.
    pub async fn commit(self) -> Result<()> {
        move_on(&self.unit.session(&tables::EVENT_CONSUMERS), &self.name, &self.behind).await?;
        self.unit.commit().await
    }
}
