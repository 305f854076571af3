//! COPY in and out, guarded like every statement.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, Stream};
use tokio_postgres::{CopyInSink, CopyOutStream};

use super::lending::OwnStatement;
use super::pg_connection::PgConnection;
use super::rendered_query::Effect;
use super::sqlstate::diesel_error;
use super::transport::{Deadline, Guard};
use crate::config::StatementMode;
use crate::error::{Error, Result};

/// A running `COPY ... FROM STDIN`. Nothing is stored until [`finish`](CopyIn::finish) returns;
/// dropped before that, the copy is undone and the connection discarded (and with it the
/// transaction that it was part of).
pub struct CopyIn<'a> {
    sink: Pin<Box<CopyInSink<Bytes>>>,
    guard: Option<Guard>,
    connection: &'a PgConnection,
}

impl CopyIn<'_> {
    /// Sends a piece of data; pieces need not end where rows do. Waits while the server is behind.
    ///
    /// # Errors
    /// The server refused the data or the connection failed; the copy is over then.
    pub async fn send(&mut self, data: Bytes) -> Result<()> {
        match self.connection.wire().answered(self.sink.send(data)).await? {
            Ok(()) => Ok(()),
            Err(e) => Err(self.fail(e)),
        }
    }

    /// Ends the copy and returns the number of rows stored.
    ///
    /// # Errors
    /// The server refused the data; nothing of it is stored.
    pub async fn finish(mut self) -> Result<u64> {
        let Some(guard) = self.guard.take() else {
            return Err(Error::Ended { reason: "the copy has failed" });
        };
        // Before its end is sent nothing of it is stored.
        guard.is_sent();
        match guard.answered(self.sink.as_mut().finish()).await? {
            Ok(rows) => {
                guard.finish(rows);
                Ok(rows)
            }
            Err(e) => Err(guard.fail(e).into()),
        }
    }

    fn fail(&mut self, error: tokio_postgres::Error) -> Error {
        match self.guard.take() {
            Some(guard) => guard.fail(error).into(),
            None => diesel_error(&error, Duration::ZERO).into(),
        }
    }
}

/// The pieces of a running `COPY ... TO STDOUT`, each one row in text format; in binary format the
/// first piece begins with the file header. Dropped before its end, the statement is cancelled and
/// the connection discarded.
pub struct CopyOut<'a> {
    stream: Pin<Box<CopyOutStream>>,
    guard: Option<Guard>,
    pieces: u64,
    deadline: Deadline,
    _connection: &'a PgConnection,
}

impl Stream for CopyOut<'_> {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let me = &mut *self;
        let next = me.stream.as_mut().poll_next(context);
        if next.is_ready() {
            me.deadline.clear();
        }
        match next {
            Poll::Pending => me.deadline.poll(me.guard.as_ref(), context).map(|limit| {
                // The guard goes unfinished: the statement is cancelled and the connection discarded.
                me.guard.take().map(|guard| Err(guard.unanswered(limit).into()))
            }),
            Poll::Ready(Some(Ok(piece))) => {
                self.pieces += 1;
                Poll::Ready(Some(Ok(piece)))
            }
            Poll::Ready(None) => {
                let pieces = self.pieces;
                if let Some(guard) = self.guard.take() {
                    guard.finish(pieces);
                }
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(e))) => {
                let error = match self.guard.take() {
                    Some(guard) => guard.fail(e),
                    None => diesel_error(&e, Duration::ZERO),
                };
                Poll::Ready(Some(Err(error.into())))
            }
        }
    }
}

impl PgConnection {
    /// The driver prepares a COPY, so behind a pooler both messages must reach one server: in a
    /// transaction they do.
    async fn check_copy(&self) -> Result<()> {
        if self.wire().mode() == StatementMode::Prepared {
            return Ok(());
        }
        // Refused outside of a transaction, no matter who began it.
        match self.batch("SAVEPOINT copy; RELEASE SAVEPOINT copy").await {
            Err(Error::Database { sqlstate, .. }) if sqlstate == "25P01" => {
                Err(Error::invalid("copy", "in one-trip mode COPY needs a transaction"))
            }
            other => other,
        }
    }

    /// Starts `COPY table (columns) FROM STDIN ...`, the statement given by the caller.
    ///
    /// # Errors
    /// The server refused the statement, and if not for its syntax, the connection is discarded;
    /// [`Error::Invalid`] outside of a transaction in [`StatementMode::OneTrip`].
    pub async fn copy_in(&self, sql: &str) -> Result<CopyIn<'_>> {
        let _own = OwnStatement::begin(self.wire());
        self.start_copy_in(sql).await
    }

    /// As [`copy_in`](Self::copy_in), for the crate's own statements.
    ///
    /// # Errors
    /// As [`copy_in`](Self::copy_in).
    pub(super) async fn start_copy_in(&self, sql: &str) -> Result<CopyIn<'_>> {
        self.check_copy().await?;
        let guard = Guard::arm(self.wire(), &Arc::from(sql), Effect::Writes)?;
        let statement = match self.wire().answered(self.wire().client.prepare(sql)).await? {
            Ok(statement) => statement,
            Err(e) => return Err(guard.fail(e).into()),
        };
        match self.wire().answered(self.wire().client.copy_in(&statement)).await? {
            Ok(sink) => Ok(CopyIn { sink: Box::pin(sink), guard: Some(guard), connection: self }),
            Err(e) => {
                // The driver ends even a copy that never began, with a Sync that the server answers
                // once more: each later statement would read the answer to the one before it.
                self.discard();
                Err(guard.fail(e).into())
            }
        }
    }

    /// Starts `COPY ... TO STDOUT ...`, the statement given by the caller.
    ///
    /// # Errors
    /// The server refused the statement; [`Error::Invalid`] outside of a transaction in
    /// [`StatementMode::OneTrip`].
    pub async fn copy_out(&self, sql: &str) -> Result<CopyOut<'_>> {
        let _own = OwnStatement::begin(self.wire());
        self.start_copy_out_as(sql, Effect::Unstated).await
    }

    /// As [`copy_out`](Self::copy_out), for the crate's own statements.
    ///
    /// # Errors
    /// As [`copy_out`](Self::copy_out).
    pub(crate) async fn start_copy_out(&self, sql: &str) -> Result<CopyOut<'_>> {
        self.start_copy_out_as(sql, Effect::Reads).await
    }

    async fn start_copy_out_as(&self, sql: &str, effect: Effect) -> Result<CopyOut<'_>> {
        self.check_copy().await?;
        let guard = Guard::arm(self.wire(), &Arc::from(sql), effect)?;
        // It may be a statement that writes, whose answer is behind the first message.
        guard.is_sent();
        match guard.answered(self.wire().client.copy_out(sql)).await? {
            Ok(stream) => Ok(CopyOut {
                stream: Box::pin(stream),
                guard: Some(guard),
                pieces: 0,
                deadline: Deadline::default(),
                _connection: self,
            }),
            Err(e) => Err(guard.fail(e).into()),
        }
    }
}
