//! Prepared statements by their text, bounded.

use std::num::NonZeroUsize;

use lru::LruCache;
use tokio_postgres::Statement;
use tokio_postgres::types::Type;

/// The statements that one connection keeps prepared, least recently used out first. The driver
/// closes a statement on the server when its last clone is dropped.
pub(super) struct Statements {
    by_text: LruCache<Box<str>, Statement>,
}

impl Statements {
    pub fn new(capacity: NonZeroUsize) -> Self {
        // One made with its capacity takes the room for all of it at once.
        let mut by_text = LruCache::unbounded();
        by_text.resize(capacity);
        Statements { by_text }
    }

    /// The statement for this text and these bind types. One text can come with other types (a
    /// generic expression over `i32`, then `i64`); a statement prepared for those does not match.
    pub fn get(&mut self, sql: &str, types: &[Type]) -> Option<Statement> {
        let statement = self.by_text.get(sql)?;
        let params = statement.params();
        let fits = params.len() == types.len()
            // OID 0 leaves the choice to the server: whatever it chose fits.
            && params.iter().zip(types).all(|(has, asked)| asked.oid() == 0 || has.oid() == asked.oid());
        fits.then(|| statement.clone())
    }

    pub fn put(&mut self, sql: &str, statement: Statement) {
        self.by_text.put(sql.into(), statement);
    }

    pub fn forget(&mut self, sql: &str) {
        self.by_text.pop(sql);
    }

    pub fn len(&self) -> usize {
        self.by_text.len()
    }
}
