//! Snapshots as text: what a reader of a log has seen.

use diesel::prelude::QueryableByName;
use diesel::sql_types::Text;

/// The snapshot of now, as a [`Snapshot`].
pub(crate) const SNAPSHOT: &str = "SELECT pg_current_snapshot()::TEXT AS snapshot";

#[derive(QueryableByName)]
pub(crate) struct Snapshot {
    #[diesel(sql_type = Text)]
    pub snapshot: String,
}

/// The transaction below which everything was visible to a snapshot: its first part.
pub(crate) fn oldest(snapshot: &str) -> &str {
    snapshot.split(':').next().unwrap_or("0")
}
