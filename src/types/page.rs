//! Keyset pages.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::text::shown;
use crate::error::{Error, Result};

/// Which page of a list: how many rows, after which one. Rows written meanwhile neither repeat nor
/// hide others, as they would with offsets, and a late page costs no more than the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    pub(crate) limit: u32,
    pub(crate) after: Option<Cursor>,
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

    /// One row more than asked for tells whether there is a next page.
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
}

impl<T> Page<T> {
    /// A page of the rows fetched by [`PageRequest::fetch_limit`]; `key` gives a row's place.
    pub(crate) fn new(mut rows: Vec<T>, request: &PageRequest, key: impl Fn(&T) -> Cursor) -> Self {
        let limit = request.limit as usize;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(key);
        Page { items: rows, next }
    }
}

/// A row's place in a list: its sort time, then its id. As text it can travel in a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cursor {
    pub(crate) at: DateTime<Utc>,
    pub(crate) id: Uuid,
}

impl Cursor {
    pub(crate) fn new(at: DateTime<Utc>, id: impl Into<Uuid>) -> Self {
        Cursor { at, id: id.into() }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.at.timestamp_micros(), self.id.simple())
    }
}

impl FromStr for Cursor {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let parsed = text.split_once('_').and_then(|(micros, id)| {
            let at = DateTime::from_timestamp_micros(micros.parse().ok()?)?;
            Some(Cursor { at, id: Uuid::parse_str(id).ok()? })
        });
        parsed.ok_or_else(|| Error::invalid("cursor", format!("{} is none", shown(text))))
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
