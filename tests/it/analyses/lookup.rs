//! Results as a cache: which one a key finds, and whether it is fresh.

use buffetbot_db::analyses::{AnalysisKey, AnalysisPatch, NewAnalysis};
use buffetbot_db::types::{AnalysisType, Document, PortfolioId};
use serde_json::{Value, json};

use super::{HOUR, a_portfolio, at, save, ticker, value_of};
use crate::support::handle::Handle;

conformance! {
    the_latest_fresh_result_is_found,
    the_latest_result_tells_its_age,
    a_private_result_is_found_with_its_portfolio_only,
    parameters_are_compared_as_json,
    many_tickers_are_looked_up_at_once,
}

fn key(symbol: &str) -> AnalysisKey {
    AnalysisKey::new(&ticker(symbol), AnalysisType::Value)
}

async fn the_latest_fresh_result_is_found(handle: &impl Handle) {
    let analyses = handle.analyses();
    assert_eq!(analyses.latest_fresh(&key("AAPL")).await.expect("latest"), None);
    let ever = save(handle, &value_of("AAPL").calculated_at(at(1))).await;
    let older = save(handle, &value_of("AAPL").calculated_at(at(0)).ttl(HOUR)).await;
    save(handle, &value_of("AAPL").calculated_at(at(3)).expires_at(at(4))).await;
    save(handle, &NewAnalysis::new(ticker("AAPL"), AnalysisType::Risk).calculated_at(at(9))).await;
    save(handle, &value_of("MSFT").calculated_at(at(9))).await;
    let found = analyses.latest_fresh(&key("AAPL")).await.expect("latest");
    assert_eq!(
        found.as_ref(),
        Some(&ever),
        "no expiry is fresh for ever; the expired one is passed over"
    );
    assert_eq!(ever.key(), key("AAPL"));
    analyses.delete(ever.id).await.expect("delete");
    assert_eq!(analyses.latest_fresh(&key("AAPL")).await.expect("latest"), Some(older.clone()));
    // Of equal times the one with the higher id, made later.
    let twin = save(handle, &value_of("AAPL").calculated_at(at(0))).await;
    let latest = if twin.id > older.id { twin } else { older };
    assert_eq!(analyses.latest_fresh(&key("AAPL")).await.expect("latest"), Some(latest));
}

async fn the_latest_result_tells_its_age(handle: &impl Handle) {
    let analyses = handle.analyses();
    assert_eq!(analyses.latest(&key("AAPL")).await.expect("latest"), None);
    save(handle, &value_of("AAPL").calculated_at(at(0))).await;
    let expired = save(handle, &value_of("AAPL").calculated_at(at(1)).expires_at(at(2))).await;
    let latest = analyses.latest(&key("AAPL")).await.expect("latest").expect("a result");
    assert_eq!(latest.value, expired, "the newest, though an older one is fresh");
    assert!(latest.is_expired);
    assert!(latest.age > 24 * HOUR, "{:?}", latest.age);
    let patch = AnalysisPatch::default().expires_at(None);
    analyses.update(expired.id, &patch).await.expect("update");
    let latest = analyses.latest(&key("AAPL")).await.expect("latest").expect("a result");
    assert!(!latest.is_expired);
    // A result of the future has no negative age.
    let far = "2999-01-01T00:00:00Z".parse().expect("a time");
    save(handle, &value_of("AAPL").calculated_at(far)).await;
    let latest = analyses.latest(&key("AAPL")).await.expect("latest").expect("a result");
    assert_eq!((latest.age, latest.value.calculated_at), (std::time::Duration::ZERO, far));
}

async fn a_private_result_is_found_with_its_portfolio_only(handle: &impl Handle) {
    let analyses = handle.analyses();
    let (mine, other) = (a_portfolio(handle, "ada").await, a_portfolio(handle, "bob").await);
    let private = save(handle, &value_of("AAPL").portfolio(mine.id).calculated_at(at(5))).await;
    assert_eq!(analyses.latest_fresh(&key("AAPL")).await.expect("latest"), None);
    assert_eq!(analyses.latest(&key("AAPL")).await.expect("latest"), None);
    let many = analyses.latest_fresh_many(&[ticker("AAPL")], AnalysisType::Value, None).await;
    assert_eq!(many.expect("latest"), [None]);
    let public = save(handle, &value_of("AAPL").calculated_at(at(1))).await;
    let of = async |key| analyses.latest_fresh(&key).await.expect("latest").map(|found| found.id);
    assert_eq!(of(key("AAPL")).await, Some(public.id));
    assert_eq!(of(key("AAPL").portfolio(mine.id)).await, Some(private.id));
    assert_eq!(of(key("AAPL").portfolio(other.id)).await, None, "not the public one either");
    assert_eq!(of(key("AAPL").portfolio(PortfolioId::generate())).await, None);
    assert_eq!(private.key(), key("AAPL").portfolio(mine.id));
    let latest = analyses.latest(&key("AAPL").portfolio(mine.id)).await.expect("latest");
    assert_eq!(latest.expect("a result").value, private);
}

async fn parameters_are_compared_as_json(handle: &impl Handle) {
    let analyses = handle.analyses();
    let with = |text: &str| {
        key("AAPL").parameters(Document::parse(text).expect("JSON")).expect("parameters")
    };
    let stored = [
        value_of("AAPL").parameters(json!({"years": 10, "rate": {"low": 1, "high": 2}})),
        value_of("AAPL").parameters(json!({})),
        value_of("AAPL").parameters(Value::Null),
        Ok(value_of("AAPL")),
        value_of("AAPL").parameters(json!({"long": "x".repeat(10_000)})),
    ];
    let mut ids = Vec::new();
    for new in stored {
        ids.push(save(handle, &new.expect("parameters")).await.id);
    }
    let of = async |key| analyses.latest_fresh(&key).await.expect("latest").map(|found| found.id);
    assert_eq!(of(with(r#"{"rate":{"high":2.0,"low":1},"years":1e1}"#)).await, Some(ids[0]));
    assert_eq!(of(with(r#"{"rate":{"high":1,"low":2},"years":10}"#)).await, None);
    assert_eq!(of(with("{}")).await, Some(ids[1]));
    assert_eq!(of(with("null")).await, Some(ids[2]));
    assert_eq!(of(key("AAPL")).await, Some(ids[3]), "no parameters are those that have none");
    let long = key("AAPL").parameters(json!({"long": "x".repeat(10_000)})).expect("parameters");
    assert_eq!(of(long).await, Some(ids[4]));
}

async fn many_tickers_are_looked_up_at_once(handle: &impl Handle) {
    let analyses = handle.analyses();
    let of = AnalysisType::Value;
    assert!(analyses.latest_fresh_many(&[], of, None).await.expect("latest").is_empty());
    let new: Vec<_> =
        (0..300).map(|i| value_of(&format!("T{}", i % 100)).calculated_at(at(i))).collect();
    analyses.create_many(&new).await.expect("save");
    let parameters = Document::encode(&json!({"years": 5})).expect("JSON");
    let special = value_of("T1").parameters(&parameters).expect("parameters");
    let special = save(handle, &special.calculated_at(at(0))).await;
    save(handle, &value_of("OLD").calculated_at(at(-24)).expires_at(at(0))).await;
    let mut tickers: Vec<_> = (0..100).rev().map(|i| ticker(&format!("T{i}"))).collect();
    tickers.extend([ticker("OLD"), ticker("NONE"), ticker("T7")]);
    let found = analyses.latest_fresh_many(&tickers, of, None).await.expect("latest");
    assert_eq!(found.len(), 103);
    for (ticker, found) in tickers.iter().zip(&found) {
        let single = analyses.latest_fresh(&AnalysisKey::new(ticker, of)).await.expect("latest");
        assert_eq!(found, &single, "{ticker}");
        assert_eq!(found.is_some(), ticker.as_str().starts_with('T'));
    }
    let found = analyses.latest_fresh_many(&tickers, of, Some(&parameters)).await.expect("latest");
    assert_eq!(found.into_iter().flatten().collect::<Vec<_>>(), [special]);
}
