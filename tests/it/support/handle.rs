//! Checks that run both on the pool and inside a transaction.

use std::future::Future;

use buffetbot_db::postgres::Connection;
use buffetbot_db::testing::TestDatabase;
use buffetbot_db::{Database, Repositories, RepositorySet, Result, UnitOfWork};
use diesel_async::SimpleAsyncConnection;

/// What a check is given: repositories, and the two things that differ between the handles.
pub trait Handle: Repositories + AsRef<RepositorySet> {
    /// A connection for statements of the check's own; inside a transaction the shared one.
    async fn connection(&self) -> Connection<'_>;

    /// Runs work that may fail. The server aborts a transaction on error: there it gets a savepoint.
    async fn attempt<R>(&self, work: impl Future<Output = Result<R>>) -> Result<R>;

    /// Runs statements without binds.
    async fn sql(&self, statements: &str) {
        let connection = self.connection().await;
        connection.as_diesel().batch_execute(statements).await.expect("the check's own statements");
    }
}

impl Handle for Database {
    async fn connection(&self) -> Connection<'_> {
        Database::connection(self).await.expect("a connection")
    }

    async fn attempt<R>(&self, work: impl Future<Output = Result<R>>) -> Result<R> {
        work.await
    }
}

impl Handle for UnitOfWork {
    async fn connection(&self) -> Connection<'_> {
        UnitOfWork::connection(self).await.expect("a connection")
    }

    async fn attempt<R>(&self, work: impl Future<Output = Result<R>>) -> Result<R> {
        self.sql("SAVEPOINT attempt").await;
        let result = work.await;
        match &result {
            Ok(_) => self.sql("RELEASE SAVEPOINT attempt").await,
            Err(_) => self.sql("ROLLBACK TO SAVEPOINT attempt; RELEASE SAVEPOINT attempt").await,
        }
        result
    }
}

/// A database with a partition for each year from 2024 to the tenth from now.
pub async fn by_year() -> TestDatabase {
    let db = TestDatabase::new().await.expect("a database");
    db.price_partitions().partition_by_year(Some(2024), 10, |_| {}).await.expect("partitioned");
    db
}

/// Makes each `async fn check(handle: &impl Handle)` two tests: on a database of its own, and
/// inside a unit of work of another one, which is committed afterwards.
///
/// With `by_year:` before the list, a third one: where `price_history` is partitioned.
macro_rules! conformance {
    (by_year: $($check:ident,)*) => {
        conformance! { $($check,)* }

        mod by_year {
            $(#[tokio::test]
            async fn $check() {
                let db = crate::support::handle::by_year().await;
                super::$check(&*db).await;
            })*
        }
    };
    ($($check:ident,)*) => {
        mod on_the_pool {
            $(#[tokio::test]
            async fn $check() {
                let db = buffetbot_db::testing::TestDatabase::new().await.expect("a database");
                super::$check(&*db).await;
            })*
        }

        mod in_a_unit_of_work {
            $(#[tokio::test]
            async fn $check() {
                let db = buffetbot_db::testing::TestDatabase::new().await.expect("a database");
                let uow = db.begin().await.expect("a transaction");
                super::$check(&uow).await;
                uow.commit().await.expect("a transaction that no check has aborted");
            })*
        }
    };
}
