//! Invalidation and clean-up.

use std::time::Duration;

use buffetbot_db::analyses::{
    AnalysisFilter, AnalysisKey, AnalysisScope, AnalysisSelector, NewAnalysis,
};
use buffetbot_db::testing::TestDatabase;
use buffetbot_db::types::AnalysisType;
use buffetbot_db::{Error, Repositories};
use futures_util::future::try_join_all;

use super::{HOUR, a_portfolio, at, save, ticker, value_of};
use crate::support::handle::Handle;
use crate::support::number;

conformance! {
    invalidation_takes_what_the_selector_means,
    an_invalidated_result_stays_in_the_history,
    a_sweep_is_bounded_and_keeps_what_is_asked_for,
}

async fn invalidation_takes_what_the_selector_means(handle: &impl Handle) {
    let analyses = handle.analyses();
    let owner = a_portfolio(handle, "ada").await;
    match analyses.invalidate(&AnalysisSelector::default()).await {
        Err(Error::Invalid { field, .. }) => assert_eq!(field, "selector"),
        other => panic!("{other:?}"),
    }
    let all = AnalysisSelector::default;
    let days = |n: u64| Some(Duration::from_secs(n * 86_400));
    let selectors = [
        (AnalysisSelector { ticker: Some(ticker("AAPL")), ..all() }, 4),
        (AnalysisSelector { analysis_type: Some(AnalysisType::Risk), ..all() }, 2),
        (AnalysisSelector { portfolio: Some(owner.id), ..all() }, 1),
        (AnalysisSelector { older_than: days(1), ..all() }, 2),
        (AnalysisSelector { older_than: Some(Duration::ZERO), ..all() }, 5),
        (AnalysisSelector { older_than: Some(Duration::MAX), ..all() }, 0),
        (AnalysisSelector { ticker: Some(ticker("AAPL")), older_than: days(1), ..all() }, 1),
        (AnalysisSelector { ticker: Some(ticker("MSFT")), portfolio: Some(owner.id), ..all() }, 0),
        (AnalysisSelector { ticker: Some(ticker("NONE")), ..all() }, 0),
    ];
    for (selector, expected) in selectors {
        let new = [
            value_of("AAPL"),
            value_of("AAPL").calculated_at(at(0)).ttl(HOUR),
            NewAnalysis::new(ticker("AAPL"), AnalysisType::Risk),
            value_of("AAPL").portfolio(owner.id),
            NewAnalysis::new(ticker("MSFT"), AnalysisType::Risk).calculated_at(at(1)),
            value_of("AAPL").calculated_at(at(2)).expires_at(at(3)),
        ];
        let stored = analyses.create_many(&new).await.expect("save");
        let hit = analyses.invalidate(&selector).await.expect("invalidate");
        assert_eq!(hit, expected, "{selector:?}");
        assert_eq!(analyses.invalidate(&selector).await.expect("invalidate"), 0, "{selector:?}");
        let scope = AnalysisScope::All;
        let fresh = AnalysisFilter::default().scope(scope).is_fresh(true);
        assert_eq!(analyses.count(&fresh).await.expect("count"), 5 - expected, "{selector:?}");
        for result in stored {
            analyses.delete(result.id).await.expect("delete");
        }
    }
}

async fn an_invalidated_result_stays_in_the_history(handle: &impl Handle) {
    let analyses = handle.analyses();
    let stored = save(handle, &value_of("AAPL")).await;
    let key = AnalysisKey::new(&stored.ticker, stored.analysis_type);
    assert!(analyses.latest_fresh(&key).await.expect("latest").is_some());
    let selector = AnalysisSelector { ticker: Some(ticker("AAPL")), ..AnalysisSelector::default() };
    analyses.invalidate(&selector).await.expect("invalidate");
    assert_eq!(analyses.latest_fresh(&key).await.expect("latest"), None);
    let latest = analyses.latest(&key).await.expect("latest").expect("still there");
    assert_eq!((latest.value.id, latest.is_expired), (stored.id, true));
}

async fn a_sweep_is_bounded_and_keeps_what_is_asked_for(handle: &impl Handle) {
    let analyses = handle.analyses();
    for hours in 0..5 {
        save(
            handle,
            &value_of(&format!("OLD{hours}")).calculated_at(at(-24)).expires_at(at(hours)),
        )
        .await;
    }
    save(handle, &value_of("EVER")).await;
    save(handle, &value_of("LIVE").ttl(HOUR)).await;
    let none = analyses.sweep_expired(0, Duration::ZERO).await.expect("sweep");
    assert_eq!((none.deleted, none.more_left), (0, false));
    let kept = analyses.sweep_expired(10, Duration::MAX).await.expect("sweep");
    assert_eq!((kept.deleted, kept.more_left), (0, false));
    let first = analyses.sweep_expired(3, HOUR).await.expect("sweep");
    assert_eq!((first.deleted, first.more_left), (3, true));
    let key = AnalysisKey::new(&ticker("OLD4"), AnalysisType::Value);
    assert!(analyses.latest(&key).await.expect("latest").is_some(), "longest expired goes first");
    let last = analyses.sweep_expired(3, HOUR).await.expect("sweep");
    assert_eq!((last.deleted, last.more_left), (2, false));
    assert_eq!(analyses.count(&AnalysisFilter::default()).await.expect("count"), 2);
}

#[tokio::test]
async fn two_sweepers_share_the_work_exactly() {
    let db = TestDatabase::new().await.expect("a database");
    db.sql(
        "INSERT INTO analysis_results (ticker, analysis_type, calculated_at, expires_at)
         SELECT 'T' || i, 'value_analysis', now() - interval '1 day', now() - interval '1 h' * (i % 2 * 2 - 1)
         FROM generate_series(1, 5000) i",
    )
    .await;
    let sweep = async || {
        let mut deleted = 0;
        loop {
            let swept = db.analyses().sweep_expired(100, Duration::ZERO).await.expect("sweep");
            deleted += swept.deleted;
            if !swept.more_left {
                return deleted;
            }
        }
    };
    let (a, b) = tokio::join!(sweep(), sweep());
    assert_eq!(a + b, 2_500);
    assert!(a > 0 && b > 0, "{a} and {b}");
    assert_eq!(db.analyses().count(&AnalysisFilter::default()).await.expect("count"), 2_500);
}

#[tokio::test]
async fn a_sweeper_passes_over_what_another_holds() {
    let db = TestDatabase::new().await.expect("a database");
    for hours in 0..4 {
        save(&*db, &value_of(&format!("OLD{hours}")).calculated_at(at(-24)).expires_at(at(hours)))
            .await;
    }
    let other = db.begin().await.expect("a transaction");
    other.sql("SELECT 1 FROM analysis_results ORDER BY expires_at LIMIT 2 FOR UPDATE").await;
    let swept = db.analyses().sweep_expired(10, Duration::ZERO).await.expect("no wait for a lock");
    assert_eq!((swept.deleted, swept.more_left), (2, false));
    other.rollback().await.expect("rollback");
    assert_eq!(db.analyses().sweep_expired(10, Duration::ZERO).await.expect("sweep").deleted, 2);
}

#[tokio::test]
async fn invalidations_at_once_do_not_deadlock() {
    let db = TestDatabase::new().await.expect("a database");
    db.sql(
        "INSERT INTO analysis_results (ticker, analysis_type)
         SELECT 'T' || i % 50, (ARRAY['value_analysis', 'risk_analysis'])[1 + i % 2]
         FROM generate_series(1, 4000) i;
         INSERT INTO cache_leases (space, ticker, name, parameters_key, token, taken_at, expires_at)
         SELECT 'analyses', 'T' || i % 50, (ARRAY['value_analysis', 'risk_analysis'])[1 + i % 2],
             cache_parameters_key(to_jsonb(i)), i, now(), now() + interval '1 min'
         FROM generate_series(1, 2000) i",
    )
    .await;
    let all = AnalysisSelector::default;
    let selectors = [
        AnalysisSelector { analysis_type: Some(AnalysisType::Value), ..all() },
        AnalysisSelector { older_than: Some(Duration::ZERO), ..all() },
        AnalysisSelector { analysis_type: Some(AnalysisType::Risk), ..all() },
        AnalysisSelector { ticker: Some(ticker("T7")), ..all() },
    ];
    let at_once = selectors.iter().map(|selector| db.analyses().invalidate(selector));
    let hits = try_join_all(at_once).await.expect("no deadlock");
    // One that began earlier takes what expires at the other's later time for fresh: it counts, too.
    assert!(hits.iter().sum::<u64>() >= 4_000, "{hits:?}");
    let fresh = AnalysisFilter::default().is_fresh(true);
    assert_eq!(db.analyses().count(&fresh).await.expect("count"), 0);
    let connection = db.connection().await.expect("a connection");
    let leases = number(&connection, "SELECT count(*) AS n FROM cache_leases").await;
    assert_eq!(leases.expect("leases"), 0);
}
