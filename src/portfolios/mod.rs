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
pub(crate) use portfolio_repository::PgPortfolios;
pub use portfolio_repository::PortfolioRepository;
pub use position::{NewPosition, Position, PositionPatch};
pub(crate) use position_repository::PgPositions;
pub use position_repository::PositionRepository;
pub use valuation::{PositionValue, PricedBar, Valuation};
