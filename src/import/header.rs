//! A file's columns by name.

use csv::ByteRecord;

use crate::error::{Error, Result};

/// The columns of a file, in one spelling: lower case, words joined by `_`.
pub(super) struct Header {
    names: Vec<String>,
    used: Vec<bool>,
}

impl Header {
    pub fn new(record: &ByteRecord) -> Self {
        let names: Vec<String> = record.iter().map(spelling).collect();
        Header { used: vec![false; names.len()], names }
    }

    /// The place of the column with one of these names.
    ///
    /// # Errors
    /// [`Error::Invalid`]: there are several.
    pub fn find(&mut self, names: &[&str]) -> Result<Option<usize>> {
        let is_wanted = |i: &usize| names.contains(&self.names[*i].as_str());
        let mut found = (0..self.names.len()).filter(is_wanted);
        let (first, second) = (found.next(), found.next());
        if let (Some(_), Some(_)) = (first, second) {
            return Err(Error::invalid("header", format!("several columns for {}", names[0])));
        }
        if let Some(place) = first {
            self.used[place] = true;
        }
        Ok(first)
    }

    /// As [`find`](Self::find), of a column that must be there.
    ///
    /// # Errors
    /// [`Error::Invalid`]: it does not exist, or exists more than once.
    pub fn require(&mut self, names: &[&str]) -> Result<usize> {
        self.find(names)?.ok_or_else(|| {
            Error::invalid("header", format!("no column {}, which is needed", names.join(" or ")))
        })
    }

    /// The names of the columns that nobody asked for, by place.
    pub fn ignored(self) -> Vec<String> {
        let unused = self.names.into_iter().zip(self.used).filter(|(_, used)| !used);
        unused.map(|(name, _)| name).collect()
    }
}

/// `Adj Close` and `adj-close` are `adj_close`.
fn spelling(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    let name = name.trim_start_matches('\u{feff}').trim().to_lowercase();
    name.replace([' ', '-'], "_")
}
