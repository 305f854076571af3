//! The log of changes to accounts, portfolios and positions.

use std::time::Duration;

use async_trait::async_trait;
use diesel::pg::Pg;
use diesel::prelude::{ExpressionMethods, QueryDsl, SelectableHelper};
use diesel::sql_types::Interval;
use futures_util::FutureExt;
use futures_util::stream::BoxStream;

use super::entry::{AuditEntry, AuditFilter};
use crate::error::{Result, unsupported};
use crate::schema::audit_log;
use crate::store::{Session, SweepReport, newest_first, settled};
use crate::types::{Page, PageRequest, bound, span, stream_pages};

/// Changes of accounts, portfolios and positions: who, when, and what changed. Triggers of the tables write
/// them, whichever program changes a row; only retention and the erasure of an account remove
/// entries. In a user's name ([`Database::as_user`](crate::Database::as_user)) only changes of that user's rows are there.
#[async_trait]
// Names that a default does not use document the arguments.
#[allow(unused_variables)]
pub trait AuditRepository: Send + Sync {
    /// Entries, the latest first.
    async fn list(&self, filter: &AuditFilter, page: &PageRequest) -> Result<Page<AuditEntry>>;

    /// All entries of the filter, newest first, page by page: see [`stream_pages`](crate::types::stream_pages).
    fn stream<'a>(&'a self, filter: &'a AuditFilter) -> BoxStream<'a, Result<AuditEntry>> {
        stream_pages(move |page| async move { self.list(filter, &page).await }.boxed())
    }

    /// How many entries there are.
    async fn count(&self, filter: &AuditFilter) -> Result<u64> {
        unsupported("audit.count")
    }

    /// Deletes entries that are older than `age`, the oldest first, up to `limit` of them.
    ///
    /// # Errors
    /// `Denied` in a user's name.
    async fn sweep(&self, limit: u32, age: Duration) -> Result<SweepReport> {
        unsupported("audit.sweep")
    }
}

/// [`AuditRepository`] on PostgreSQL.
#[derive(Clone)]
pub(crate) struct PgAudit {
    session: Session,
}

impl PgAudit {
    pub(crate) fn new(session: Session) -> Self {
        PgAudit { session }
    }
}

/// The entries of a filter, as a boxed query.
fn filtered(filter: &AuditFilter) -> audit_log::BoxedQuery<'_, Pg> {
    let mut query = audit_log::table.into_boxed();
    if let Some(user_id) = filter.user_id {
        query = query.filter(audit_log::user_id.eq(user_id));
    }
    if let Some(row_id) = filter.row_id {
        query = query.filter(audit_log::row_id.eq(row_id));
    }
    if let Some(table_name) = filter.table_name {
        query = query.filter(audit_log::table_name.eq(table_name));
    }
    if let Some(actor_id) = filter.actor_id {
        query = query.filter(audit_log::actor_id.eq(actor_id));
    }
    if let Some(from) = filter.from {
        query = query.filter(audit_log::recorded_at.ge(bound::ceil(from)));
    }
    if let Some(before) = filter.before {
        query = query.filter(audit_log::recorded_at.lt(bound::ceil(before)));
    }
    query
}

settled!(
    #[async_trait]
    impl AuditRepository for PgAudit {
        #[tracing::instrument(level = "debug", name = "audit.list", skip_all)]
        async fn list(&self, filter: &AuditFilter, page: &PageRequest) -> Result<Page<AuditEntry>> {
            let query =
                newest_first!(filtered(filter), page, audit_log::recorded_at, audit_log::id);
            self.session
                .fetch_page(query.select(AuditEntry::as_select()), page, "recorded_at")
                .await
        }

        #[tracing::instrument(level = "debug", name = "audit.count", skip_all)]
        async fn count(&self, filter: &AuditFilter) -> Result<u64> {
            let count: i64 = self.session.fetch_one(filtered(filter).count()).await?;
            Ok(count.unsigned_abs())
        }

        #[tracing::instrument(level = "debug", name = "audit.sweep", skip_all)]
        async fn sweep(&self, limit: u32, age: Duration) -> Result<SweepReport> {
            let statement = diesel::sql_query(format!(
            "
    WITH doomed AS MATERIALIZED (
        SELECT user_id, recorded_at, id FROM audit_log
        WHERE recorded_at < now() - $1::INTERVAL
        ORDER BY recorded_at LIMIT {limit}
    )
    DELETE FROM audit_log AS entry USING doomed
    WHERE entry.user_id = doomed.user_id AND entry.recorded_at = doomed.recorded_at AND entry.id = doomed.id"
        ));
            let atomic = self.session.atomic().await?;
            // The log protects itself against everything else.
            atomic.batch("SET LOCAL buffetbot.audit_log = 'may shrink'").await?;
            let deleted = atomic.run(statement.bind::<Interval, _>(span::age(age))).await?;
            atomic.batch("SET LOCAL buffetbot.audit_log = ''").await?;
            atomic.commit().await?;
            Ok(SweepReport::new(deleted, limit))
        }
    }
);
