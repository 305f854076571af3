//! Keyset pages.

use std::fmt;
use std::str::FromStr;

use diesel::data_types::PgTimestamp;
use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

use crate::error::{Error, Result, Unreadable, shown};

/// Which page of a list: how many rows, after which one. Rows written meanwhile neither repeat nor
/// hide others, as they would with offsets, and a late page costs no more than the first.
///
/// As JSON, such as the query of a web page: `{"limit": 50, "after": "..."}`, both may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PageRequest {
    #[serde(deserialize_with = "limited")]
    pub(crate) limit: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<Cursor>,
}

/// A limit of a page.
fn limited<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    Ok(PageRequest::first(u32::deserialize(deserializer)?).limit)
}

impl PageRequest {
    /// Most rows of a page.
    pub const MAX_LIMIT: u32 = 10_000;

    /// The first page, of up to `limit` rows (brought into 1 to 10,000).
    pub fn first(limit: u32) -> Self {
        PageRequest { limit: limit.clamp(1, Self::MAX_LIMIT), after: None }
    }

    /// The page that follows the row of `cursor`.
    pub fn after(limit: u32, cursor: Cursor) -> Self {
        PageRequest { after: Some(cursor), ..Self::first(limit) }
    }

    /// One row more than asked for shows whether there is a next page.
    pub(crate) fn fetch_limit(&self) -> i64 {
        i64::from(self.limit) + 1
    }
}

impl Default for PageRequest {
    /// The first 100 rows.
    fn default() -> Self {
        PageRequest::first(100)
    }
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The rows, in the list's order.
    pub items: Vec<T>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<Cursor>,
    /// Rows of the page that cannot be read, and so are not among its items. The next page begins after them all the
    /// same.
    #[serde(default)]
    pub unreadable: Vec<Unreadable>,
}

/// A row's place in a list: its sort time, then its id. As text it can travel in a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cursor {
    /// Microseconds since 2000, as PostgreSQL has them: also of times that chrono does not hold.
    pub(crate) at: i64,
    pub(crate) id: Uuid,
}

/// The times before and after all others.
const INFINITE: [(i64, &str); 2] = [(i64::MIN, "-infinity"), (i64::MAX, "infinity")];

/// Microseconds from 1970 to 2000.
const EPOCH: i128 = 946_684_800_000_000;

impl Cursor {
    /// The place of a row by its sort time and id, both in PostgreSQL's binary form.
    pub(crate) fn of(at: &[u8], id: &[u8]) -> Option<Self> {
        let at = i64::from_be_bytes(at.try_into().ok()?);
        Some(Cursor { at, id: Uuid::from_slice(id).ok()? })
    }

    /// The sort time, to compare a column with.
    pub(crate) fn time(&self) -> PgTimestamp {
        PgTimestamp(self.at)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match INFINITE.iter().find(|(at, _)| *at == self.at) {
            Some((_, name)) => write!(f, "{name}_{}", self.id.simple()),
            None => write!(f, "{}_{}", i128::from(self.at) + EPOCH, self.id.simple()),
        }
    }
}

impl FromStr for Cursor {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let parsed = text.split_once('_').and_then(|(time, id)| {
            let at = match INFINITE.iter().find(|(_, name)| *name == time) {
                Some((at, _)) => *at,
                None => i64::try_from(time.parse::<i128>().ok()?.checked_sub(EPOCH)?).ok()?,
            };
            Some(Cursor { at, id: Uuid::parse_str(id).ok()? })
        });
        parsed.ok_or_else(|| Error::invalid("cursor", format!("{} is not a cursor", shown(text))))
    }
}

impl TryFrom<String> for Cursor {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Cursor> for String {
    fn from(cursor: Cursor) -> String {
        cursor.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_the_same_as_text_whatever_its_time() {
        let id = Uuid::from_u128(7);
        for at in [i64::MIN, i64::MAX, 0, -1, i64::MAX - 1, i64::MIN + 1] {
            let cursor = Cursor { at, id };
            assert_eq!(cursor.to_string().parse::<Cursor>().expect("a cursor"), cursor);
        }
        // As it was written before: microseconds since 1970.
        let text = format!("1704164645000006_{}", id.simple());
        let cursor: Cursor = text.parse().expect("a cursor");
        assert_eq!((cursor.to_string(), cursor.at), (text, 757_479_845_000_006));
        for wrong in
            ["", "_", "1_2", "x_0", "infinity", "99999999999999999999999999999999999999999_7"]
        {
            assert!(wrong.parse::<Cursor>().is_err(), "{wrong}");
        }
    }
}
