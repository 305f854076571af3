//! A transaction that is run again when it collides with another.

use std::future::Future;
use std::time::Duration;

use super::unit_of_work::UnitOfWork;
use crate::cache::Cache;
use crate::error::{Error, Result};
use crate::postgres::{Pool, Tenant, TransactionOptions, undone};

/// An error type that a retried transaction can return: it takes up this crate's error and says
/// whether running the transaction again may help.
pub trait TransactionError: From<Error> {
    /// Whether the error is, or wraps, one that is [retryable](Error::is_retryable).
    fn is_retryable(&self) -> bool;
}

impl TransactionError for Error {
    fn is_retryable(&self) -> bool {
        Error::is_retryable(self)
    }
}

impl TransactionError for Box<dyn std::error::Error + Send + Sync> {
    fn is_retryable(&self) -> bool {
        self.downcast_ref::<Error>().is_some_and(Error::is_retryable)
    }
}

/// Names the future of an async closure that may run more than once, so that it can be bound by
/// `Send`; every matching `async |uow| { ... }` has it.
pub trait TransactionFn<T, R>:
    AsyncFn(T) -> R + Fn(T) -> <Self as TransactionFn<T, R>>::Fut
{
    /// The closure's future.
    type Fut: Future<Output = R>;
}

impl<F, T, Fut, R> TransactionFn<T, R> for F
where
    F: AsyncFn(T) -> R + Fn(T) -> Fut,
    Fut: Future<Output = R>,
{
    type Fut = Fut;
}

/// Attempts of a retried transaction in all.
const ATTEMPTS: u32 = 6;
/// The pause before the first repetition; it doubles, and a random half of it is left out.
const FIRST_PAUSE: Duration = Duration::from_millis(5);

/// Runs `work` in a transaction and commits it, again from the start while the server says that
/// this may help.
pub(crate) async fn transaction<R, E, F>(
    pool: &Pool,
    options: TransactionOptions,
    tenant: Option<&Tenant>,
    cache: &Cache,
    work: F,
) -> Result<R, E>
where
    for<'u> F: AsyncFn(&'u UnitOfWork) -> Result<R, E>
        + TransactionFn<&'u UnitOfWork, Result<R, E>, Fut: Send>
        + Send
        + Sync,
    R: Send,
    E: TransactionError + Send,
{
    for attempt in 1.. {
        let unit = UnitOfWork::begin(pool, options, tenant, cache).await?;
        let mut was_undone = false;
        let error = match work(&unit).await {
            Ok(value) => match unit.commits().await {
                Ok(true) => return Ok(value),
                Ok(false) => {
                    was_undone = true;
                    undone().into()
                }
                Err(e) => e.into(),
            },
            // Dropping the unit rolls back.
            Err(e) => e,
        };
        if attempt == ATTEMPTS || !(was_undone || error.is_retryable()) {
            return Err(error);
        }
        pool.count_retried();
        tracing::debug!(target: "buffetbot_db::connection", attempt, "a transaction is run again");
        let random = f64::from(uuid::Uuid::new_v4().as_bytes()[0]) / 255.0;
        tokio::time::sleep((FIRST_PAUSE * 2u32.pow(attempt - 1)).mul_f64(0.5 + 0.5 * random)).await;
    }
    unreachable!("the loop returns at the last attempt")
}
