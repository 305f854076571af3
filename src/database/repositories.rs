//! The repositories of a handle: one per table, a trait each, with an implementation on PostgreSQL beside it.
//!
//! The verbs are the same everywhere: `create`, `create_many`, `find`, `find_by_x`, `list`, `count`,
//! `exists`, `update`, `delete`. An absent row is `None` where it is looked up and
//! [`Error::NotFound`](crate::Error::NotFound) where it is to be changed. Lists are keyset pages.

use std::sync::Arc;

#[cfg(feature = "arrow")]
use arrow_array::RecordBatch;
use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};
#[cfg(feature = "arrow")]
use futures_util::stream::BoxStream;

use crate::analyses::{AnalysisKey, AnalysisRepository, AnalysisResult, NewAnalysis, PgAnalyses};
use crate::audit::{AuditEntry, AuditFilter, AuditRepository, PgAudit};
use crate::cache::{self, Cached, Fetch, Policy};
use crate::error::{Result, unsupported};
use crate::market_cache::{CacheEntry, CacheKey, MarketCacheRepository, PgMarketCache};
use crate::options::{ChainFilter, OptionQuote, OptionRepository, PgOptions};
use crate::portfolios::{
    PgPortfolios, PgPositions, Portfolio, PortfolioRepository, Position, PositionRepository,
};
#[cfg(feature = "arrow")]
use crate::prices::{self, ArrowOptions};
use crate::prices::{
    CorporateAction, CorporateActionRepository, PgCorporateActions, PgPrices, PriceBar,
    PriceRepository,
};
use crate::store::{Session, Source, tables};
use crate::types::{Activity, AnalysisId, Listed, Page, PageRequest, PortfolioId, Ticker, UserId};
use crate::users::{PgUsers, User, UserRepository};

/// Declares the repositories once: the set that owns them, its accessors, and the trait over all
/// handles.
macro_rules! repositories {
    ($($(#[$doc:meta])* $name:ident, $shared:ident: $ty:ident as $trait:ident ($table:ident),)*) => {
        /// The repositories over one source of connections; [`Database`](crate::Database),
        /// [`UnitOfWork`](crate::UnitOfWork) and [`TenantScope`](crate::TenantScope) dereference to it.
        #[derive(Clone)]
        pub struct RepositorySet {
            source: Source,
            $($name: Arc<dyn $trait>,)*
        }

        impl RepositorySet {
            pub(crate) fn new(source: &Source) -> Self {
                RepositorySet {
                    source: source.clone(),
                    $($name: Arc::new($ty::new(Session::new(source.clone(), &tables::$table))),)*
                }
            }

            $(
                $(#[$doc])*
                pub fn $name(&self) -> &dyn $trait {
                    &*self.$name
                }

                $(#[$doc])*
                ///
                /// For a part of a program that keeps its repository.
                pub fn $shared(&self) -> Arc<dyn $trait> {
                    self.$name.clone()
                }
            )*
        }

        /// Whatever gives repositories: code that takes `&impl Repositories` runs on the pool, in a user's name, inside a
        /// transaction, or on fakes, and does not know which.
        ///
        /// A fake gives the repositories that it has; all others answer
        /// [`Error::Unsupported`](crate::Error::Unsupported).
        #[async_trait]
        pub trait Repositories: Send + Sync {
            $(
                $(#[$doc])*
                fn $name(&self) -> &dyn $trait {
                    &Absent
                }
            )*

            /// See [`RepositorySet::get_or_compute`]. A fake finds and stores by its
            /// [`analyses`](Self::analyses).
            ///
            /// # Errors
            /// Those of [`RepositorySet::get_or_compute`].
            async fn get_or_compute<C>(
                &self,
                key: &AnalysisKey,
                policy: &Policy,
                compute: C,
            ) -> Result<Cached<AnalysisResult>>
            where
                C: Fetch<AnalysisResult, NewAnalysis>,
                Self: Sized,
            {
                cache::get_or_compute_by(self.analyses(), key, policy, compute).await
            }
        }

        #[async_trait]
        impl<T: AsRef<RepositorySet> + Send + Sync> Repositories for T {
            $(
                fn $name(&self) -> &dyn $trait {
                    self.as_ref().$name()
                }
            )*

            async fn get_or_compute<C>(
                &self,
                key: &AnalysisKey,
                policy: &Policy,
                compute: C,
            ) -> Result<Cached<AnalysisResult>>
            where
                C: Fetch<AnalysisResult, NewAnalysis>,
            {
                self.as_ref().get_or_compute(key, policy, compute).await
            }
        }
    };
}

repositories! {
    /// Accounts.
    users, users_arc: PgUsers as UserRepository (USERS),
    /// Results of analyses.
    analyses, analyses_arc: PgAnalyses as AnalysisRepository (ANALYSIS_RESULTS),
    /// Documents of market-data providers, kept until they expire.
    market_cache, market_cache_arc: PgMarketCache as MarketCacheRepository (MARKET_DATA_CACHE),
    /// Portfolios.
    portfolios, portfolios_arc: PgPortfolios as PortfolioRepository (PORTFOLIOS),
    /// Positions of portfolios.
    positions, positions_arc: PgPositions as PositionRepository (POSITIONS),
    /// Splits and dividends.
    corporate_actions, corporate_actions_arc: PgCorporateActions as CorporateActionRepository (CORPORATE_ACTIONS),
    /// Price bars.
    prices, prices_arc: PgPrices as PriceRepository (PRICE_HISTORY),
    /// Option quotes.
    options, options_arc: PgOptions as OptionRepository (OPTIONS_DATA),
    /// Who changed what of an account.
    audit, audit_arc: PgAudit as AuditRepository (AUDIT_LOG),
}

impl RepositorySet {
    /// These repositories, of any handle.
    pub fn repositories(&self) -> &RepositorySet {
        self
    }
}

impl RepositorySet {
    /// The newest result of a key, if it is fresh, from memory, Redis or the database; else `compute`
    /// makes one, which is stored: once at a time per key, in all processes. Like
    /// [`Cache::get_or_fetch`](crate::cache::Cache::get_or_fetch) otherwise: stale results, failures, limits.
    ///
    /// `compute` is given the result that was there before, and returns a [`NewAnalysis`], whose ticker,
    /// type, portfolio and parameters are those of the key; one that expires never is given the policy's
    /// TTL. Where its [`inputs`](crate::analyses::NewAnalysis::inputs) are recorded,
    /// [`invalidate_stale_inputs`](crate::analyses::AnalysisRepository::invalidate_stale_inputs) finds it outdated. A result
    /// that was invalidated while it was computed is returned and not stored.
    ///
    /// In a unit of work it reads and writes within the transaction, and shares nothing before the commit.
    ///
    /// # Errors
    /// As [`Cache::get_or_fetch`](crate::cache::Cache::get_or_fetch), and those of
    /// [`create`](crate::analyses::AnalysisRepository::create).
    pub async fn get_or_compute(
        &self,
        key: &AnalysisKey,
        policy: &Policy,
        compute: impl Fetch<AnalysisResult, NewAnalysis>,
    ) -> Result<Cached<AnalysisResult>> {
        let session = Session::new(self.source.clone(), &tables::ANALYSIS_RESULTS);
        cache::get_or_compute(&session, key, policy, compute).await
    }

    /// Bars of [`range_many`](PriceRepository::range_many), as Arrow record batches of the schema
    /// [`bars_schema`](crate::prices::reading::bars_schema): by ticker in byte order, then by rising day, unless the options
    /// ask for no order; a batch may hold several tickers. One batch is in memory at a time. Dropped before
    /// its end, the statement is cancelled.
    ///
    /// In a unit of work the stream must be read to its end, or dropped, before the answer to another
    /// statement can come.
    #[cfg(feature = "arrow")]
    #[tracing::instrument(level = "debug", name = "prices.record_batches", skip_all)]
    pub fn record_batches(
        &self,
        tickers: &[Ticker],
        from: NaiveDate,
        to: NaiveDate,
        options: ArrowOptions,
    ) -> BoxStream<'static, Result<RecordBatch>> {
        let session = Session::new(self.source.clone(), &tables::PRICE_HISTORY);
        prices::record_batches(session, tickers, from, to, options)
    }
}

impl AsRef<RepositorySet> for RepositorySet {
    fn as_ref(&self) -> &RepositorySet {
        self
    }
}

/// The repository that a handle does not have.
struct Absent;

#[async_trait]
impl UserRepository for Absent {
    async fn find(&self, _: UserId) -> Result<Option<User>> {
        unsupported("users.find")
    }
}

#[async_trait]
impl PortfolioRepository for Absent {
    async fn find(&self, _: PortfolioId) -> Result<Option<Portfolio>> {
        unsupported("portfolios.find")
    }
}

#[async_trait]
impl PositionRepository for Absent {
    async fn list(&self, _: PortfolioId, _: Activity, _: &PageRequest) -> Result<Page<Position>> {
        unsupported("positions.list")
    }
}

#[async_trait]
impl AnalysisRepository for Absent {
    async fn find(&self, _: AnalysisId) -> Result<Option<AnalysisResult>> {
        unsupported("analyses.find")
    }
}

#[async_trait]
impl AuditRepository for Absent {
    async fn list(&self, _: &AuditFilter, _: &PageRequest) -> Result<Page<AuditEntry>> {
        unsupported("audit.list")
    }
}

#[async_trait]
impl MarketCacheRepository for Absent {
    async fn get(&self, _: &CacheKey) -> Result<Option<CacheEntry>> {
        unsupported("market_cache.get")
    }
}

#[async_trait]
impl CorporateActionRepository for Absent {
    async fn for_ticker(
        &self,
        _: &Ticker,
        _: NaiveDate,
        _: NaiveDate,
    ) -> Result<Listed<CorporateAction>> {
        unsupported("corporate_actions.for_ticker")
    }
}

#[async_trait]
impl PriceRepository for Absent {
    async fn range_many(
        &self,
        _: &[Ticker],
        _: NaiveDate,
        _: NaiveDate,
    ) -> Result<Listed<PriceBar>> {
        unsupported("prices.range_many")
    }
}

#[async_trait]
impl OptionRepository for Absent {
    async fn chain(
        &self,
        _: &Ticker,
        _: DateTime<Utc>,
        _: &ChainFilter,
    ) -> Result<Listed<OptionQuote>> {
        unsupported("options.chain")
    }
}
