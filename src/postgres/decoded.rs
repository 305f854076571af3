//! Received rows as the caller's types; of one that does not decode, which row it is.

use diesel::deserialize::FromSqlRow;
use diesel::pg::Pg;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::driver_row::PgRow;
use super::reported::unreadable;
use crate::error::{Unreadable, shown};
use crate::types::{Cursor, Ticker};

/// The row as a `U`, or what is wrong with it; the caller knows the table.
pub(super) fn decoded<U, ST>(row: &PgRow) -> Result<U, Unreadable>
where
    U: FromSqlRow<ST, Pg>,
{
    U::build_from_row(row).map_err(|error| {
        let mut unreadable = unreadable(error);
        if unreadable.column == Unreadable::UNKNOWN
            && let Some(column) = row.asked()
        {
            unreadable.column = column.into();
        }
        match &*unreadable.key {
            Unreadable::UNKNOWN => Unreadable { key: key(row), ..unreadable },
            _ => unreadable,
        }
    })
}

/// Texts that name a row which has no id. No others: they may be private.
const NAMES: [&str; 4] = ["ticker", "data_type", "analysis_type", "name"];

/// What names a row, whichever of its values decode: its id, else the first other id, else a name.
fn key(row: &PgRow) -> String {
    let columns = || row.columns().iter().enumerate();
    let own = columns().filter(|(_, column)| column.name() == "id");
    let others = columns().filter(|(_, column)| *column.type_() == Type::UUID);
    let names = NAMES.iter().flat_map(|name| columns().filter(|(_, c)| c.name() == *name));
    let shown = own.chain(others).chain(names).find_map(|(index, column)| {
        let bytes = row.raw(index)?;
        Some(match *column.type_() {
            Type::UUID => Uuid::from_slice(bytes).ok()?.to_string(),
            Type::INT8 => i64::from_be_bytes(bytes.try_into().ok()?).to_string(),
            Type::TEXT | Type::VARCHAR => named(bytes)?,
            _ => return None,
        })
    });
    shown.unwrap_or_else(|| Unreadable::UNKNOWN.into())
}

/// A name as it is, or where it would not be seen whole, escaped.
fn named(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let is_plain = text.len() <= Ticker::MAX_LENGTH && text.bytes().all(|b| b.is_ascii_graphic());
    Some(if is_plain { text.to_owned() } else { shown(text) })
}

/// A row's place in a list that is sorted by the time of column `at`, then by id.
pub(super) fn place(row: &PgRow, at: &str) -> Option<Cursor> {
    let raw = |name: &str| {
        let index = row.columns().iter().position(|column| column.name() == name)?;
        row.raw(index)
    };
    Cursor::of(raw(at)?, raw("id")?)
}
