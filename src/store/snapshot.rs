//! Snapshots as text: what a reader of a log has seen.

use diesel::prelude::QueryableByName;
use diesel::sql_types::Text;

/// The present snapshot, as a [`Snapshot`].
pub(crate) const SNAPSHOT: &str = "SELECT pg_current_snapshot()::TEXT AS snapshot";

/// The present snapshot as text, to which what this transaction itself has written is not visible. PostgreSQL leaves the
/// own transaction out of a snapshot's list, so that it looks finished as soon as a younger one has ended; what is
/// written in it later would be taken for read.
pub(crate) const SNAPSHOT_OF_OTHERS: &str = "
    SELECT CASE WHEN own.id < pg_snapshot_xmax(snapshot) THEN format('%s:%s:%s', pg_snapshot_xmin(snapshot),
            pg_snapshot_xmax(snapshot), (SELECT string_agg(open.id::TEXT, ',' ORDER BY open.id)
                FROM (SELECT pg_snapshot_xip(snapshot) AS id UNION SELECT own.id) open))
        ELSE snapshot::TEXT END AS snapshot
    FROM pg_current_snapshot() AS snapshot, pg_current_xact_id_if_assigned() AS own (id)";

#[derive(QueryableByName)]
pub(crate) struct Snapshot {
    #[diesel(sql_type = Text)]
    pub snapshot: String,
}

/// The transaction below which everything was visible to a snapshot: its first part.
pub(crate) fn oldest(snapshot: &str) -> &str {
    snapshot.split(':').next().unwrap_or("0")
}
