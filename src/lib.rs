//! The data layer of a financial analysis platform, on PostgreSQL with Diesel: users, portfolios,
//! positions, analysis results with expiry, a market-data cache, daily bars, splits and dividends, and
//! option chains.
//!
//! ```text
//!     your program
//!         |
//!     Database          cheap to clone: connect | embedded | begin | transaction | migrate
//!         |
//!     repositories      users portfolios positions analyses market_cache prices corporate_actions options
//!         |     |       a trait each, and its PostgreSQL implementation beside it
//!         |   cache     memory -> [Redis] -> PostgreSQL -> your fetch, one at a time
//!         |
//!     postgres          Pool -> PgConnection: statement cache, SQLSTATE, cancellation, COPY, TLS
//!         |
//!     PostgreSQL >= 15
//! ```
//!
//! | folder | what is there |
//! |---|---|
//! | `database` | the handles: [`Database`], [`UnitOfWork`], [`TenantScope`]; transactions, migrations, consumers of events |
//! | `users`, `portfolios`, `analyses` | domains of accounts: rows, repositories, their SQL |
//! | `prices`, `options`, `market_cache` | domains of market data; what is computed of bars and chains |
//! | `cache` | [`Cache`]: values from the nearest level, else fetched, once in all processes |
//! | `audit`, `events` | what has changed |
//! | `tenancy` | [`Database::as_user`]'s roles and rights; [`Database::doctor`] |
//! | `store` | what repositories share: sessions, pages, batches, merges |
//! | `postgres` | the only place that names the driver and the pool |
//! | [`import`] | files into the repositories |
//! | `config`, `types`, `error` | settings; values that are right once they exist; what can go wrong |
//! | [`schema`] | the tables as Diesel sees them |
//! | `embedded`, `testing` | a private PostgreSQL; a database for each test (features) |
//!
//! `docs/architecture.md` has the layers and their picture; CONTRIBUTING.md how to add a table, a filter, an event, a metric.
//!
//! # Example
//!
//! ```
//! # #[cfg(feature = "testing")]
//! # async fn example() -> buffetbot_db::Result<()> {
//! use buffetbot_db::*;
//!
//! # let db = testing::TestDatabase::new().await?;
//! # /*
//! let db = Database::connect(Config::from_env()?).await?; // or Database::embedded().await?
//! # */
//! db.migrate().await?;
//!
//! let hash = PasswordHash::new("$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW")?;
//! let uow = db.begin().await?; // one transaction, the same repositories
//! let ada = uow.users().create(&NewUser::new("ada@example.com", hash)).await?;
//! let core = NewPortfolio::new(ada.id, "Core", RiskTolerance::Moderate);
//! let core = uow.portfolios().create(&core).await?;
//! let apple: Ticker = "aapl".parse()?;
//! let position = NewPosition::new(core.id, apple.clone(), "12.5".parse::<Shares>()?);
//! uow.positions().create(&position).await?;
//! uow.commit().await?; // dropped instead, everything would be rolled back
//!
//! // Unknown is `None`, a conflict is typed, and independent queries run at once.
//! let (user, portfolio) =
//!     tokio::try_join!(db.users().find_by_email("ADA@example.com"), db.portfolios().find(core.id))?;
//! assert_eq!(user.map(|u| u.id), portfolio.map(|p| p.user_id));
//! assert!(matches!(db.positions().create(&position).await, Err(Error::Conflict { .. })));
//! # Ok(())
//! # }
//! # #[cfg(feature = "testing")]
//! # tokio::runtime::Runtime::new().unwrap().block_on(example()).unwrap();
//! ```

mod analyses;
mod audit;
mod cache;
pub(crate) mod config;
mod database;
#[cfg(feature = "embedded")]
pub mod embedded;
mod error;
mod events;
pub mod import;
mod market_cache;
mod options;
#[cfg(feature = "passwords")]
mod passwords;
mod portfolios;
mod postgres;
mod prices;
/// The tables as Diesel sees them, generated from a migrated database.
pub mod schema;
mod store;
mod tenancy;
#[cfg(feature = "testing")]
pub mod testing;
mod types;
mod users;

pub use analyses::*;
pub use audit::*;
#[cfg(feature = "redis")]
pub use cache::RedisOptions;
pub use cache::{
    BoxError, Cache, CacheCounters, CacheOptions, CacheReport, CacheValue, Cached, Fetch,
    FetchMany, Fetched, Origin, Policy,
};
pub use config::{
    Certificates, Config, Environment, QueryObserver, QueryReport, SslMode, StatementMode,
};
pub use database::{
    Database, Delivery, EventConsumer, EventLog, MIGRATIONS, MIGRATIONS_HASH, Repositories,
    RepositorySet, TenantScope, TransactionError, TransactionFn, UnitOfWork,
};
pub use error::{
    Entity, Error, ErrorKind, Limit, Receipt, Resource, Result, Unreadable, constraints,
};
pub use events::{ConsumerState, Event, EventData, EventFilter, Subscription};
pub use market_cache::*;
pub use options::*;
#[cfg(feature = "passwords")]
pub use passwords::PasswordHasher;
pub use portfolios::*;
pub use postgres::{
    Connection, CopyIn, CopyOut, Isolation, Outcome, PgConnection, PgField, PgRow, Pool, PoolState,
    Pooled, Rows, TransactionOptions, sqlstate,
};
pub use prices::*;
pub use store::*;
pub use tenancy::*;
pub use types::*;
pub use users::*;

/// The README's examples compile.
#[cfg(all(doctest, feature = "embedded"))]
#[doc = include_str!("../README.md")]
struct Readme;

/// So do those of the guide.
#[cfg(all(doctest, feature = "passwords"))]
#[doc = include_str!("../docs/guide/tenants.md")]
struct TenantsGuide;
