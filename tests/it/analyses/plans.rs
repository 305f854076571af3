//! One round trip each, through an index.

use std::time::Duration;

use buffetbot_db::Repositories;
use buffetbot_db::analyses::{AnalysisFilter, AnalysisKey, AnalysisSelector};
use buffetbot_db::testing::TestDatabase;
use buffetbot_db::types::{AnalysisType, Cursor, Document, PageRequest, PortfolioId};
use serde_json::json;

use super::{a_portfolio, ticker, value_of};
use crate::support::handle::Handle;
use crate::support::plan::{
    Recorder, assert_an_index_planned_anew, assert_index, assert_index_planned_anew,
    assert_not_read_whole,
};

const TABLE: &str = "analysis_results";
const PUBLIC: &str = "analysis_results_public_latest_idx";
const PRIVATE: &str = "analysis_results_portfolio_latest_idx";

/// 500 tickers with 120 public and 30 private results each; a tenth is of type risk, a third has
/// parameters.
async fn seeded() -> (TestDatabase, Recorder, PortfolioId) {
    let (db, statements) = Recorder::database().await;
    let owner = a_portfolio(&*db, "ada").await.id;
    db.sql(&format!(
        "INSERT INTO analysis_results
             (portfolio_id, ticker, analysis_type, calculated_at, expires_at, metadata,
             parameters)
         SELECT CASE WHEN i % 5 = 0 THEN '{owner}'::uuid END, 'T' || t,
             CASE WHEN i % 10 = 3 THEN 'risk_analysis' ELSE 'value_analysis' END,
             now() - i * interval '1 h' - t * interval '1 s',
             CASE WHEN i % 2 = 0 THEN now() + (i - 3) * t * interval '1 s' END,
             jsonb_build_object('t', t, 'i', i), CASE WHEN i % 3 = 0 THEN '{{\"years\": 5}}'::jsonb END
         FROM generate_series(1, 150) i, generate_series(1, 500) t;
         -- What autovacuum does sooner or later: a search reads the whole list of pending entries.
         SELECT gin_clean_pending_list('analysis_results_metadata_idx');
         ANALYZE analysis_results"
    ))
    .await;
    statements.take();
    (db, statements, owner)
}

#[tokio::test]
async fn lookups_take_one_round_trip_and_an_index() {
    let (db, statements, owner) = seeded().await;
    let analyses = db.analyses();
    let key = AnalysisKey::new(&ticker("T77"), AnalysisType::Value);
    let owned = format!("'{owner}'");

    analyses.latest_fresh(&key).await.expect("latest").expect("a result");
    let public = ["'T77'", "'value_analysis'", "1"];
    assert_index(&db, &statements.only(), &public, TABLE, PUBLIC).await;
    statements.take();

    analyses.latest(&key).await.expect("latest").expect("a result");
    assert_index(&db, &statements.only(), &public, TABLE, PUBLIC).await;
    statements.take();

    analyses.latest_fresh(&key.clone().portfolio(owner)).await.expect("latest").expect("a result");
    let private = ["'T77'", "'value_analysis'", &owned, "1"];
    assert_index(&db, &statements.only(), &private, TABLE, PRIVATE).await;
    statements.take();

    let tickers: Vec<_> = (0..100).map(|i| ticker(&format!("T{i}"))).collect();
    analyses.latest_fresh_many(&tickers, AnalysisType::Value, None).await.expect("latest");
    let many = ["'{T1,T2,T3}'", "'value_analysis'", "'{\"years\": 5}'"];
    assert_index(&db, &statements.only(), &many[..2], TABLE, PUBLIC).await;
    statements.take();

    let parameters = Document::encode(&json!({"years": 5})).expect("JSON");
    let with = Some(&parameters);
    analyses.latest_fresh_many(&tickers, AnalysisType::Value, with).await.expect("latest");
    assert_index(&db, &statements.only(), &many, TABLE, PUBLIC).await;
    statements.take();

    analyses.create_many(&[value_of("T1")]).await.expect("save");
    assert_eq!(statements.take().len(), 3, "what comes back is read before the commit");
}

#[tokio::test]
async fn histories_and_searches_use_an_index() {
    let (db, statements, owner) = seeded().await;
    let analyses = db.analyses();
    let t7 = ticker("T7");
    let owned = format!("'{owner}'");

    let page = PageRequest::first(20);
    let value = Some(AnalysisType::Value);
    let first = analyses.history_for_ticker(&t7, value, &page).await.expect("history");
    assert_index(&db, &statements.only(), &["'T7'", "'value_analysis'", "21"], TABLE, PUBLIC).await;
    statements.take();

    let cursor: Cursor = first.next.expect("a second page");
    let page = PageRequest::after(20, cursor);
    analyses.history_for_ticker(&t7, value, &page).await.expect("history");
    let time = "now() - interval '30 h'";
    let id = "'00000000-0000-7000-8000-000000000000'";
    let after = ["'T7'", "'value_analysis'", time, time, id, "21"];
    assert_index(&db, &statements.only(), &after, TABLE, PUBLIC).await;
    statements.take();

    analyses.history_for_portfolio(owner, Some(&t7), &page).await.expect("history");
    statements.take();
    analyses
        .history_for_portfolio(owner, Some(&t7), &PageRequest::first(5))
        .await
        .expect("history");
    assert_index(&db, &statements.only(), &[&owned, "'T7'", "6"], TABLE, PRIVATE).await;
    statements.take();

    let part = Document::encode(&json!({"t": 5, "i": 7})).expect("JSON");
    let filter = AnalysisFilter::default().metadata_contains(part);
    assert_eq!(analyses.count(&filter).await.expect("count"), 1);
    let contains = ["'{\"t\": 5, \"i\": 7}'"];
    let index = "analysis_results_metadata_idx";
    assert_index_planned_anew(&db, &statements.only(), &contains, TABLE, index).await;
    statements.take();

    analyses.list(&AnalysisFilter::default(), &PageRequest::first(5)).await.expect("list");
    assert_index(&db, &statements.only(), &["6"], TABLE, "idx_analysis_calculated_at").await;
}

#[tokio::test]
async fn expiry_is_found_by_its_index() {
    let (db, statements, _) = seeded().await;
    let analyses = db.analyses();
    assert_eq!(analyses.sweep_expired(50, Duration::ZERO).await.expect("sweep").deleted, 50);
    let index = "analysis_results_kept_until_idx";
    assert_index(&db, &statements.only(), &["'0 s'"], TABLE, index).await;
    statements.take();
    let selector = AnalysisSelector { ticker: Some(ticker("T7")), ..AnalysisSelector::default() };
    analyses.invalidate(&selector).await.expect("invalidate");
    let sent = statements.take();
    let results = sent.iter().find(|sql| sql.contains("UPDATE analysis_results")).expect("sent");
    let arguments = ["'T7'", "NULL", "NULL", "NULL"];
    // From version 18 the server skips the first column of an index where it has few values, as here.
    let indexes = ["idx_analysis_ticker", "idx_analysis_portfolio_ticker"];
    assert_an_index_planned_anew(&db, results, &arguments, TABLE, &indexes).await;
}

#[tokio::test]
async fn what_is_outdated_is_found_by_indexes() {
    let (db, statements, _) = seeded().await;
    db.sql(
        r#"UPDATE analysis_results SET inputs = jsonb_build_object(
               'documents', jsonb_build_array(jsonb_build_object(
                   'ticker', ticker, 'data_type', 'fundamentals', 'revision', 0)),
               'bars', jsonb_build_array(jsonb_build_object('ticker', ticker, 'digest', 1)))
           WHERE calculated_at > now() - interval '20 h';
           INSERT INTO market_data_cache (ticker, data_type, data, expires_at)
           SELECT 'T' || t, 'news' || i, '{}', now() + interval '1 h'
           FROM generate_series(1, 100) i, generate_series(1, 500) t;
           ANALYZE analysis_results;
           ANALYZE market_data_cache"#,
    )
    .await;
    let analyses = db.analyses();
    let none = "'00000000-0000-0000-0000-000000000000'";
    for (ticker, start) in [(Some(ticker("T77")), "'T77'"), (None, "''")] {
        statements.take();
        let expired = analyses.invalidate_stale_inputs(ticker.as_ref()).await.expect("invalidated");
        assert!(expired > 0);
        let sent = statements.take();
        for index in ["analysis_results_inputs_idx", "analysis_results_pkey"] {
            assert_index(&db, &sent[0], &[none, start], TABLE, index).await;
        }
        assert_not_read_whole(&db, &sent[0], &[none, start], "market_data_cache").await;
    }
}
