//! What becomes of computed results when something changes.

use buffetbot_db::analyses::{AnalysisPatch, AnalysisSelector};
use buffetbot_db::market_cache::CacheKey;
use buffetbot_db::types::{DataType, PageRequest, PortfolioId, Score};
use tokio::sync::Semaphore;

use super::*;
use crate::support::eventually;

#[tokio::test]
async fn what_is_invalidated_while_it_is_computed_is_returned_and_not_stored() {
    let db = TestDatabase::new().await.expect("a database");
    let (here, there) = (process(&db), process(&db));
    let (begun, open) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let call = {
        let (here, begun, open) = (here.clone(), begun.clone(), open.clone());
        tokio::spawn(async move {
            let compute = move |_| async move {
                begun.add_permits(1);
                drop(open.acquire().await);
                Ok::<_, BoxError>(value_of("AAPL").score(parsed("1")))
            };
            here.get_or_compute(&key(), &an_hour(), compute).await
        })
    };
    drop(begun.acquire().await);
    let selector = AnalysisSelector { ticker: Some(ticker("AAPL")), ..Default::default() };
    there.analyses().invalidate(&selector).await.expect("invalidated");
    open.add_permits(1);
    let returned = call.await.expect("no panic").expect("a result");
    assert_eq!((score(&returned.value), returned.origin), (Some("1".into()), Origin::Fetched));
    assert_eq!(db.analyses().find(returned.value.id).await.expect("an answer"), None);
    assert_eq!(here.cache().counters().superseded, 1);
    let model = Model::default();
    assert_eq!(model.ask(&here, &key()).await.origin, Origin::Fetched);
    assert_eq!(model.ask(&there, &key()).await.origin, Origin::Database);
}

/// Waits until every process finds this score, and then still does.
async fn comes_to_find(processes: &[Database; 2], score: Option<&str>) {
    for db in processes {
        let is_found = async || found(db, &key()).await.as_deref() == score;
        eventually(&format!("{score:?}"), is_found).await;
        for _ in 0..10 {
            assert!(is_found().await, "{score:?} is found no more");
        }
    }
}

#[tokio::test]
async fn what_one_process_does_to_results_the_others_see() {
    let db = TestDatabase::new().await.expect("a database");
    let processes = [process(&db), process(&db)];
    let [here, _] = &processes;
    let analyses = here.analyses();
    let scored = |n: &str| value_of("AAPL").score(parsed(n)).ttl(HOUR);

    save(here, &scored("1")).await;
    comes_to_find(&processes, Some("1")).await;
    let second = save(here, &scored("2")).await;
    comes_to_find(&processes, Some("2")).await;
    analyses.create_many(&[scored("3")]).await.expect("created");
    comes_to_find(&processes, Some("3")).await;
    let third = analyses.latest_fresh(&key()).await.expect("an answer").expect("a result");
    let patch = AnalysisPatch::default().score(parsed::<Score>("4"));
    analyses.update(third.id, &patch).await.expect("updated");
    comes_to_find(&processes, Some("4")).await;
    assert!(analyses.delete(third.id).await.expect("deleted"));
    comes_to_find(&processes, Some("2")).await;
    let sql = format!("UPDATE analysis_results SET score = 5 WHERE id = '{}'", second.id);
    here.sql(&sql).await;
    comes_to_find(&processes, Some("5")).await;
    here.sql(&format!("DELETE FROM analysis_results WHERE id = '{}'", second.id)).await;
    comes_to_find(&processes, Some("1")).await;
    let selector =
        AnalysisSelector { analysis_type: Some(AnalysisType::Value), ..Default::default() };
    assert_eq!(analyses.invalidate(&selector).await.expect("invalidated"), 1);
    comes_to_find(&processes, None).await;
    save(here, &scored("6")).await;
    comes_to_find(&processes, Some("6")).await;
    // Refused by default, and told where the owner lets it through.
    here.sql("ALTER TABLE analysis_results DISABLE TRIGGER analysis_results_refuse_truncate").await;
    here.sql("TRUNCATE analysis_results").await;
    comes_to_find(&processes, None).await;
}

#[tokio::test]
async fn ones_own_changes_are_seen_at_once() {
    let db = TestDatabase::new().await.expect("a database");
    let scored = |n: usize| value_of("AAPL").score(parsed::<Score>(&n.to_string())).ttl(HOUR);
    let selector = AnalysisSelector { ticker: Some(ticker("AAPL")), ..Default::default() };
    for round in 0..10 {
        let created = save(&*db, &scored(2 * round)).await;
        assert_eq!(found(&*db, &key()).await, Some((2 * round).to_string()));
        let patch = AnalysisPatch::default().score(parsed::<Score>(&(2 * round + 1).to_string()));
        db.analyses().update(created.id, &patch).await.expect("updated");
        assert_eq!(found(&*db, &key()).await, Some((2 * round + 1).to_string()));
        db.analyses().invalidate(&selector).await.expect("invalidated");
        assert_eq!(found(&*db, &key()).await, None);
    }
}

#[tokio::test]
async fn a_result_is_computed_again_when_its_document_has_changed() {
    let db = TestDatabase::new().await.expect("a database");
    let (here, there) = (process(&db), process(&db));
    let document = CacheKey::new(&ticker("AAPL"), DataType::FUNDAMENTALS);
    let compute = async |db: &Database| {
        let (handle, document) = (db.clone(), document.clone());
        let model = move |_| async move {
            let input = handle.cache().get::<u32>(&document).await?.expect("a document");
            let revision = input.revision().expect("it is stored");
            let inputs = Inputs::new().document(&document, revision);
            Ok::<_, Error>(
                value_of("AAPL").score(parsed::<Score>(&input.value.to_string())).inputs(inputs),
            )
        };
        let result = db.get_or_compute(&key(), &an_hour(), model).await.expect("a result");
        (score(&result.value).expect("a score"), result.origin)
    };
    here.cache().put(&document, 1_u32, &an_hour()).await.expect("put");
    assert_eq!(compute(&here).await, ("1".into(), Origin::Fetched));
    assert_eq!(compute(&there).await, ("1".into(), Origin::Database));
    for (value, outdated) in [(1_u32, 0), (2, 1)] {
        here.cache().put(&document, value, &an_hour()).await.expect("put");
        let expired = here.analyses().invalidate_stale_inputs(Some(&ticker("AAPL"))).await;
        assert_eq!(expired.expect("invalidated"), outdated, "{value}");
    }
    // The process itself has been told when the call returns, the other soon.
    assert_eq!(compute(&here).await, ("2".into(), Origin::Fetched));
    eventually("the other finds it", async || compute(&there).await.0 == "2").await;
    assert_eq!(here.analyses().invalidate_stale_inputs(None).await.expect("invalidated"), 0);
}

#[tokio::test]
async fn a_portfolio_that_does_not_exist_is_refused_and_nothing_is_stored() {
    let db = TestDatabase::new().await.expect("a database");
    let nobody = key().portfolio(PortfolioId::generate());
    let compute = |_| async { Ok::<_, BoxError>(value_of("AAPL")) };
    let policy = an_hour().retry_after(HOUR);
    let refused = db.get_or_compute(&nobody, &policy, compute).await;
    assert!(matches!(refused, Err(Error::InvalidReference { .. })), "{refused:?}");
    assert_eq!((rows(&*db).await, leases(&db).await), (0, 0));
    let again = process(&db).get_or_compute(&nobody, &policy, compute).await;
    assert!(matches!(again, Err(Error::InvalidReference { .. })), "{again:?}");
    // So is an invalid field.
    let compute = |_| async { Ok::<_, BoxError>(value_of("AAPL").recommendation("x".repeat(500))) };
    let refused = db.get_or_compute(&key(), &policy, compute).await;
    assert!(matches!(refused, Err(Error::Invalid { .. })), "{refused:?}");
    assert_eq!((rows(&*db).await, leases(&db).await), (0, 0));
}

#[tokio::test]
async fn a_unit_of_work_computes_and_stores_within_itself() {
    let db = TestDatabase::new().await.expect("a database");
    let (here, there) = (process(&db), process(&db));
    let model = Model::default();
    let owner = a_portfolio(&here, "ada").await.id;
    let private = key().portfolio(owner);
    for key in [key(), private] {
        let unit = here.begin().await.expect("a transaction");
        let computed = model.ask(&unit, &key).await;
        assert_eq!(computed.origin, Origin::Fetched);
        let again = model.ask(&unit, &key).await;
        assert_eq!((again.origin, &again.value), (Origin::Database, &computed.value));
        let within = unit.analyses().find(computed.value.id).await.expect("an answer");
        assert_eq!(within.as_ref(), Some(&*computed.value));
        for db in [&here, &there] {
            assert_eq!(found(db, &key).await, None, "nobody sees it before the commit");
        }
        unit.rollback().await.expect("rolled back");
        for db in [&here, &there] {
            assert_eq!(found(db, &key).await, None);
        }
        assert_eq!((rows(&here).await, leases(&here).await), (0, 0));

        let unit = here.begin().await.expect("a transaction");
        let computed = model.ask(&unit, &key).await;
        unit.commit().await.expect("committed");
        for db in [&here, &there] {
            let result = failing(db, &key, &an_hour()).await.expect("it is there");
            assert_eq!((result.origin, &result.value), (Origin::Database, &computed.value));
        }
        here.sql("DELETE FROM analysis_results").await;
    }
    assert_eq!(model.computed(), 4);
}

/// A computation in a transaction, whose result others hold a copy of an older one.
#[tokio::test]
async fn what_a_unit_of_work_commits_replaces_what_others_hold() {
    let db = TestDatabase::new().await.expect("a database");
    let processes = [process(&db), process(&db)];
    let [here, _] = &processes;
    save(here, &value_of("AAPL").score(parsed("7")).ttl(HOUR)).await;
    comes_to_find(&processes, Some("7")).await;
    let unit = here.begin().await.expect("a transaction");
    let selector = AnalysisSelector { ticker: Some(ticker("AAPL")), ..Default::default() };
    unit.analyses().invalidate(&selector).await.expect("invalidated");
    let model = Model::default();
    assert_eq!(score(&model.ask(&unit, &key()).await.value).as_deref(), Some("1"));
    comes_to_find(&processes, Some("7")).await;
    unit.commit().await.expect("committed");
    comes_to_find(&processes, Some("1")).await;
    assert_eq!(model.computed(), 1);
}

#[tokio::test]
async fn the_history_keeps_what_was_computed_before() {
    let db = TestDatabase::new().await.expect("a database");
    let model = Model::default();
    let selector = AnalysisSelector { ticker: Some(ticker("AAPL")), ..Default::default() };
    for _ in 0..3 {
        model.ask(&*db, &key()).await;
        db.analyses().invalidate(&selector).await.expect("invalidated");
    }
    let page = PageRequest::first(10);
    let history = db.analyses().history_for_ticker(&ticker("AAPL"), None, &page).await;
    let scores: Vec<_> = history.expect("a page").items.iter().filter_map(score).collect();
    assert_eq!(scores, ["3", "2", "1"]);
}

/// Without a database as a level there is still the table; nothing is shared or coalesced.
#[tokio::test]
async fn without_the_database_level_results_are_still_stored() {
    let db = TestDatabase::new().await.expect("a database");
    let without = CacheOptions::default().database(false);
    let handle = Database::clone(&db).with_cache(without).expect("a cache");
    let model = Model::default();
    let first = model.ask(&handle, &key()).await;
    let second = model.ask(&handle, &key()).await;
    assert_eq!((second.origin, &second.value), (Origin::Database, &first.value));
    assert_eq!(rows(&*db).await, 1);
    let entries = db.market_cache().count(&Default::default()).await.expect("a count");
    assert_eq!(entries, 0);
}
