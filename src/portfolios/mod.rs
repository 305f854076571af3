//! Portfolios, their positions and what they are worth.

mod pg;
mod portfolio;
mod portfolio_repository;
mod position;
mod position_repository;
mod valuation;

pub(crate) use pg::{PgPortfolios, PgPositions};
pub use portfolio::{
    NewPortfolio, Portfolio, PortfolioFilter, PortfolioPatch, PortfolioSummary,
    PortfolioWithPositions,
};
pub use portfolio_repository::PortfolioRepository;
pub use position::{NewPosition, Position, PositionPatch};
pub use position_repository::PositionRepository;
pub use valuation::{PositionValue, PricedBar, Valuation};
