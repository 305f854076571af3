//! Which days the table has room for.
//!
//! The table may be partitioned by year, and the server then refuses the whole statement for one bar of a day that no
//! partition holds. Such a bar is left out by itself, with the reason. Nothing is asked before a statement has failed: in
//! the ordinary case all of this costs nothing.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, Datelike, Utc};
use diesel::prelude::QueryableByName;
use diesel::sql_types::{Integer, Nullable, Timestamptz};

use super::intake::{Intake, Row};
use crate::error::{Error, Result};
use crate::postgres::PgConnection;
use crate::prices::bars::{check_day, needs_clock};
use crate::store::{RejectedKind, Session};
use crate::types::TradingDay;

/// The times that partitions hold (without bounds: all, as a plain table does), and the archived years; on each row the
/// present year.
const ROOM: &str = r"
    SELECT room.*, EXTRACT(YEAR FROM now() AT TIME ZONE 'UTC')::integer AS present
    FROM (
    SELECT NULL::timestamptz AS start_at, NULL::timestamptz AS end_at, NULL::integer AS archived
    FROM pg_class WHERE oid = 'price_history'::regclass AND relkind <> 'p'
    UNION ALL
    SELECT (regexp_match(b.bound, 'FROM \(''([^'']+)''\)'))[1]::timestamptz,
        (regexp_match(b.bound, 'TO \(''([^'']+)''\)'))[1]::timestamptz, NULL
    FROM pg_inherits i
    JOIN pg_class c ON c.oid = i.inhrelid
    CROSS JOIN LATERAL (SELECT pg_get_expr(c.relpartbound, c.oid) AS bound) b
    WHERE i.inhparent = 'price_history'::regclass AND NOT i.inhdetachpending
    UNION ALL
    SELECT NULL, NULL, year FROM archived_price_years
    ) room";

#[derive(QueryableByName)]
struct RoomRow {
    #[diesel(sql_type = Nullable<Timestamptz>)]
    start_at: Option<DateTime<Utc>>,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    end_at: Option<DateTime<Utc>>,
    #[diesel(sql_type = Nullable<Integer>)]
    archived: Option<i32>,
    #[diesel(sql_type = Integer)]
    present: i32,
}

/// Why a bar is left out.
pub(crate) struct Refusal {
    pub kind: RejectedKind,
    pub error: Error,
}

/// From the first of two times up to the second, which is not included; without one there is no bound.
type Span = (Option<DateTime<Utc>>, Option<DateTime<Utc>>);

/// What the table has room for at a moment.
pub(crate) struct Room {
    spans: Vec<Span>,
    archived: HashSet<i32>,
    present_year: Option<i32>,
}

impl Room {
    /// # Errors
    /// Those of the database.
    pub async fn read(connection: &PgConnection) -> Result<Self> {
        let rows: Vec<RoomRow> = connection.fetch_all(diesel::sql_query(ROOM)).await?;
        let present_year = rows.first().map(|row| row.present);
        let (mut spans, mut archived) = (Vec::new(), HashSet::new());
        for row in rows {
            match row.archived {
                Some(year) => drop(archived.insert(year)),
                None => spans.push((row.start_at, row.end_at)),
            }
        }
        Ok(Room { spans, archived, present_year })
    }

    /// Why there is no room for a bar of this day; `None` where there is.
    pub fn refusal(&self, day: TradingDay) -> Option<Refusal> {
        let at = day.midnight_utc();
        let holds = |&(start, end): &Span| {
            start.is_none_or(|start| start <= at) && end.is_none_or(|end| at < end)
        };
        if self.spans.iter().any(holds) {
            return None;
        }
        if let Err(error) = check_day(day, self.present_year) {
            return Some(Refusal { kind: RejectedKind::ImplausibleDay, error });
        }
        let (day, year) = (day.date(), day.date().year());
        let (kind, reason) = match self.archived.contains(&year) {
            true => (
                RejectedKind::ArchivedYear,
                format!("{day}: {year} is archived; PricePartitions::restore_year brings it back"),
            ),
            false => (
                RejectedKind::NoPartition,
                format!(
                    "{day}: no partition holds {year}; \
                     Database::price_partitions().create_years({year}..={year}) makes one"
                ),
            ),
        };
        Some(Refusal { kind, error: Error::invalid("date", reason) })
    }
}

/// Longest wait for the reason of an error: the pool may have no second connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// The error of a bar that no partition holds, with the reason why; any other error as it is. A unit of work may have been
/// aborted by it: the question is asked on another connection, and what fails with it is returned after. `day` gives the day of the item at an index.
pub(crate) async fn explained(
    session: &Session,
    error: Error,
    day: impl Fn(Option<usize>) -> Option<TradingDay>,
) -> Error {
    let is_of_the_day = |e: &Error| matches!(e, Error::Invalid { field, .. } if field == "date");
    let index = match &error {
        Error::Item { index, source } if is_of_the_day(source) => Some(*index),
        error if is_of_the_day(error) => None,
        _ => return error,
    };
    let _companions_wait = session.joined();
    let aside = session.aside();
    let asked = async { Room::read(&*aside.connection().await?).await };
    let room = tokio::time::timeout(PATIENCE, asked).await.ok().and_then(Result::ok);
    let refusal = room.zip(day(index)).and_then(|(room, day)| room.refusal(day));
    match (refusal, index) {
        (Some(refusal), Some(index)) => refusal.error.at(index),
        (Some(refusal), None) => refusal.error,
        (None, _) => error,
    }
}

/// The database's clock, which is asked once, and only where a day cannot be judged without it.
pub(crate) struct Clock<'a> {
    session: &'a Session,
    present_year: Option<i32>,
}

impl<'a> Clock<'a> {
    pub fn new(session: &'a Session) -> Self {
        Clock { session, present_year: None }
    }

    /// The present year, if it takes that to judge the day.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn for_day(&mut self, day: TradingDay) -> Result<Option<i32>> {
        if self.present_year.is_none() && needs_clock(day) {
            self.present_year = present_year(&*self.session.connection().await?).await?;
        }
        Ok(self.present_year)
    }
}

/// Whether the days of some rows are to be judged by the database's clock.
pub(crate) fn needs_clock_of(rows: &[Row<'_>]) -> bool {
    rows.iter().any(|row| needs_clock(row.bar.date))
}

#[derive(QueryableByName)]
struct Now {
    #[diesel(sql_type = Timestamptz)]
    now: DateTime<Utc>,
}

/// By the database's clock.
async fn present_year(connection: &PgConnection) -> Result<Option<i32>> {
    let now: Option<Now> = connection.fetch_optional(diesel::sql_query("SELECT now()")).await?;
    Ok(now.map(|Now { now }| now.year()))
}

/// The rows without those of days that are too far ahead.
///
/// # Errors
/// `Item`, with [`SuspectPolicy::Fail`](crate::prices::SuspectPolicy::Fail); those of the database.
pub(crate) async fn without_far_days<'a>(
    connection: &PgConnection,
    intake: &mut Intake<'a>,
    rows: Vec<Row<'a>>,
) -> Result<Vec<Row<'a>>> {
    let present = present_year(connection).await?;
    let mut kept = Vec::with_capacity(rows.len());
    for row in rows {
        match check_day(row.bar.date, present) {
            Ok(()) => kept.push(row),
            Err(error) => intake.refuse(row.index, RejectedKind::ImplausibleDay, error)?,
        }
    }
    Ok(kept)
}
