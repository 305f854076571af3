//! Portfolios, their positions and what they are worth.

mod portfolio;
mod portfolio_repository;
mod position;
mod position_repository;
mod valuation;

pub use portfolio::{
    NewPortfolio, Portfolio, PortfolioFilter, PortfolioPatch, PortfolioSummary,
    PortfolioWithPositions,
};
pub use portfolio_repository::{PgPortfolios, PortfolioRepository};
pub use position::{NewPosition, Position, PositionPatch};
pub use position_repository::{PgPositions, PositionRepository};
pub use valuation::{PositionValue, PricedBar, Valuation};
