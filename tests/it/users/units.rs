//! What a unit of work has replaced, deleted or invalidated is not served once it is committed.

use std::time::Duration;

use crate::api::*;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::*;
use crate::support::portfolio;

const HOUR: Duration = Duration::from_secs(3_600);
/// What is served before, and what after it was written anew.
const OLD: &str = "old";
const NEW: &str = "new";

/// A user with a private result and a document that nobody owns, both in memory.
struct Held {
    user: User,
    portfolio: Portfolio,
    result: AnalysisKey,
    result_id: AnalysisId,
    document: CacheKey,
    document_id: CacheEntryId,
}

impl Held {
    async fn new(db: &Database) -> Self {
        let id = uuid::Uuid::new_v4().simple();
        let user = user(db, &format!("{id}@example.com")).await;
        let portfolio = portfolio(db, &user, "Core").await;
        let ticker: Ticker = parsed("AAPL");
        let result = AnalysisKey::new(&ticker, AnalysisType::Risk).portfolio(portfolio.id);
        let document = CacheKey::new(&ticker, DataType::NEWS).params(id.to_string());
        let document = document.expect("parameters");
        let stored = db.analyses().create(&summed_up(portfolio.id, OLD)).await.expect("stored");
        let text = self::document(json!(OLD));
        let entry = db.market_cache().put(&document, &text, &PutOptions::ttl(HOUR)).await;
        let document_id = entry.expect("stored").id;
        let held = Held { user, portfolio, result, result_id: stored.id, document, document_id };
        crate::support::eventually("both are in memory", async || {
            let (result, document) = (held.result(db).await, held.document(db).await);
            result == Some((OLD.into(), Origin::Memory))
                && document == Some((OLD.into(), Origin::Memory))
        })
        .await;
        held
    }

    async fn result(&self, db: &Database) -> Option<(String, Origin)> {
        let policy = Policy::ttl(HOUR).retry_after(Duration::ZERO);
        let fail = |_| async { Err::<NewAnalysis, _>("the model is down") };
        let found = db.get_or_compute(&self.result, &policy, fail).await.ok()?;
        Some((found.value.summary.clone()?, found.origin))
    }

    async fn document(&self, db: &Database) -> Option<(String, Origin)> {
        let found = db.cache().get::<String>(&self.document).await.expect("an answer")?;
        Some(((*found.value).clone(), found.origin))
    }
}

fn summed_up(portfolio: PortfolioId, summary: &str) -> NewAnalysis {
    let new = NewAnalysis::new(parsed("AAPL"), AnalysisType::Risk);
    new.portfolio(portfolio).summary(summary).ttl(HOUR)
}

type Change = for<'a> fn(&'a UnitOfWork, &'a Held) -> BoxFuture<'a, Result<()>>;

/// What each change leaves of the result and of the document.
const CHANGES: [(&str, Option<&str>, Option<&str>, Change); 14] = [
    ("users.erase", None, Some(OLD), |unit, held| {
        async { unit.users().erase(held.user.id).await.map(drop) }.boxed()
    }),
    ("users.erase_inactive", None, Some(OLD), |unit, _| {
        async { unit.users().erase_inactive(10, Duration::ZERO).await.map(drop) }.boxed()
    }),
    ("users.delete", None, Some(OLD), |unit, held| {
        async { unit.users().delete(held.user.id).await.map(drop) }.boxed()
    }),
    ("portfolios.delete", None, Some(OLD), |unit, held| {
        async { unit.portfolios().delete(held.portfolio.id).await.map(drop) }.boxed()
    }),
    ("analyses.invalidate", None, Some(OLD), |unit, held| {
        let portfolio = Some(held.portfolio.id);
        let selector = AnalysisSelector { portfolio, ..AnalysisSelector::default() };
        async move { unit.analyses().invalidate(&selector).await.map(drop) }.boxed()
    }),
    ("analyses.delete", None, Some(OLD), |unit, held| {
        async { unit.analyses().delete(held.result_id).await.map(drop) }.boxed()
    }),
    ("analyses.create", Some(NEW), Some(OLD), |unit, held| {
        let new = summed_up(held.portfolio.id, NEW);
        async move { unit.analyses().create(&new).await.map(drop) }.boxed()
    }),
    ("analyses.create_many", Some(NEW), Some(OLD), |unit, held| {
        let new = [summed_up(held.portfolio.id, NEW)];
        async move { unit.analyses().create_many(&new).await.map(drop) }.boxed()
    }),
    ("analyses.update", Some(NEW), Some(OLD), |unit, held| {
        let patch = AnalysisPatch::default().summary(NEW);
        async move { unit.analyses().update(held.result_id, &patch).await.map(drop) }.boxed()
    }),
    ("market_cache.invalidate", Some(OLD), None, |unit, held| {
        let selector = CacheSelector::key(&held.document);
        async move { unit.market_cache().invalidate(&selector).await.map(drop) }.boxed()
    }),
    ("market_cache.delete_key", Some(OLD), None, |unit, held| {
        async { unit.market_cache().delete_key(&held.document).await.map(drop) }.boxed()
    }),
    ("market_cache.put", Some(OLD), Some(NEW), |unit, held| {
        let new = document(json!(NEW));
        async move {
            let put = PutOptions::ttl(HOUR);
            unit.market_cache().put(&held.document, &new, &put).await.map(drop)
        }
        .boxed()
    }),
    ("market_cache.put_many", Some(OLD), Some(NEW), |unit, held| {
        let (key, data) = (held.document.clone(), document(json!(NEW)));
        let new = [NewCacheEntry::new(key, data, PutOptions::ttl(HOUR))];
        async move { unit.market_cache().put_many(&new).await.map(drop) }.boxed()
    }),
    ("market_cache.update", Some(OLD), Some(NEW), |unit, held| {
        let patch = CacheEntryPatch::default().data(document(json!(NEW)));
        async move { unit.market_cache().update(held.document_id, &patch).await.map(drop) }.boxed()
    }),
];

#[tokio::test]
async fn e3_what_a_unit_of_work_has_changed_is_not_served_once_it_is_committed() {
    let test = TestDatabase::new().await.expect("a database");
    // Told of changes by notifications alone: it does not look in between.
    let options = CacheOptions::default().poll_every(HOUR).max_staleness(HOUR);
    let db = Database::clone(&test).with_cache(options).expect("a cache");
    for way in ["begin", "as_user, begin", "transaction", "as_user, transaction"] {
        for (name, result, document, change) in CHANGES {
            let held = Held::new(&db).await;
            let what = format!("{name} in {way}");
            if name == "users.erase_inactive" {
                db.users().deactivate(held.user.id).await.expect("deactivated");
            }
            let scope = db.as_user(held.user.id);
            let work = async |unit: &UnitOfWork| change(unit, &held).await;
            match way {
                "transaction" => db.transaction(work).await.expect(&what),
                "as_user, transaction" => scope.transaction(work).await.expect(&what),
                _ => {
                    let begun = if way == "begin" { db.begin().await } else { scope.begin().await };
                    let unit = begun.expect("begun");
                    work(&unit).await.expect(&what);
                    unit.commit().await.expect(&what);
                }
            }
            // At once, and again where the first has put something into memory.
            for _ in 0..2 {
                let served = held.result(&db).await.map(|(summary, _)| summary);
                assert_eq!(served.as_deref(), result, "result after {what}");
                let served = held.document(&db).await.map(|(text, _)| text);
                assert_eq!(served.as_deref(), document, "document after {what}");
            }
        }
    }
}

/// What is rolled back changes nothing, and what reads alone waits for nothing.
#[tokio::test]
async fn e3_a_unit_of_work_that_changes_nothing_leaves_memory_as_it_is() {
    let test = TestDatabase::new().await.expect("a database");
    let options = CacheOptions::default().poll_every(HOUR).max_staleness(HOUR);
    let db = Database::clone(&test).with_cache(options).expect("a cache");
    let held = Held::new(&db).await;
    let unit = db.begin().await.expect("begun");
    unit.users().erase(held.user.id).await.expect("erased");
    unit.rollback().await.expect("undone");
    let unit = db.begin().await.expect("begun");
    assert!(unit.analyses().find(held.result_id).await.expect("read").is_some());
    unit.commit().await.expect("done");
    assert_eq!(held.result(&db).await, Some((OLD.into(), Origin::Memory)));
    assert_eq!(held.document(&db).await, Some((OLD.into(), Origin::Memory)));
}
