//! Portfolios in PostgreSQL.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use diesel::dsl::exists;
use diesel::pg::Pg;
use diesel::prelude::{
    BoolExpressionMethods, ExpressionMethods, JoinOnDsl, NullableExpressionMethods, QueryDsl,
    SelectableHelper,
};
use diesel::sql_types::{Nullable, Text, Timestamptz, Uuid as SqlUuid};
use futures_util::FutureExt;

use crate::error::{Entity, Error, Result};
use crate::portfolios::portfolio::{
    NewPortfolio, Portfolio, PortfolioFilter, PortfolioPatch, PortfolioSummary,
    PortfolioWithPositions, check_portfolio_name,
};
use crate::portfolios::portfolio_repository::PortfolioRepository;
use crate::portfolios::position::Position;
use crate::portfolios::valuation::{Valuation, ValuationRow};
use crate::schema::{portfolios, positions};
use crate::store::{Session, batch, newest_first, settled, tables};
use crate::types::{
    Activity, Listed, Page, PageRequest, PortfolioId, RiskTolerance, UserId, bound, of_activity,
    text,
};

/// [`PortfolioRepository`] on PostgreSQL.
#[derive(Clone)]
pub(crate) struct PgPortfolios {
    session: Session,
}

impl PgPortfolios {
    pub(crate) fn new(session: Session) -> Self {
        PgPortfolios { session }
    }

    /// The portfolio and then its positions.
    async fn and_positions(
        &self,
        id: PortfolioId,
        activity: Activity,
    ) -> Result<Option<PortfolioWithPositions>> {
        let Some(portfolio) = self.find(id).await? else {
            return Ok(None);
        };
        let query = positions::table.filter(positions::portfolio_id.eq(id)).into_boxed();
        let query = of_activity!(query, activity, positions::is_active);
        let query = query.order(positions::ticker).select(Position::as_select());
        let Listed { items, unreadable } =
            self.session.about(&tables::POSITIONS).fetch_list(query).await?;
        Ok(Some(PortfolioWithPositions { portfolio, positions: items, unreadable }))
    }
}

/// The rows of a filter, as a boxed query.
fn filtered(filter: &PortfolioFilter) -> portfolios::BoxedQuery<'_, Pg> {
    let mut query = portfolios::table.into_boxed();
    if let Some(user_id) = filter.user_id {
        query = query.filter(portfolios::user_id.eq(user_id));
    }
    if let Some(risk_tolerance) = filter.risk_tolerance {
        query = query.filter(portfolios::risk_tolerance.eq(risk_tolerance));
    }
    of_activity!(query, filter.activity, portfolios::is_active)
}

settled!(
    #[async_trait]
    impl PortfolioRepository for PgPortfolios {
        #[tracing::instrument(level = "debug", name = "portfolios.create", skip_all)]
        async fn create(&self, portfolio: &NewPortfolio) -> Result<Portfolio> {
            portfolio.validate()?;
            let insert = diesel::insert_into(portfolios::table).values(portfolio);
            self.session.write_one(insert.returning(Portfolio::as_returning())).await
        }

        #[tracing::instrument(level = "debug", name = "portfolios.create_many", skip_all)]
        async fn create_many(&self, portfolios: &[NewPortfolio]) -> Result<Vec<Portfolio>> {
            for (index, portfolio) in portfolios.iter().enumerate() {
                portfolio.validate().map_err(|e| e.at(index))?;
            }
            batch::insert_many(
                &self.session,
                portfolios,
                |portfolio| (portfolio.user_id, portfolio.id),
                |connection, rows| {
                    let insert = diesel::insert_into(portfolios::table).values(rows);
                    connection.write_all(insert.returning(Portfolio::as_returning())).boxed()
                },
            )
            .await
        }

        #[tracing::instrument(level = "debug", name = "portfolios.find", skip_all)]
        async fn find(&self, id: PortfolioId) -> Result<Option<Portfolio>> {
            self.session
                .fetch_optional(portfolios::table.find(id).select(Portfolio::as_select()))
                .await
        }

        #[tracing::instrument(level = "debug", name = "portfolios.find_by_name", skip_all)]
        async fn find_by_name(&self, user: UserId, name: &str) -> Result<Option<Portfolio>> {
            text::check("name", name, text::UNLIMITED)?;
            let query = portfolios::table
                .filter(portfolios::user_id.eq(user).and(portfolios::name.eq(name)))
                .order((
                    portfolios::is_active.desc(),
                    portfolios::created_at.desc(),
                    portfolios::id.desc(),
                ))
                .limit(1);
            self.session.fetch_optional(query.select(Portfolio::as_select())).await
        }

        #[tracing::instrument(level = "debug", name = "portfolios.list", skip_all)]
        async fn list(
            &self,
            filter: &PortfolioFilter,
            page: &PageRequest,
        ) -> Result<Page<Portfolio>> {
            let query =
                newest_first!(filtered(filter), page, portfolios::created_at, portfolios::id);
            self.session.fetch_page(query.select(Portfolio::as_select()), page, "created_at").await
        }

        async fn list_for_user(
            &self,
            user: UserId,
            activity: Activity,
            page: &PageRequest,
        ) -> Result<Page<Portfolio>> {
            let filter =
                PortfolioFilter { user_id: Some(user), activity, ..PortfolioFilter::default() };
            self.list(&filter, page).await
        }

        async fn list_by_risk_tolerance(
            &self,
            risk_tolerance: RiskTolerance,
            page: &PageRequest,
        ) -> Result<Page<Portfolio>> {
            let risk_tolerance = Some(risk_tolerance);
            self.list(&PortfolioFilter { risk_tolerance, ..PortfolioFilter::default() }, page).await
        }

        #[tracing::instrument(level = "debug", name = "portfolios.count", skip_all)]
        async fn count(&self, filter: &PortfolioFilter) -> Result<u64> {
            let count: i64 = self.session.fetch_one(filtered(filter).count()).await?;
            Ok(count.unsigned_abs())
        }

        #[tracing::instrument(level = "debug", name = "portfolios.exists", skip_all)]
        async fn exists(&self, id: PortfolioId) -> Result<bool> {
            self.session.fetch_one(diesel::select(exists(portfolios::table.find(id)))).await
        }

        #[tracing::instrument(level = "debug", name = "portfolios.update", skip_all)]
        async fn update(&self, id: PortfolioId, patch: &PortfolioPatch) -> Result<Portfolio> {
            patch.validate()?;
            if *patch == PortfolioPatch::default() {
                let found = self.find(id).await?;
                return found.ok_or_else(|| Error::not_found(Entity::Portfolio, id));
            }
            let update = diesel::update(portfolios::table.find(id)).set(patch);
            let changed =
                self.session.write_optional(update.returning(Portfolio::as_returning())).await?;
            changed.ok_or_else(|| Error::not_found(Entity::Portfolio, id))
        }

        async fn activate(&self, id: PortfolioId) -> Result<Portfolio> {
            let patch = PortfolioPatch { is_active: Some(true), ..PortfolioPatch::default() };
            self.update(id, &patch).await
        }

        async fn deactivate(&self, id: PortfolioId) -> Result<Portfolio> {
            let patch = PortfolioPatch { is_active: Some(false), ..PortfolioPatch::default() };
            self.update(id, &patch).await
        }

        #[tracing::instrument(level = "debug", name = "portfolios.delete", skip_all)]
        async fn delete(&self, id: PortfolioId) -> Result<bool> {
            Ok(self.session.delete(diesel::delete(portfolios::table.find(id))).await? > 0)
        }

        #[tracing::instrument(level = "debug", name = "portfolios.with_positions", skip_all)]
        async fn with_positions(
            &self,
            id: PortfolioId,
            activity: Activity,
        ) -> Result<Option<PortfolioWithPositions>> {
            // The choice belongs to the join: as a filter it would drop a portfolio without positions.
            let of_portfolio = || positions::portfolio_id.eq(portfolios::id);
            let selection = (Portfolio::as_select(), Option::<Position>::as_select());
            macro_rules! joined {
                ($on:expr) => {
                    portfolios::table
                        .left_join(positions::table.on($on))
                        .filter(portfolios::id.eq(id))
                        .order(positions::ticker.nullable())
                        .select(selection)
                };
            }
            let is_active = positions::is_active;
            let rows: Result<Vec<(Portfolio, Option<Position>)>> = match activity {
                Activity::Active => {
                    self.session.fetch_all(joined!(of_portfolio().and(is_active))).await
                }
                Activity::Inactive => {
                    let inactive = diesel::dsl::not(is_active);
                    self.session.fetch_all(joined!(of_portfolio().and(inactive))).await
                }
                Activity::Any => self.session.fetch_all(joined!(of_portfolio())).await,
            };
            let mut rows = match rows {
                // In a row of both, the portfolio goes with the position that does not decode.
                Err(Error::Corrupt { .. }) => return self.and_positions(id, activity).await,
                rows => rows?.into_iter(),
            };
            Ok(rows.next().map(|(portfolio, first)| PortfolioWithPositions {
                portfolio,
                positions: first
                    .into_iter()
                    .chain(rows.filter_map(|(_, position)| position))
                    .collect(),
                unreadable: Vec::new(),
            }))
        }

        #[tracing::instrument(level = "debug", name = "portfolios.summary", skip_all)]
        async fn summary(&self, id: PortfolioId) -> Result<Option<PortfolioSummary>> {
            self.session.fetch_optional(diesel::sql_query(SUMMARY).bind::<SqlUuid, _>(id)).await
        }

        #[tracing::instrument(level = "debug", name = "portfolios.valuation", skip_all)]
        async fn valuation(
            &self,
            id: PortfolioId,
            as_of: Option<DateTime<Utc>>,
        ) -> Result<Option<Valuation>> {
            let statement =
                diesel::sql_query(VALUATION)
                    .bind::<SqlUuid, _>(id)
                    .bind::<Nullable<Timestamptz>, _>(as_of.map(bound::floor));
            let rows: Vec<ValuationRow> = self.session.fetch_all(statement).await?;
            let mut valuation = Valuation::from_rows(rows);
            let unreadable = valuation.iter_mut().flat_map(|valuation| &mut valuation.unreadable);
            self.session.report(unreadable);
            Ok(valuation)
        }

        #[tracing::instrument(level = "debug", name = "portfolios.duplicate", skip_all)]
        async fn duplicate(&self, id: PortfolioId, name: &str) -> Result<Portfolio> {
            check_portfolio_name(name)?;
            let new = PortfolioId::generate();
            let copy = diesel::sql_query(DUPLICATE)
                .bind::<SqlUuid, _>(id)
                .bind::<SqlUuid, _>(new)
                .bind::<Text, _>(name);
            let holdings = diesel::sql_query(DUPLICATE_POSITIONS)
                .bind::<SqlUuid, _>(id)
                .bind::<SqlUuid, _>(new);
            let atomic = self.session.atomic().await?;
            let copy: Option<Portfolio> =
                atomic.write_optional(copy).await.map_err(|e| self.session.named(e))?;
            let copy = copy.ok_or_else(|| Error::not_found(Entity::Portfolio, id))?;
            atomic.run(holdings).await?;
            atomic.commit().await?;
            Ok(copy)
        }
    }
);

/// Products and sums of NUMERIC are exact.
const SUMMARY: &str = "
    SELECT p.id AS portfolio_id, p.target_cash_percentage, s.*,
        (SELECT count(*) FROM analysis_results a WHERE a.portfolio_id = p.id) AS analyses
    FROM portfolios p
    CROSS JOIN LATERAL (
        SELECT
            count(*) FILTER (WHERE is_active) AS active_positions,
            count(*) FILTER (WHERE NOT is_active) AS inactive_positions,
            COALESCE(sum(allocation_percentage) FILTER (WHERE is_active), 0) AS allocation_total,
            COALESCE(sum(shares * average_cost) FILTER (WHERE is_active), 0) AS cost_basis,
            count(*) FILTER (WHERE is_active AND shares * average_cost IS NULL)
                AS positions_without_cost
        FROM positions WHERE portfolio_id = p.id
    ) s
    WHERE p.id = $1";

/// The latest bar per position by LATERAL: one index descent each, however long the history.
const VALUATION: &str = "
    SELECT p.id AS portfolio_id, moment.as_of, p.target_cash_percentage,
        s.id AS position_id, s.ticker, s.shares, s.average_cost, s.allocation_percentage,
        bar.id AS bar_id, bar.date, bar.close_price, bar.is_suspect
    FROM portfolios p
    CROSS JOIN (SELECT COALESCE($2, now()) AS as_of) moment
    LEFT JOIN positions s ON s.portfolio_id = p.id AND s.is_active
    LEFT JOIN LATERAL (
        SELECT b.id, b.date, b.close_price, b.is_suspect FROM price_history b
        WHERE b.ticker = s.ticker AND b.date <= moment.as_of
        ORDER BY b.date DESC LIMIT 1
    ) bar ON TRUE
    WHERE p.id = $1
    ORDER BY s.ticker";

/// Positions follow by a separate statement: in a user's name a portfolio accepts positions when it can be
/// seen to be the user's, which in the statement that makes it, it cannot.
const DUPLICATE: &str = "
    INSERT INTO portfolios (id, user_id, name, description, risk_tolerance, target_cash_percentage)
    SELECT $2, user_id, $3, description, risk_tolerance, target_cash_percentage
    FROM portfolios WHERE id = $1
    RETURNING *";

const DUPLICATE_POSITIONS: &str = "
    INSERT INTO positions (portfolio_id, ticker, shares, average_cost, allocation_percentage, notes)
    SELECT $2, ticker, shares, average_cost, allocation_percentage, notes
    FROM positions WHERE portfolio_id = $1 AND is_active";
