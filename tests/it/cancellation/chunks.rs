//! Batches of several statements, dropped between any two of them: there as a whole or not at all.

use crate::api::*;
use buffetbot_db::testing::{TestDatabase, fixtures};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::time::Duration;

use super::every_method::{Handle, polled};
use crate::support::{active, ago, eventually, number, parsed, portfolio, raw, user};

/// More than two statements take.
const BATCH: usize = 1_100;

/// Writes a batch under a ticker that nothing else has.
type Write = for<'a> fn(&'a RepositorySet, PortfolioId, &'a Ticker) -> BoxFuture<'a, Result<()>>;

fn entries(batch: &Ticker) -> Vec<NewCacheEntry> {
    let data = Document::encode("batch").expect("a document");
    let key = |n| CacheKey::new(batch, DataType::NEWS).params([n]).expect("parameters");
    let hour = PutOptions::ttl(Duration::from_secs(3_600));
    (0..BATCH).map(|n| NewCacheEntry::new(key(n), data.clone(), hour.clone())).collect()
}

const WRITES: [(&str, Write); 4] = [
    ("positions", |repos, portfolio, batch| {
        let ticker = |n| parsed(&format!("{batch}.{n}"));
        let new = (0..BATCH).map(|n| NewPosition::new(portfolio, ticker(n), parsed::<Shares>("1")));
        let new: Vec<_> = new.collect();
        async move { repos.positions().create_many(&new).await.map(drop) }.boxed()
    }),
    ("market_data_cache", |repos, _, batch| {
        let new = entries(batch);
        async move { repos.market_cache().put_many(&new).await.map(drop) }.boxed()
    }),
    ("market_data_cache", |repos, _, batch| {
        let given = entries(batch).into_iter().map(|entry| Backfill { entry, cached_at: ago(1) });
        let given: Vec<_> = given.collect();
        async move { repos.market_cache().backfill_many(&given).await.map(drop) }.boxed()
    }),
    ("price_history", |repos, _, batch| {
        let bars = fixtures::bars(batch, parsed("2015-01-01"), BATCH).expect("bars");
        async move { repos.prices().create_many(&bars).await.map(drop) }.boxed()
    }),
];

#[tokio::test]
async fn they_are_there_whole_or_not_at_all() {
    let db = TestDatabase::new().await.expect("a database");
    let ada = user(&*db, "ada@example.com").await;
    let core = portfolio(&*db, &ada, "Core").await.id;
    let (mut batches, observer) = (0, raw(db.url()).await);
    for (place, (table, write)) in WRITES.into_iter().enumerate() {
        for handle in [Handle::Pool, Handle::Tenant, Handle::Unit] {
            let (mut polls, mut is_done) = (0, false);
            while !is_done {
                polls += 1;
                batches += 1;
                let batch: Ticker = parsed(&format!("N{batches}"));
                let done = match handle {
                    Handle::Pool => polled(polls, write(db.repositories(), core, &batch)).await,
                    Handle::Tenant => {
                        let scope = db.as_user(ada.id);
                        polled(polls, write(scope.repositories(), core, &batch)).await
                    }
                    Handle::Unit => {
                        let unit = db.begin().await.expect("a transaction");
                        let done = polled(polls, write(unit.repositories(), core, &batch)).await;
                        if done.is_some() {
                            unit.commit().await.expect("committed");
                        }
                        done
                    }
                };
                is_done = done.is_some();
                done.transpose().expect("nothing is refused");
                eventually("nothing runs on the server", async || active(&observer).await == 0)
                    .await;
                let count = format!(
                    "SELECT count(*) AS n FROM {table} WHERE split_part(ticker, '.', 1) = '{batch}'"
                );
                let connection = db.connection().await.expect("a connection");
                let count = number(&connection, &count).await.expect("counted");
                let whole = BATCH as i64;
                let is_right = count == whole || (count == 0 && !is_done);
                assert!(
                    is_right,
                    "{place} {table} by {handle:?}, dropped at {polls}: {count} rows"
                );
            }
            // A BEGIN, three statements and a COMMIT at the least; a unit of work has begun before.
            assert!(polls >= 5, "{table} by {handle:?}: {polls} await points");
        }
    }
}
