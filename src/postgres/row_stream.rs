//! The rows of a statement as a stream that knows when it was abandoned.

use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use diesel::QueryResult;
use futures_util::{Stream, TryStreamExt};
use tokio_postgres::RowStream;

use super::driver_row::PgRow;
use super::lending::first_columns;
use super::rendered_query::RenderedQuery;
use super::sqlstate;
use super::transport::{Deadline, Guard, Transport, first_cause};

/// Rows that a dropped stream still takes from what has already arrived, before it gives the rest
/// up and the connection with it.
const DRAIN_LIMIT: usize = 1_000;

/// The rows of one statement. Two are read ahead, so that `first()` of a one-row result leaves the
/// connection clean. `'a` ties the stream to the connection (and so to the pool's lease).
pub struct Rows<'a> {
    state: State,
    connection: PhantomData<&'a ()>,
}

enum State {
    Done,
    One(PgRow),
    Many { ahead: std::vec::IntoIter<PgRow>, rest: Rest },
}

struct Rest {
    rows: Pin<Box<RowStream>>,
    taken: u64,
    guard: Option<Guard>,
    deadline: Deadline,
}

/// Why there is no next row.
enum Failure {
    Told(tokio_postgres::Error),
    Unanswered(Duration),
}

impl Rest {
    /// The next row, or an error where none came in time.
    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<tokio_postgres::Row, Failure>>> {
        if let Poll::Ready(row) = self.rows.as_mut().poll_next(context) {
            self.deadline.clear();
            return Poll::Ready(row.map(|row| row.map_err(Failure::Told)));
        }
        let late = self.deadline.poll(self.guard.as_ref(), context);
        late.map(|limit| Some(Err(Failure::Unanswered(limit))))
    }

    fn finish(&mut self) {
        if let Some(guard) = self.guard.take() {
            guard.finish(self.taken);
        }
    }

    fn fail(&mut self, failure: Failure) -> diesel::result::Error {
        let error = match failure {
            Failure::Told(error) => error,
            // The guard goes unfinished: the statement is cancelled and the connection discarded.
            Failure::Unanswered(limit) => {
                return match self.guard.take() {
                    Some(guard) => guard.unanswered(limit),
                    None => sqlstate::closed(format!("no answer within {limit:?}"), false),
                };
            }
        };
        match self.guard.take() {
            Some(guard) => guard.fail(error),
            // The stream ended before, which disarmed the guard: the driver has no second error.
            None => sqlstate::diesel_error(&error, Duration::ZERO),
        }
    }
}

impl Drop for Rest {
    /// Takes what has already arrived; only a result that is still coming is cancelled.
    fn drop(&mut self) {
        if self.guard.is_none() {
            return;
        }
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..DRAIN_LIMIT {
            match self.rows.as_mut().poll_next(&mut context) {
                Poll::Ready(Some(Ok(_))) => self.taken += 1,
                Poll::Ready(Some(Err(e))) => {
                    self.fail(Failure::Told(e));
                    return;
                }
                Poll::Ready(None) => {
                    self.finish();
                    return;
                }
                Poll::Pending => return,
            }
        }
    }
}

impl Rows<'_> {
    fn new(state: State) -> Self {
        Rows { state, connection: PhantomData }
    }
}

impl Stream for Rows<'_> {
    type Item = QueryResult<PgRow>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let me = &mut *self;
        match &mut me.state {
            State::Done => Poll::Ready(None),
            State::One(_) => match std::mem::replace(&mut me.state, State::Done) {
                State::One(row) => Poll::Ready(Some(Ok(row))),
                _ => Poll::Ready(None),
            },
            State::Many { ahead, rest } => {
                if let Some(row) = ahead.next() {
                    return Poll::Ready(Some(Ok(row)));
                }
                let end = match rest.poll(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Some(Ok(row))) => {
                        rest.taken += 1;
                        return Poll::Ready(Some(Ok(PgRow::new(row))));
                    }
                    Poll::Ready(None) => {
                        rest.finish();
                        None
                    }
                    Poll::Ready(Some(Err(e))) => Some(Err(rest.fail(e))),
                };
                me.state = State::Done;
                Poll::Ready(end)
            }
        }
    }
}

/// Sends a statement and waits for its first two rows. A plan that a migration made stale is
/// prepared again, once: the server refuses it before the first row.
pub(super) async fn load<'a>(
    wire: &Arc<Transport>,
    built: &RenderedQuery,
) -> QueryResult<Rows<'a>> {
    let guard = Guard::arm(wire, &built.sql, built.effect)?;
    match guard.answered(read_ahead(wire, built, &guard)).await? {
        Ok(started) => Ok(Rows::new(started.guarded(guard))),
        Err(e) if sqlstate::is_stale_plan(&e) => {
            wire.forget(&built.sql, &e);
            match guard.answered(read_ahead(wire, built, &guard)).await? {
                Ok(started) => Ok(Rows::new(started.guarded(guard))),
                Err(again) => Err(failed(guard, first_cause(e, again)).await),
            }
        }
        Err(e) => Err(failed(guard, e).await),
    }
}

/// A statement whose first rows are here.
enum Started {
    Empty,
    One(PgRow),
    Many(PgRow, PgRow, Pin<Box<RowStream>>),
}

impl Started {
    fn guarded(self, guard: Guard) -> State {
        match self {
            Started::Empty => {
                guard.finish(0);
                State::Done
            }
            Started::One(row) => {
                guard.finish(1);
                State::One(row)
            }
            Started::Many(a, b, rows) => State::Many {
                ahead: vec![a, b].into_iter(),
                rest: Rest { rows, taken: 2, guard: Some(guard), deadline: Deadline::default() },
            },
        }
    }
}

async fn read_ahead(
    wire: &Transport,
    built: &RenderedQuery,
    guard: &Guard,
) -> Result<Started, tokio_postgres::Error> {
    let mut rows = Box::pin(wire.query(built, guard).await?);
    let Some(first) = rows.try_next().await? else {
        return Ok(Started::Empty);
    };
    let Some(second) = rows.try_next().await? else {
        return Ok(Started::One(PgRow::new(first)));
    };
    Ok(Started::Many(PgRow::new(first), PgRow::new(second), rows))
}

/// The error of a statement. That it ran in an aborted transaction is returned one turn of the task later:
/// the statement that failed first was pipelined ahead of it, its error is here too, and of a
/// `try_join!` of both the cause is to win, because it alone says whether to try again.
async fn failed(guard: Guard, error: tokio_postgres::Error) -> diesel::result::Error {
    let follows = error.code().is_some_and(|c| c.code() == "25P02");
    let error = guard.fail(error);
    if follows {
        tokio::task::yield_now().await;
    }
    error
}

/// Runs a statement without rows; returns how many it changed.
pub(super) async fn execute(wire: &Arc<Transport>, built: &RenderedQuery) -> QueryResult<u64> {
    let guard = Guard::arm(wire, &built.sql, built.effect)?;
    match guard.answered(wire.execute(built, &guard)).await? {
        Ok(n) => {
            guard.finish(n);
            Ok(n)
        }
        Err(e) => Err(failed(guard, e).await),
    }
}

/// Runs statements without binds, by the simple protocol.
pub(super) async fn batch(wire: Arc<Transport>, sql: Arc<str>) -> QueryResult<()> {
    let guard = Guard::arm_batch(&wire, &sql)?;
    match guard.answered(wire.client.batch_execute(&sql)).await? {
        Ok(()) => {
            guard.finish(0);
            Ok(())
        }
        Err(e) => Err(failed(guard, e).await),
    }
}

/// As [`batch`]; returns the first column of every row, as text.
pub(super) async fn ask(wire: Arc<Transport>, sql: Arc<str>) -> QueryResult<Vec<String>> {
    let guard = Guard::arm_batch(&wire, &sql)?;
    match guard.answered(wire.client.simple_query(&sql)).await? {
        Ok(messages) => {
            let shown = first_columns(&messages);
            guard.finish(shown.len() as u64);
            Ok(shown)
        }
        Err(e) => Err(failed(guard, e).await),
    }
}
