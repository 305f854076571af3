//! Values that may be unreadable, beside others of their row.

use std::fmt;

use diesel::deserialize::{self, FromSql};
use diesel::pg::{Pg, PgValue};

use crate::error::Unreadable;
use crate::postgres::unreadable;

/// A value of a row, or what is wrong with it, so that the row's other values are not lost with it.
#[derive(Debug)]
pub(crate) struct Tried<T>(Result<T, String>);

impl<T> Tried<T> {
    /// The value, or the row that cannot be read.
    pub fn of(self, table: &str, key: impl fmt::Display, column: &str) -> Result<T, Unreadable> {
        self.0.map_err(|reason| Unreadable {
            table: table.into(),
            key: key.to_string(),
            column: column.into(),
            reason,
        })
    }
}

impl<T, ST> FromSql<ST, Pg> for Tried<T>
where
    T: FromSql<ST, Pg>,
{
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        Ok(Tried(T::from_sql(value).map_err(|error| unreadable(error).reason)))
    }
}
