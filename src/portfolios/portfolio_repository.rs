//! Portfolios.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use diesel::dsl::exists;
use diesel::prelude::{
    BoolExpressionMethods, ExpressionMethods, JoinOnDsl, NullableExpressionMethods, QueryDsl,
    SelectableHelper,
};
use diesel::sql_types::{Nullable, Text, Timestamptz, Uuid as SqlUuid};
use futures_util::FutureExt;

use super::portfolio::{
    NewPortfolio, Portfolio, PortfolioFilter, PortfolioPatch, PortfolioSummary,
    PortfolioWithPositions, check_portfolio_name,
};
use super::position::Position;
use super::valuation::{Valuation, ValuationRow};
use crate::error::{Entity, Error, Result, unsupported};
use crate::schema::{portfolios, positions};
use crate::store::{Session, batch, newest_first, settled};
use crate::types::{
    Activity, Listed, Page, PageRequest, PortfolioId, RiskTolerance, UserId, bound, of_activity,
    text,
};

/// Portfolios of users. Deactivated ones are kept, and left out of lists by default.
#[async_trait]
// Names that a default does not use document the arguments.
#[allow(unused_variables)]
pub trait PortfolioRepository: Send + Sync {
    /// Creates a portfolio.
    ///
    /// # Errors
    /// `InvalidReference` when the user does not exist, `Invalid` of a field.
    async fn create(&self, portfolio: &NewPortfolio) -> Result<Portfolio> {
        unsupported("portfolios.create")
    }

    /// Creates all of these portfolios, or none; returned in the order given.
    ///
    /// # Errors
    /// As [`create`](Self::create), within `Item`, which gives the index.
    async fn create_many(&self, portfolios: &[NewPortfolio]) -> Result<Vec<Portfolio>> {
        unsupported("portfolios.create_many")
    }

    /// The portfolio of this id, active or not.
    async fn find(&self, id: PortfolioId) -> Result<Option<Portfolio>>;

    /// The user's portfolio of this name, exactly. Names need not be unique: of several an active
    /// one, and the newest, is meant.
    ///
    /// # Errors
    /// `Invalid` of a name with NUL characters.
    async fn find_by_name(&self, user: UserId, name: &str) -> Result<Option<Portfolio>> {
        unsupported("portfolios.find_by_name")
    }

    /// Portfolios, newest first.
    async fn list(&self, filter: &PortfolioFilter, page: &PageRequest) -> Result<Page<Portfolio>> {
        unsupported("portfolios.list")
    }

    /// The user's portfolios, newest first. An unknown user has none.
    async fn list_for_user(
        &self,
        user: UserId,
        activity: Activity,
        page: &PageRequest,
    ) -> Result<Page<Portfolio>> {
        unsupported("portfolios.list_for_user")
    }

    /// Active portfolios, of all users, of this tolerance of risk, newest first.
    async fn list_by_risk_tolerance(
        &self,
        risk_tolerance: RiskTolerance,
        page: &PageRequest,
    ) -> Result<Page<Portfolio>> {
        unsupported("portfolios.list_by_risk_tolerance")
    }

    /// How many portfolios there are.
    async fn count(&self, filter: &PortfolioFilter) -> Result<u64> {
        unsupported("portfolios.count")
    }

    /// Whether the portfolio exists, active or not.
    async fn exists(&self, id: PortfolioId) -> Result<bool> {
        Ok(self.find(id).await?.is_some())
    }

    /// Applies the patch and returns the updated portfolio.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` of a field.
    async fn update(&self, id: PortfolioId, patch: &PortfolioPatch) -> Result<Portfolio> {
        unsupported("portfolios.update")
    }

    /// Reactivates the portfolio. Idempotent.
    ///
    /// # Errors
    /// `NotFound`.
    async fn activate(&self, id: PortfolioId) -> Result<Portfolio> {
        unsupported("portfolios.activate")
    }

    /// Soft deletion: deactivates the portfolio and keeps its data. Idempotent.
    ///
    /// # Errors
    /// `NotFound`.
    async fn deactivate(&self, id: PortfolioId) -> Result<Portfolio> {
        unsupported("portfolios.deactivate")
    }

    /// Deletes the portfolio with its positions and analyses. Returns `false` if it did not exist.
    async fn delete(&self, id: PortfolioId) -> Result<bool> {
        unsupported("portfolios.delete")
    }

    /// The portfolio with its positions, by ticker, in one round trip.
    async fn with_positions(
        &self,
        id: PortfolioId,
        activity: Activity,
    ) -> Result<Option<PortfolioWithPositions>> {
        unsupported("portfolios.with_positions")
    }

    /// Counts and sums over the portfolio, computed by the database.
    async fn summary(&self, id: PortfolioId) -> Result<Option<PortfolioSummary>> {
        unsupported("portfolios.summary")
    }

    /// The positions held now at the prices of a point in time, by default the database's present:
    /// each at the close, as delivered, of its latest bar that begins at or before the moment. A
    /// daily bar begins at midnight UTC of its day, so that its close counts for all of that day. A position or a bar that
    /// cannot be read hides no other: [`Valuation::unreadable`] names it.
    async fn valuation(
        &self,
        id: PortfolioId,
        as_of: Option<DateTime<Utc>>,
    ) -> Result<Option<Valuation>> {
        unsupported("portfolios.valuation")
    }

    /// Copies the portfolio and the positions it holds under a new name, for the same owner, and
    /// returns the copy, which is active. Removed positions and analyses are not copied.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` of the name.
    async fn duplicate(&self, id: PortfolioId, name: &str) -> Result<Portfolio> {
        unsupported("portfolios.duplicate")
    }
}

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
            self.session.about("positions").fetch_list(query).await?;
        Ok(Some(PortfolioWithPositions { portfolio, positions: items, unreadable }))
    }
}

/// The rows of a filter, as a boxed query.
macro_rules! filtered {
    ($filter:expr) => {{
        let filter = $filter;
        let mut query = portfolios::table.into_boxed();
        if let Some(user_id) = filter.user_id {
            query = query.filter(portfolios::user_id.eq(user_id));
        }
        if let Some(risk_tolerance) = filter.risk_tolerance {
            query = query.filter(portfolios::risk_tolerance.eq(risk_tolerance));
        }
        of_activity!(query, filter.activity, portfolios::is_active)
    }};
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
                    connection.fetch_all(insert.returning(Portfolio::as_returning())).boxed()
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
                newest_first!(filtered!(filter), page, portfolios::created_at, portfolios::id);
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
            let count: i64 = self.session.fetch_one(filtered!(filter).count()).await?;
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
            let deleted =
                self.session.execute(diesel::delete(portfolios::table.find(id))).await? > 0;
            if deleted {
                // Its positions and private results went with it.
                self.session.invalidated().await;
            }
            Ok(deleted)
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
                atomic.fetch_optional(copy).await.map_err(|e| self.session.named(e))?;
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
