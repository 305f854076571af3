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
//! The handles, settings and errors are here; everything of a domain is in its module, and what most programs need is in the
//! [`prelude`]:
//!
//! | module | what is there |
//! |---|---|
//! | [`users`], [`portfolios`], [`analyses`] | domains of accounts: rows, repositories |
//! | [`prices`], [`options`], [`market_cache`] | domains of market data; what is computed of bars and chains |
//! | [`cache`] | [`Cache`](cache::Cache): values from the nearest level, else fetched, once in all processes |
//! | [`audit`], [`events`] | what has changed |
//! | [`tenancy`] | [`Database::as_user`]'s roles and rights; [`Database::doctor`] |
//! | [`import`] | files into the repositories |
//! | [`types`], [`store`] | values that are right once they exist; reports and retention of all domains |
//! | [`config`], [`error`] | settings; what can go wrong |
//! | [`postgres`] | SQL of a program beside the repositories: connections, COPY, transactions |
//! | [`schema`] | the tables as Diesel sees them |
//! | `embedded`, `testing`, `passwords` | a private PostgreSQL; a database for each test; hashing (features) |
//!
//! The guide has a page for each part, in `docs/guide/`: `embedding.md` (repositories), `units-of-work.md`, `errors.md`,
//! `connections.md`, `cache.md`, `prices.md`, `options.md`, `import.md`, `events.md`, `tenants.md` and `testing.md`.
//! `docs/operations.md` is for production, `docs/architecture.md` has the layers and their picture, and CONTRIBUTING.md
//! explains how to add a table, a filter, an event or a metric.
//!
//! # Example
//!
//! ```
//! # #[cfg(feature = "testing")]
//! # async fn example() -> buffetbot_db::Result<()> {
//! use buffetbot_db::prelude::*;
//!
//! # let db = buffetbot_db::testing::TestDatabase::new().await?;
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

pub mod analyses;
pub mod audit;
pub mod cache;
pub mod config;
mod database;
#[cfg(feature = "embedded")]
pub mod embedded;
pub mod error;
pub mod events;
pub mod import;
pub mod market_cache;
pub mod options;
#[cfg(feature = "passwords")]
pub mod passwords;
pub mod portfolios;
pub mod postgres;
pub mod prelude;
pub mod prices;
/// The tables as Diesel sees them, generated from a migrated database.
pub mod schema;
pub mod store;
pub mod tenancy;
#[cfg(feature = "testing")]
pub mod testing;
pub mod types;
pub mod users;

// The crates whose types stand in signatures, in the versions that they have there.
#[cfg(feature = "arrow")]
pub use {arrow_array, arrow_schema};
pub use {bigdecimal, chrono, diesel, serde_json, uuid};

pub use config::{Config, Environment};
pub use database::{
    Database, Delivery, EventConsumer, EventLog, MIGRATIONS, MIGRATIONS_HASH, Repositories,
    RepositorySet, TenantScope, TransactionError, TransactionFn, UnitOfWork,
};
pub use error::{Error, Result};
pub use postgres::{Isolation, TransactionOptions};

/// The examples of README and of the guide compile.
#[cfg(all(doctest, feature = "embedded", feature = "passwords"))]
mod guide {
    #[doc = include_str!("../README.md")]
    struct Readme;

    #[doc = include_str!("../docs/guide/cache.md")]
    struct Cache;

    #[doc = include_str!("../docs/guide/connections.md")]
    struct Connections;

    #[doc = include_str!("../docs/guide/embedding.md")]
    struct Embedding;

    #[doc = include_str!("../docs/guide/errors.md")]
    struct Errors;

    #[doc = include_str!("../docs/guide/events.md")]
    struct Events;

    #[doc = include_str!("../docs/guide/import.md")]
    struct Import;

    #[doc = include_str!("../docs/guide/options.md")]
    struct Options;

    #[doc = include_str!("../docs/guide/prices.md")]
    struct Prices;

    #[doc = include_str!("../docs/guide/tenants.md")]
    struct Tenants;

    #[doc = include_str!("../docs/guide/testing.md")]
    struct Testing;

    #[doc = include_str!("../docs/guide/units-of-work.md")]
    struct UnitsOfWork;
}
