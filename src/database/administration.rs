//! Work on the database as a whole: roles, the check of a live database, partitions; signing up.

use super::Database;
use crate::error::Result;
use crate::prices::PricePartitions;
use crate::store::tables;
use crate::tenancy::{self, Diagnosis};
use crate::users::Accounts;

impl Database {
    /// Makes the roles that this database is used as, unless they are there, and gives them what they need
    /// on its tables; grants them to the login that asks. Run it after [`migrate`](Self::migrate), once and after
    /// migrations that add tables; it changes nothing the second time. It takes a login that may make roles
    /// (CREATEROLE) and owns the tables.
    ///
    /// | role | sees | for |
    /// |---|---|---|
    /// | the application role ([`Config::application_role`](crate::Config::application_role)) | the rows of the user that is named; without a name, only what nobody owns | [`as_user`](Self::as_user), and programs that log in as a member of it alone |
    /// | [`MAINTENANCE_ROLE`](crate::tenancy::MAINTENANCE_ROLE) | every row | sweeps, support, reports |
    /// | the owner of the tables | every row | migrations and partitions |
    ///
    /// Neither of the first two can log in, own or TRUNCATE anything, or bypass policies: logins are made
    /// members of them.
    ///
    /// # Errors
    /// [`Error::Denied`](crate::Error::Denied) where the login may not make roles, and then nothing has changed.
    pub async fn create_roles(&self) -> Result<()> {
        tenancy::create_roles(self.pool(), &self.config().application_role).await
    }

    /// Examines the database that is connected to, and shows no row.
    ///
    /// By the catalog: whether every migration is applied; whether every table in which somebody owns rows (found by
    /// its foreign keys, columns and parents, also if it is not this crate's) has row-level security, forced, with
    /// policies that ask for the user; the roles' attributes, memberships and privileges; views, rules and functions
    /// of any schema that go around the policies; who may create objects; as which login it runs.
    ///
    /// By effect: in a transaction that is rolled back, with random names, it makes two users with a row in each table
    /// of this crate that users own rows in, takes on the application role in the name of each, and tries to read and
    /// write what is the other's. Tables that are not this crate's are not tried, which a warning says.
    ///
    /// What it tries fires the tables' triggers, those of others as well, and moves sequences, which no rollback
    /// undoes. It waits for a lock two seconds at most, and locks no row but those that it makes. Where it cannot try (on
    /// a standby, or as a login that may not write or take on the role), a [`Severity::Unknown`](crate::tenancy::Severity::Unknown) says why, and the
    /// diagnosis is not healthy.
    ///
    /// Rows that cannot be read (infinite times, invalid tickers, preferences that are not JSON, ...) are looked for where no
    /// validated check vouches for a table, ten seconds per table at most: a [`Severity::Warning`](crate::tenancy::Severity::Warning) names up to ten of each by id.
    ///
    /// A function with its owner's rights is a danger wherever PUBLIC or the application role may execute it, also in
    /// a schema without USAGE: that hides its name, but not from casts, operators and aggregates.
    ///
    /// ```no_run
    /// # async fn example(db: &buffetbot_db::Database) -> buffetbot_db::Result<()> {
    /// let diagnosis = db.doctor().await?;
    /// for finding in &diagnosis.findings {
    ///     eprintln!("{finding}");
    /// }
    /// assert!(diagnosis.is_healthy());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of a query of the catalog.
    pub async fn doctor(&self) -> Result<Diagnosis> {
        let pending = self.pending().await;
        tenancy::examine(self.pool(), &self.config().application_role, pending).await
    }

    /// The partitions of `price_history`.
    pub fn price_partitions(&self) -> PricePartitions {
        PricePartitions::new(self.pool().clone())
    }

    /// Signing up and logging in.
    pub fn accounts(&self) -> Accounts {
        Accounts::new(
            self.session(&tables::USERS),
            #[cfg(feature = "passwords")]
            self.hasher().clone(),
        )
    }
}
