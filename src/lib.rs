//! The data layer of a financial analysis platform, on PostgreSQL.

pub(crate) mod config;
mod connection;
mod database;
#[cfg(feature = "embedded")]
pub mod embedded;
mod error;
mod migrate;
mod models;
mod repositories;
#[allow(missing_docs)]
pub mod schema;
mod types;

pub use config::{Config, Environment};
pub use connection::{
    Certificates, Connection, CopyIn, CopyOut, Isolation, PgConnection, PgField, PgRow, Pool,
    PoolState, Pooled, QueryObserver, QueryReport, Rows, SslMode, StatementMode, TransactionError,
    TransactionFn, TransactionOptions, UnitOfWork, sqlstate,
};
pub use database::Database;
pub use error::{Error, Result};
pub use migrate::{MIGRATIONS, MIGRATIONS_HASH};
pub use models::*;
pub use repositories::*;
pub use types::*;
