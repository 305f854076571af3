//! Results of analyses.

mod expiry;
mod lineage;
mod outdated;
mod statements;
mod write;

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use diesel::dsl::{avg, count, count_star, exists, max, min, now};
use diesel::prelude::{
    AggregateExpressionMethods, BoolExpressionMethods, ExpressionMethods, IntoSql,
    NullableExpressionMethods, PgJsonbExpressionMethods, QueryDsl, SelectableHelper,
};
use diesel::sql_types::Timestamptz;

use self::statements::{SummaryRow, summed};
pub(crate) use self::write::insert;
use super::key::{AnalysisFilter, AnalysisKey, AnalysisScope, AnalysisSelector, AnalysisSummary};
use super::lineage::Lineage;
use super::patch::AnalysisPatch;
use super::repository::AnalysisRepository;
use super::result::{AnalysisResult, NewAnalysis};
use crate::error::{Entity, Error, Result};
use crate::postgres::PgConnection;
use crate::schema::analysis_results;
use crate::store::{Aged, Session, SweepReport, newest_first, settled};
use crate::types::{
    AnalysisId, AnalysisType, Document, Listed, Page, PageRequest, PortfolioId, Ticker, bound,
};

/// [`AnalysisRepository`] on PostgreSQL.
#[derive(Clone)]
pub(crate) struct PgAnalyses {
    session: Session,
}

impl PgAnalyses {
    pub(crate) fn new(session: Session) -> Self {
        PgAnalyses { session }
    }
}

/// Holds for rows that have not expired.
macro_rules! is_fresh {
    () => {
        analysis_results::expires_at.is_null().or(analysis_results::expires_at.gt(now))
    };
}

/// Restricts a boxed query to the rows of a filter.
macro_rules! filtered {
    ($query:expr, $filter:expr) => {{
        let mut query = $query;
        query = match $filter.scope {
            AnalysisScope::Public => query.filter(analysis_results::portfolio_id.is_null()),
            AnalysisScope::Portfolio(id) => query.filter(analysis_results::portfolio_id.eq(id)),
            AnalysisScope::All => query,
        };
        if let Some(tickers) = &$filter.tickers {
            query = query.filter(analysis_results::ticker.eq_any(tickers));
        }
        if let Some(types) = &$filter.analysis_types {
            query = query.filter(analysis_results::analysis_type.eq_any(types));
        }
        if let Some(strategy) = &$filter.strategy {
            query = query.filter(analysis_results::strategy.eq(strategy));
        }
        if let Some(recommendation) = &$filter.recommendation {
            query = query.filter(analysis_results::recommendation.eq(recommendation));
        }
        if let Some(from) = $filter.calculated_from {
            query = query.filter(analysis_results::calculated_at.ge(bound::ceil(from)));
        }
        if let Some(before) = $filter.calculated_before {
            query = query.filter(analysis_results::calculated_at.lt(bound::ceil(before)));
        }
        if let Some(part) = &$filter.metadata_contains {
            query = query.filter(analysis_results::metadata.contains(part));
        }
        match $filter.is_fresh {
            Some(true) => query.filter(is_fresh!()),
            Some(false) => query.filter(analysis_results::expires_at.le(now)),
            None => query,
        }
    }};
}

/// The rows of a key, the one computed last first, as a boxed query. Public and private rows have an
/// index each. Of IS NOT DISTINCT FROM the planner believes that hardly a row passes, and then reads
/// and sorts all of a ticker instead of taking the first row from the index.
macro_rules! of_key {
    ($key:expr) => {{
        let query = analysis_results::table
            .filter(analysis_results::ticker.eq(&$key.ticker))
            .filter(analysis_results::analysis_type.eq($key.analysis_type))
            .order((analysis_results::calculated_at.desc(), analysis_results::id.desc()))
            .into_boxed();
        let query = match &$key.parameters {
            Some(parameters) => query.filter(analysis_results::parameters.eq(parameters)),
            None => query.filter(analysis_results::parameters.is_null()),
        };
        match $key.portfolio {
            Some(portfolio) => query.filter(analysis_results::portfolio_id.eq(portfolio)),
            None => query.filter(analysis_results::portfolio_id.is_null()),
        }
    }};
}

/// The result of a key that was computed last, and the database's time.
pub(crate) async fn newest(
    connection: &PgConnection,
    key: &AnalysisKey,
) -> Result<Option<(AnalysisResult, DateTime<Utc>)>> {
    let columns = (AnalysisResult::as_select(), now.into_sql::<Timestamptz>());
    connection.fetch_optional(of_key!(key).limit(1).select(columns)).await
}

/// One page of a boxed query, newest first.
macro_rules! page_of {
    ($self:ident, $query:expr, $page:expr) => {{
        let at = analysis_results::calculated_at;
        let query = newest_first!($query, $page, at, analysis_results::id);
        $self
            .session
            .fetch_page(query.select(AnalysisResult::as_select()), $page, "calculated_at")
            .await
    }};
}

settled!(
    #[async_trait]
    impl AnalysisRepository for PgAnalyses {
        #[tracing::instrument(level = "debug", name = "analyses.create", skip_all)]
        async fn create(&self, analysis: &NewAnalysis) -> Result<AnalysisResult> {
            analysis.validate()?;
            write::create(&self.session, analysis).await
        }

        #[tracing::instrument(level = "debug", name = "analyses.create_many", skip_all)]
        async fn create_many(&self, analyses: &[NewAnalysis]) -> Result<Vec<AnalysisResult>> {
            for (index, analysis) in analyses.iter().enumerate() {
                analysis.validate().map_err(|e| e.at(index))?;
            }
            write::create_many(&self.session, analyses).await
        }

        #[tracing::instrument(level = "debug", name = "analyses.find", skip_all)]
        async fn find(&self, id: AnalysisId) -> Result<Option<AnalysisResult>> {
            let query = analysis_results::table.find(id).select(AnalysisResult::as_select());
            self.session.fetch_optional(query).await
        }

        #[tracing::instrument(level = "debug", name = "analyses.list", skip_all)]
        async fn list(
            &self,
            filter: &AnalysisFilter,
            page: &PageRequest,
        ) -> Result<Page<AnalysisResult>> {
            page_of!(self, filtered!(analysis_results::table.into_boxed(), filter), page)
        }

        #[tracing::instrument(level = "debug", name = "analyses.count", skip_all)]
        async fn count(&self, filter: &AnalysisFilter) -> Result<u64> {
            let query = filtered!(analysis_results::table.into_boxed(), filter).count();
            let count: i64 = self.session.fetch_one(query).await?;
            Ok(count.unsigned_abs())
        }

        #[tracing::instrument(level = "debug", name = "analyses.exists", skip_all)]
        async fn exists(&self, id: AnalysisId) -> Result<bool> {
            self.session.fetch_one(diesel::select(exists(analysis_results::table.find(id)))).await
        }

        #[tracing::instrument(level = "debug", name = "analyses.update", skip_all)]
        async fn update(&self, id: AnalysisId, patch: &AnalysisPatch) -> Result<AnalysisResult> {
            patch.validate()?;
            let not_found = || Error::not_found(Entity::AnalysisResult, id);
            if *patch == AnalysisPatch::default() {
                let found = self.find(id).await?;
                return found.ok_or_else(not_found);
            }
            let update = diesel::update(analysis_results::table.find(id)).set(patch);
            let update = update.returning(AnalysisResult::as_returning());
            let updated = self.session.write_optional(update).await?;
            updated.ok_or_else(not_found)
        }

        #[tracing::instrument(level = "debug", name = "analyses.delete", skip_all)]
        async fn delete(&self, id: AnalysisId) -> Result<bool> {
            let row = diesel::delete(analysis_results::table.find(id));
            Ok(self.session.delete(row).await? > 0)
        }

        #[tracing::instrument(level = "debug", name = "analyses.latest_fresh", skip_all)]
        async fn latest_fresh(&self, key: &AnalysisKey) -> Result<Option<AnalysisResult>> {
            let query = of_key!(key).filter(is_fresh!()).limit(1);
            self.session.fetch_optional(query.select(AnalysisResult::as_select())).await
        }

        #[tracing::instrument(level = "debug", name = "analyses.latest_fresh_many", skip_all)]
        async fn latest_fresh_many(
            &self,
            tickers: &[Ticker],
            analysis_type: AnalysisType,
            parameters: Option<&Document>,
        ) -> Result<Listed<Option<AnalysisResult>>> {
            statements::latest_fresh_many(&self.session, tickers, analysis_type, parameters).await
        }

        #[tracing::instrument(level = "debug", name = "analyses.latest", skip_all)]
        async fn latest(&self, key: &AnalysisKey) -> Result<Option<Aged<AnalysisResult>>> {
            let found = newest(&*self.session.connection().await?, key).await;
            let found = found.map_err(|error| self.session.named(error))?;
            Ok(found.map(|(analysis, seen_at)| {
                let (made, expires) = (analysis.calculated_at, analysis.expires_at);
                Aged::new(analysis, made, expires, seen_at)
            }))
        }

        #[tracing::instrument(level = "debug", name = "analyses.history_for_ticker", skip_all)]
        async fn history_for_ticker(
            &self,
            ticker: &Ticker,
            analysis_type: Option<AnalysisType>,
            page: &PageRequest,
        ) -> Result<Page<AnalysisResult>> {
            let mut query = analysis_results::table
                .filter(analysis_results::portfolio_id.is_null())
                .filter(analysis_results::ticker.eq(ticker))
                .into_boxed();
            if let Some(analysis_type) = analysis_type {
                query = query.filter(analysis_results::analysis_type.eq(analysis_type));
            }
            page_of!(self, query, page)
        }

        #[tracing::instrument(level = "debug", name = "analyses.history_for_portfolio", skip_all)]
        async fn history_for_portfolio(
            &self,
            portfolio: PortfolioId,
            ticker: Option<&Ticker>,
            page: &PageRequest,
        ) -> Result<Page<AnalysisResult>> {
            let mut query = analysis_results::table
                .filter(analysis_results::portfolio_id.eq(portfolio))
                .into_boxed();
            if let Some(ticker) = ticker {
                query = query.filter(analysis_results::ticker.eq(ticker));
            }
            page_of!(self, query, page)
        }

        #[tracing::instrument(level = "debug", name = "analyses.summary", skip_all)]
        async fn summary(&self, filter: &AnalysisFilter) -> Result<Listed<AnalysisSummary>> {
            let by_type = analysis_results::table
                .group_by(analysis_results::analysis_type)
                .select((
                    analysis_results::analysis_type,
                    count_star(),
                    count(analysis_results::id).aggregate_filter(is_fresh!().assume_not_null()),
                    avg(analysis_results::score),
                    avg(analysis_results::confidence_level),
                    avg(analysis_results::data_quality_score),
                    min(analysis_results::calculated_at).assume_not_null(),
                    max(analysis_results::calculated_at).assume_not_null(),
                ))
                .order(analysis_results::analysis_type)
                .into_boxed();
            let rows: Listed<SummaryRow> =
                self.session.fetch_list(filtered!(by_type, filter)).await?;
            Ok(rows.map(|rows| rows.into_iter().map(summed).collect()))
        }

        #[tracing::instrument(level = "debug", name = "analyses.invalidate", skip_all)]
        async fn invalidate(&self, selector: &AnalysisSelector) -> Result<u64> {
            if *selector == AnalysisSelector::default() {
                let unnamed =
                    Error::invalid("selector", "must name a ticker, type, portfolio or age");
                return Err(unnamed);
            }
            expiry::invalidate(&self.session, selector).await
        }

        #[tracing::instrument(level = "debug", name = "analyses.invalidate_stale_inputs", skip_all)]
        async fn invalidate_stale_inputs(&self, ticker: Option<&Ticker>) -> Result<u64> {
            outdated::expire(&self.session, ticker).await
        }

        #[tracing::instrument(level = "debug", name = "analyses.lineage", skip_all)]
        async fn lineage(&self, id: AnalysisId) -> Result<Option<Lineage>> {
            lineage::of(&self.session, id).await
        }

        #[tracing::instrument(level = "debug", name = "analyses.sweep_expired", skip_all)]
        async fn sweep_expired(&self, limit: u32, grace: Duration) -> Result<SweepReport> {
            expiry::sweep_expired(&self.session, limit, grace).await
        }
    }
);
