//! What most programs need in scope: the handles, the traits of the repositories, the values, and what is given to be
//! stored. Filters, reports and everything of one domain alone are in the domain's module.
//!
//! ```
//! use buffetbot_db::prelude::*;
//!
//! async fn first_tickers(db: &Database, portfolio: PortfolioId) -> Result<Vec<Ticker>> {
//!     let page = PageRequest::first(10);
//!     let positions = db.positions().list(portfolio, Default::default(), &page).await?;
//!     Ok(positions.items.into_iter().map(|position| position.ticker).collect())
//! }
//! ```

pub use crate::analyses::{AnalysisKey, AnalysisRepository, NewAnalysis};
pub use crate::audit::AuditRepository;
pub use crate::cache::{Cache, CacheValue, Fetched};
pub use crate::config::{Config, Environment};
pub use crate::database::{
    Database, EventConsumer, EventLog, Repositories, RepositorySet, TenantScope, UnitOfWork,
};
pub use crate::error::{Error, Result};
pub use crate::events::Event;
pub use crate::market_cache::{
    CacheKey, MarketCacheExt, MarketCacheRepository, NewCacheEntry, PutOptions,
};
pub use crate::options::{NewOptionQuote, OptionRepository};
pub use crate::portfolios::{NewPortfolio, NewPosition, PortfolioRepository, PositionRepository};
pub use crate::prices::{
    CorporateActionRepository, NewCorporateAction, NewPriceBar, PriceRepository,
};
pub use crate::types::{
    AnalysisId, AnalysisType, CorporateActionType, Cost, DataType, Document, Listed, OptionType,
    Page, PageRequest, PasswordHash, PortfolioId, PositionId, Price, RiskTolerance, Score, Shares,
    Ticker, UserId,
};
pub use crate::users::{NewUser, UserRepository};
