//! What a store of positions does.

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::stream::BoxStream;

use super::position::{NewPosition, Position, PositionPatch};
use crate::error::{Result, unsupported};
use crate::types::{Activity, Page, PageRequest, PortfolioId, PositionId, Ticker, stream_pages};

/// Positions of portfolios: at most one per portfolio and ticker, removed ones included. Every call
/// names the portfolio: a position of another one is as unknown to it as none at all.
#[async_trait]
// Names that a default does not use document the arguments.
#[allow(unused_variables)]
pub trait PositionRepository: Send + Sync {
    /// Adds a position. A removed one of the same ticker is revived: the same row, id and date of
    /// making, with the values given here.
    ///
    /// # Errors
    /// `Conflict` when the portfolio holds the ticker (a unit of work can continue after it),
    /// `InvalidReference` when the portfolio does not exist, `Invalid` of a field.
    async fn create(&self, position: &NewPosition) -> Result<Position> {
        unsupported("positions.create")
    }

    /// Adds all of these positions, or none; returned in the order given.
    ///
    /// # Errors
    /// As [`create`](Self::create), within `Item`, which gives the index; `Conflict` also for a
    /// ticker that stands earlier in the batch.
    async fn create_many(&self, positions: &[NewPosition]) -> Result<Vec<Position>> {
        unsupported("positions.create_many")
    }

    /// Adds a position, or gives the portfolio's position of the ticker, removed or not, all values
    /// given here; `None` clears.
    ///
    /// # Errors
    /// `InvalidReference` when the portfolio does not exist, `Invalid` of a field.
    async fn upsert(&self, position: &NewPosition) -> Result<Position> {
        unsupported("positions.upsert")
    }

    /// The portfolio's position of this id, removed or not.
    async fn find(&self, portfolio: PortfolioId, id: PositionId) -> Result<Option<Position>> {
        unsupported("positions.find")
    }

    /// The portfolio's position of this ticker, removed or not.
    async fn find_by_ticker(
        &self,
        portfolio: PortfolioId,
        ticker: &Ticker,
    ) -> Result<Option<Position>> {
        unsupported("positions.find_by_ticker")
    }

    /// The portfolio's positions, newest first.
    async fn list(
        &self,
        portfolio: PortfolioId,
        activity: Activity,
        page: &PageRequest,
    ) -> Result<Page<Position>>;

    /// All positions of the portfolio, newest first, page by page: see [`stream_pages`](crate::types::stream_pages).
    fn stream(
        &self,
        portfolio: PortfolioId,
        activity: Activity,
    ) -> BoxStream<'_, Result<Position>> {
        stream_pages(move |page| async move { self.list(portfolio, activity, &page).await }.boxed())
    }

    /// Positions in this ticker of all portfolios, newest first; in a user's name, of that user's.
    async fn holders_of(
        &self,
        ticker: &Ticker,
        activity: Activity,
        page: &PageRequest,
    ) -> Result<Page<Position>> {
        unsupported("positions.holders_of")
    }

    /// How many positions the portfolio has.
    async fn count(&self, portfolio: PortfolioId, activity: Activity) -> Result<u64> {
        unsupported("positions.count")
    }

    /// Whether the portfolio has a position of this id, removed or not.
    async fn exists(&self, portfolio: PortfolioId, id: PositionId) -> Result<bool> {
        Ok(self.find(portfolio, id).await?.is_some())
    }

    /// Applies the patch and returns the updated position.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when a new ticker is one of another position, removed ones included;
    /// `Invalid` of a field.
    async fn update(
        &self,
        portfolio: PortfolioId,
        id: PositionId,
        patch: &PositionPatch,
    ) -> Result<Position> {
        unsupported("positions.update")
    }

    /// Soft deletion: the portfolio no longer holds it, the row is kept. Idempotent.
    ///
    /// # Errors
    /// `NotFound`.
    async fn remove(&self, portfolio: PortfolioId, id: PositionId) -> Result<Position> {
        unsupported("positions.remove")
    }

    /// Deletes the row. Returns `false` if it did not exist.
    async fn delete(&self, portfolio: PortfolioId, id: PositionId) -> Result<bool> {
        unsupported("positions.delete")
    }

    /// Moves the position, with its id, to another portfolio of the same owner, where it takes the
    /// place of a removed one of its ticker.
    ///
    /// # Errors
    /// `NotFound` of the position, also when the other portfolio does not exist or is somebody
    /// else's; `Conflict` when that one holds the ticker.
    async fn move_to(
        &self,
        portfolio: PortfolioId,
        id: PositionId,
        to: PortfolioId,
    ) -> Result<Position> {
        unsupported("positions.move_to")
    }
}
