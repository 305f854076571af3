//! The repositories of portfolios and positions on PostgreSQL.

mod portfolios;
mod positions;

pub(crate) use portfolios::PgPortfolios;
pub(crate) use positions::PgPositions;
