//! One repository per table: a trait, and beside it its PostgreSQL implementation.
//!
//! The verbs are the same everywhere: `create`, `create_many`, `find`, `find_by_x`, `list`, `count`,
//! `exists`, `update`, `delete`. An absent row is `None` where it is looked up and
//! [`Error::NotFound`](crate::Error::NotFound) where it is to be changed. Lists are keyset pages. The
//! traits are dyn-compatible: `Arc<dyn UserRepository>` is what a program's parts hold.

use crate::analyses::PgAnalyses;
use crate::audit::PgAudit;
use crate::market_cache::PgMarketCache;
use crate::options::PgOptions;
use crate::portfolios::{PgPortfolios, PgPositions};
use crate::prices::{PgCorporateActions, PgPrices};
use crate::store::{Session, Source};
use crate::users::PgUsers;

/// Declares the repositories once: the set that owns them, its accessors, and the trait over both
/// handles.
macro_rules! repositories {
    ($($(#[$doc:meta])* $name:ident: $ty:ident($table:literal),)*) => {
        /// The repositories over one source of connections; [`Database`](crate::Database) and
        /// [`UnitOfWork`](crate::UnitOfWork) dereference to it.
        #[derive(Clone)]
        pub struct RepositorySet {
            $($name: $ty,)*
        }

        impl RepositorySet {
            pub(crate) fn new(source: &Source) -> Self {
                RepositorySet { $($name: $ty::new(Session::new(source.clone(), $table)),)* }
            }

            $($(#[$doc])* pub fn $name(&self) -> &$ty {
                &self.$name
            })*
        }

        /// Whatever gives repositories: code that takes `&impl Repositories` runs on the pool or
        /// inside a transaction and does not know which.
        pub trait Repositories: Send + Sync {
            /// All of them.
            fn repositories(&self) -> &RepositorySet;

            $($(#[$doc])* fn $name(&self) -> &$ty {
                self.repositories().$name()
            })*
        }
    };
}

repositories! {
    /// Accounts.
    users: PgUsers("users"),
    /// Results of analyses.
    analyses: PgAnalyses("analysis_results"),
    /// Documents of market-data providers, kept until they expire.
    market_cache: PgMarketCache("market_data_cache"),
    /// Portfolios.
    portfolios: PgPortfolios("portfolios"),
    /// Positions of portfolios.
    positions: PgPositions("positions"),
    /// Splits and dividends.
    corporate_actions: PgCorporateActions("corporate_actions"),
    /// Price bars.
    prices: PgPrices("price_history"),
    /// Option quotes.
    options: PgOptions("options_data"),
    /// Who changed what of an account.
    audit: PgAudit("audit_log"),
}

impl Repositories for RepositorySet {
    fn repositories(&self) -> &RepositorySet {
        self
    }
}

impl Repositories for crate::database::Database {
    fn repositories(&self) -> &RepositorySet {
        self
    }
}

impl Repositories for crate::database::unit_of_work::UnitOfWork {
    fn repositories(&self) -> &RepositorySet {
        self
    }
}
