//! What an invalidation does to those who are computing.

use std::time::Duration;

use buffetbot_db::Repositories;
use buffetbot_db::analyses::AnalysisSelector;
use buffetbot_db::testing::TestDatabase;
use buffetbot_db::types::{AnalysisType, PortfolioId};

use super::{a_portfolio, save, ticker, value_of};
use crate::support::handle::Handle;
use crate::support::{eventually, number};

conformance! {
    invalidation_takes_the_leases_of_the_selector,
}

/// A lease of a key without parameters.
async fn lease(handle: &impl Handle, space: &str, key: (&str, &str, Option<PortfolioId>)) {
    let (ticker, name, portfolio) = key;
    let portfolio = portfolio.map_or("NULL".into(), |id| format!("'{id}'"));
    handle
        .sql(&format!(
            "INSERT INTO cache_leases
                 (space, ticker, name, parameters_key, portfolio_id, token, taken_at, expires_at)
             VALUES ('{space}', '{ticker}', '{name}', cache_parameters_key(NULL), {portfolio},
                 nextval('cache_version'), now(), now() + interval '1 min')"
        ))
        .await;
}

async fn leases(handle: &impl Handle) -> i64 {
    let connection = handle.connection().await;
    number(&connection, "SELECT count(*) AS n FROM cache_leases").await.expect("leases")
}

async fn invalidation_takes_the_leases_of_the_selector(handle: &impl Handle) {
    let owner = a_portfolio(handle, "ada").await.id;
    let all = AnalysisSelector::default;
    let old = Some(Duration::from_secs(86_400));
    let of_ticker = AnalysisSelector { ticker: Some(ticker("AAPL")), ..all() };
    let of_risk = AnalysisSelector { analysis_type: Some(AnalysisType::Risk), ..all() };
    let of_owner = AnalysisSelector { portfolio: Some(owner), ..all() };
    let selectors = [
        (of_ticker.clone(), 3),
        (AnalysisSelector { older_than: old, ..of_ticker.clone() }, 3),
        (AnalysisSelector { analysis_type: Some(AnalysisType::Value), ..of_ticker.clone() }, 2),
        (AnalysisSelector { portfolio: Some(owner), ..of_ticker }, 1),
        (of_risk, 2),
        (of_owner, 1),
        (AnalysisSelector { portfolio: Some(PortfolioId::generate()), ..all() }, 0),
        (AnalysisSelector { ticker: Some(ticker("NONE")), ..all() }, 0),
        (AnalysisSelector { older_than: old, ..all() }, 0),
        (AnalysisSelector { older_than: Some(Duration::ZERO), ..all() }, 0),
    ];
    for (selector, taken) in selectors {
        for key in [
            ("AAPL", "value_analysis", None),
            ("AAPL", "value_analysis", Some(owner)),
            ("AAPL", "risk_analysis", None),
            ("MSFT", "risk_analysis", None),
        ] {
            lease(handle, "analyses", key).await;
        }
        lease(handle, "market_data", ("AAPL", "value_analysis", None)).await;
        handle.analyses().invalidate(&selector).await.expect("invalidate");
        assert_eq!(leases(handle).await, 5 - taken, "{selector:?}");
        handle.sql("DELETE FROM cache_leases").await;
    }
}

#[tokio::test]
async fn an_invalidation_that_is_undone_leaves_leases_and_results() {
    let db = TestDatabase::new().await.expect("a database");
    let stored = save(&*db, &value_of("AAPL")).await;
    lease(&*db, "analyses", ("AAPL", "value_analysis", None)).await;
    let selector = AnalysisSelector { ticker: Some(ticker("AAPL")), ..AnalysisSelector::default() };
    let uow = db.begin().await.expect("a transaction");
    assert_eq!(uow.analyses().invalidate(&selector).await.expect("invalidate"), 1);
    assert_eq!((leases(&uow).await, leases(&*db).await), (0, 1));
    uow.rollback().await.expect("rollback");
    assert_eq!(leases(&*db).await, 1);
    assert_eq!(db.analyses().find(stored.id).await.expect("find"), Some(stored));
}

#[tokio::test]
async fn what_was_stored_while_an_invalidation_waited_is_invalidated() {
    let db = TestDatabase::new().await.expect("a database");
    lease(&*db, "analyses", ("AAPL", "value_analysis", None)).await;
    let store = db.begin().await.expect("a transaction");
    store.sql("DELETE FROM cache_leases").await;
    save(&store, &value_of("AAPL")).await;
    let selector = AnalysisSelector { ticker: Some(ticker("AAPL")), ..AnalysisSelector::default() };
    let commit = async {
        eventually("the invalidation waits for the lease", async || {
            let waiting = "SELECT count(*) AS n FROM pg_stat_activity
                WHERE datname = current_database() AND wait_event_type = 'Lock'";
            let connection = db.connection().await.expect("a connection");
            number(&connection, waiting).await.expect("waiting") == 1
        })
        .await;
        store.commit().await.expect("commit");
    };
    let (expired, ()) = tokio::join!(db.analyses().invalidate(&selector), commit);
    assert_eq!(expired.expect("invalidate"), 1);
}
