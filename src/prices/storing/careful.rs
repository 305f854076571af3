//! Storing bars when the server may refuse some of them: those are found, and the others stored.

use futures_util::{FutureExt, TryFutureExt};

use super::intake::Row;
use super::room::{Refusal, Room};
use super::store;
use crate::error::Result;
use crate::postgres::PgConnection;
use crate::store::{Written, is_of_an_item, single_out};

/// What became of a chunk.
pub(crate) struct Stored {
    /// Bars that are stored now.
    pub rows: usize,
    pub written: Written,
    /// Bars that the table has no room for, by their places in the delivery.
    pub refused: Vec<(usize, Refusal)>,
}

/// Stores chunk after chunk in one transaction, and remembers what the table has no room for.
#[derive(Default)]
pub(crate) struct Careful {
    /// Known since the server has refused a chunk.
    room: Option<Room>,
}

impl Careful {
    /// Stores `rows`, which are in order and have no key twice, but for those that the table has no room for.
    ///
    /// # Errors
    /// `Item` of a bar that the server refuses for another reason; those of the database.
    pub async fn chunk(
        &mut self,
        connection: &PgConnection,
        mut rows: Vec<Row<'_>>,
    ) -> Result<Stored> {
        let mut refused = Vec::new();
        if let Some(room) = &self.room {
            rows = with_room(room, rows, &mut refused);
        }
        loop {
            connection.batch("SAVEPOINT chunk").await?;
            let error = match store::chunk(connection, &rows).await {
                Ok(written) => {
                    connection.batch("RELEASE SAVEPOINT chunk").await?;
                    return Ok(Stored { rows: rows.len(), written, refused });
                }
                Err(error) if is_of_an_item(&error) => error,
                Err(error) => return Err(error),
            };
            connection.batch("ROLLBACK TO SAVEPOINT chunk; RELEASE SAVEPOINT chunk").await?;
            let (before, room) = (rows.len(), Room::read(connection).await?);
            rows = with_room(&room, rows, &mut refused);
            self.room = Some(room);
            if rows.len() == before {
                let found = single_out(connection, &rows, error, |connection, rows| {
                    store::merge(connection, rows).map_ok(drop).boxed()
                });
                return match found.await {
                    (Some(position), error) => Err(error.at(rows[position].index)),
                    (None, error) => Err(error),
                };
            }
        }
    }
}

/// The rows that there is room for.
fn with_room<'a>(
    room: &Room,
    rows: Vec<Row<'a>>,
    refused: &mut Vec<(usize, Refusal)>,
) -> Vec<Row<'a>> {
    let mut kept = Vec::with_capacity(rows.len());
    for row in rows {
        match room.refusal(row.bar.date) {
            Some(refusal) => refused.push((row.index, refusal)),
            None => kept.push(row),
        }
    }
    kept
}
