//! Positions in PostgreSQL.

use std::collections::HashSet;

use async_trait::async_trait;
use diesel::dsl::exists;
use diesel::prelude::{BoolExpressionMethods, ExpressionMethods, QueryDsl, SelectableHelper};
use diesel::sql_types::Uuid as SqlUuid;
use diesel::upsert::excluded;
use futures_util::FutureExt;

use crate::error::{Entity, Error, Result, constraints};
use crate::portfolios::position::{NewPosition, Position, PositionPatch};
use crate::portfolios::position_repository::PositionRepository;
use crate::schema::positions;
use crate::store::{Session, batch, newest_first, settled};
use crate::types::{Activity, Page, PageRequest, PortfolioId, PositionId, Ticker, of_activity};

/// [`PositionRepository`] on PostgreSQL.
#[derive(Clone)]
pub(crate) struct PgPositions {
    session: Session,
}

impl PgPositions {
    pub(crate) fn new(session: Session) -> Self {
        PgPositions { session }
    }
}

fn held() -> Error {
    Error::Conflict { entity: Entity::Position, constraint: constraints::POSITIONS_TICKER.into() }
}

/// The row of one position, if it is the portfolio's.
macro_rules! one {
    ($portfolio:expr, $id:expr) => {
        positions::table.filter(positions::id.eq($id).and(positions::portfolio_id.eq($portfolio)))
    };
}

/// An INSERT that gives an existing row of the ticker the values of the new one.
macro_rules! insert_or_replace {
    ($values:expr) => {
        diesel::insert_into(positions::table)
            .values($values)
            .on_conflict((positions::portfolio_id, positions::ticker))
            .do_update()
            .set((
                positions::shares.eq(excluded(positions::shares)),
                positions::average_cost.eq(excluded(positions::average_cost)),
                positions::allocation_percentage.eq(excluded(positions::allocation_percentage)),
                positions::notes.eq(excluded(positions::notes)),
                positions::is_active.eq(excluded(positions::is_active)),
            ))
    };
}

/// As [`insert_or_replace`], of removed rows only: for a held one nothing is written or returned.
macro_rules! insert_or_revive {
    ($values:expr) => {{
        use diesel::query_dsl::methods::FilterDsl;
        let removed = diesel::dsl::not(positions::is_active);
        FilterDsl::filter(insert_or_replace!($values), removed).returning(Position::as_returning())
    }};
}

settled!(
    #[async_trait]
    impl PositionRepository for PgPositions {
        #[tracing::instrument(level = "debug", name = "positions.create", skip_all)]
        async fn create(&self, position: &NewPosition) -> Result<Position> {
            position.validate()?;
            let added = self.session.write_optional(insert_or_revive!(position)).await?;
            added.ok_or_else(held)
        }

        #[tracing::instrument(level = "debug", name = "positions.create_many", skip_all)]
        async fn create_many(&self, positions: &[NewPosition]) -> Result<Vec<Position>> {
            let mut keys = HashSet::with_capacity(positions.len());
            for (index, position) in positions.iter().enumerate() {
                position.validate().map_err(|e| e.at(index))?;
                // ON CONFLICT refuses to meet a row of its own statement.
                if !keys.insert((position.portfolio_id, &position.ticker)) {
                    return Err(held().at(index));
                }
            }
            // The server reports no error for a held ticker: the missing rows show it.
            batch::insert_many(
                &self.session,
                positions,
                |position| (position.portfolio_id, position.ticker.clone()),
                |connection, rows| {
                    let asked = rows.len();
                    let statement = insert_or_revive!(rows);
                    async move {
                        let added: Vec<Position> = connection.write_all(statement).await?;
                        if added.len() == asked { Ok(added) } else { Err(held()) }
                    }
                    .boxed()
                },
            )
            .await
        }

        #[tracing::instrument(level = "debug", name = "positions.upsert", skip_all)]
        async fn upsert(&self, position: &NewPosition) -> Result<Position> {
            position.validate()?;
            let statement = insert_or_replace!(position).returning(Position::as_returning());
            self.session.write_one(statement).await
        }

        #[tracing::instrument(level = "debug", name = "positions.find", skip_all)]
        async fn find(&self, portfolio: PortfolioId, id: PositionId) -> Result<Option<Position>> {
            self.session.fetch_optional(one!(portfolio, id).select(Position::as_select())).await
        }

        #[tracing::instrument(level = "debug", name = "positions.find_by_ticker", skip_all)]
        async fn find_by_ticker(
            &self,
            portfolio: PortfolioId,
            ticker: &Ticker,
        ) -> Result<Option<Position>> {
            let query = positions::table
                .filter(positions::portfolio_id.eq(portfolio).and(positions::ticker.eq(ticker)));
            self.session.fetch_optional(query.select(Position::as_select())).await
        }

        #[tracing::instrument(level = "debug", name = "positions.list", skip_all)]
        async fn list(
            &self,
            portfolio: PortfolioId,
            activity: Activity,
            page: &PageRequest,
        ) -> Result<Page<Position>> {
            let query = positions::table.filter(positions::portfolio_id.eq(portfolio)).into_boxed();
            let query = of_activity!(query, activity, positions::is_active);
            let query = newest_first!(query, page, positions::created_at, positions::id);
            self.session.fetch_page(query.select(Position::as_select()), page, "created_at").await
        }

        #[tracing::instrument(level = "debug", name = "positions.holders_of", skip_all)]
        async fn holders_of(
            &self,
            ticker: &Ticker,
            activity: Activity,
            page: &PageRequest,
        ) -> Result<Page<Position>> {
            let query = positions::table.filter(positions::ticker.eq(ticker)).into_boxed();
            let query = of_activity!(query, activity, positions::is_active);
            let query = newest_first!(query, page, positions::created_at, positions::id);
            self.session.fetch_page(query.select(Position::as_select()), page, "created_at").await
        }

        #[tracing::instrument(level = "debug", name = "positions.count", skip_all)]
        async fn count(&self, portfolio: PortfolioId, activity: Activity) -> Result<u64> {
            let query = positions::table.filter(positions::portfolio_id.eq(portfolio)).into_boxed();
            let query = of_activity!(query, activity, positions::is_active);
            let count: i64 = self.session.fetch_one(query.count()).await?;
            Ok(count.unsigned_abs())
        }

        #[tracing::instrument(level = "debug", name = "positions.exists", skip_all)]
        async fn exists(&self, portfolio: PortfolioId, id: PositionId) -> Result<bool> {
            self.session.fetch_one(diesel::select(exists(one!(portfolio, id)))).await
        }

        #[tracing::instrument(level = "debug", name = "positions.update", skip_all)]
        async fn update(
            &self,
            portfolio: PortfolioId,
            id: PositionId,
            patch: &PositionPatch,
        ) -> Result<Position> {
            patch.validate()?;
            if *patch == PositionPatch::default() {
                let found = self.find(portfolio, id).await?;
                return found.ok_or_else(|| Error::not_found(Entity::Position, id));
            }
            let update = diesel::update(one!(portfolio, id)).set(patch);
            let changed =
                self.session.write_optional(update.returning(Position::as_returning())).await?;
            changed.ok_or_else(|| Error::not_found(Entity::Position, id))
        }

        async fn remove(&self, portfolio: PortfolioId, id: PositionId) -> Result<Position> {
            let patch = PositionPatch { is_active: Some(false), ..PositionPatch::default() };
            self.update(portfolio, id, &patch).await
        }

        #[tracing::instrument(level = "debug", name = "positions.delete", skip_all)]
        async fn delete(&self, portfolio: PortfolioId, id: PositionId) -> Result<bool> {
            Ok(self.session.execute(diesel::delete(one!(portfolio, id))).await? > 0)
        }

        #[tracing::instrument(level = "debug", name = "positions.move_to", skip_all)]
        async fn move_to(
            &self,
            portfolio: PortfolioId,
            id: PositionId,
            to: PortfolioId,
        ) -> Result<Position> {
            let statement = diesel::sql_query(MOVE)
                .bind::<SqlUuid, _>(portfolio)
                .bind::<SqlUuid, _>(id)
                .bind::<SqlUuid, _>(to);
            let moved = self.session.write_optional(statement).await?;
            moved.ok_or_else(|| Error::not_found(Entity::Position, id))
        }
    }
);

/// The count of `replaced` is joined, not used: it makes the removed row go before the moved one
/// comes, which the unique constraint demands.
const MOVE: &str = "
    WITH moving AS (
        SELECT s.id, s.ticker, target.id AS portfolio_id
        FROM positions s
        JOIN portfolios source ON source.id = s.portfolio_id
        JOIN portfolios target ON target.user_id = source.user_id
        WHERE s.id = $2 AND s.portfolio_id = $1 AND target.id = $3
        FOR UPDATE OF s
    ), replaced AS (
        DELETE FROM positions old USING moving
        WHERE old.portfolio_id = moving.portfolio_id AND old.ticker = moving.ticker
            AND old.id <> moving.id AND NOT old.is_active
        RETURNING old.id
    )
    UPDATE positions SET portfolio_id = moving.portfolio_id
    FROM moving CROSS JOIN (SELECT count(*) AS n FROM replaced) done
    WHERE positions.id = moving.id AND done.n >= 0
    RETURNING positions.*";
