//! How statements are sent, and who hears of them.

use std::sync::Arc;
use std::time::Duration;

/// How statements are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StatementMode {
    /// Prepared once per connection and kept by text: the fastest, for a direct connection, or
    /// PgBouncer 1.21 and later with `max_prepared_statements` (in transaction mode with
    /// [`Config::transaction_pooler`](crate::Config::transaction_pooler)).
    #[default]
    Prepared,
    /// Unnamed and in one round trip, nothing kept on the server: for older PgBouncers in
    /// transaction mode. About 1.6 times the time of a prepared read.
    OneTrip,
}

/// A finished statement, as reported to a [`QueryObserver`]. Never the values bound to it.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct QueryReport<'a> {
    /// The statement's text, with placeholders.
    pub sql: &'a str,
    /// Rows returned or changed.
    pub rows: u64,
    /// From sending the statement until its last row was here.
    pub elapsed: Duration,
    /// The server's code where it failed, `"?"` where the connection did.
    pub sqlstate: Option<&'a str>,
}

/// Called after every statement, on the task that ran it; it should return quickly.
pub type QueryObserver = Arc<dyn Fn(&QueryReport<'_>) + Send + Sync>;
