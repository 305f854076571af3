//! What a store of portfolios does.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use futures_util::stream::BoxStream;

use super::portfolio::{
    NewPortfolio, Portfolio, PortfolioFilter, PortfolioPatch, PortfolioSummary,
    PortfolioWithPositions,
};
use super::valuation::Valuation;
use crate::error::{Result, unsupported};
use crate::types::{Activity, Page, PageRequest, PortfolioId, RiskTolerance, UserId, stream_pages};

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

    /// All portfolios of the filter, newest first, page by page: see [`stream_pages`](crate::types::stream_pages).
    fn stream<'a>(&'a self, filter: &'a PortfolioFilter) -> BoxStream<'a, Result<Portfolio>> {
        stream_pages(move |page| async move { self.list(filter, &page).await }.boxed())
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
