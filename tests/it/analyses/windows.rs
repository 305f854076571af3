//! Stale windows and versions.

use std::time::Duration;

use buffetbot_db::analyses::{
    AnalysisFilter, AnalysisKey, AnalysisPatch, AnalysisSelector, NewAnalysis,
};
use buffetbot_db::types::AnalysisType;
use chrono::TimeDelta;
use serde_json::json;

use super::{HOUR, at, save, ticker, value_of};
use crate::support::handle::Handle;

conformance! {
    a_stale_window_begins_at_the_expiry,
    versions_grow_with_every_change,
    a_sweep_honours_stale_windows,
    a_window_does_not_end_what_never_expires,
    an_invalidated_result_has_no_stale_window,
}

async fn a_stale_window_begins_at_the_expiry(handle: &impl Handle) {
    let given =
        save(handle, &value_of("AAPL").calculated_at(at(-24)).expires_at(at(2)).stale_for(HOUR))
            .await;
    assert_eq!((given.expires_at, given.stale_until), (Some(at(2)), Some(at(3))));
    let after = save(handle, &value_of("AAPL").ttl(HOUR).stale_for(2 * HOUR)).await;
    assert_eq!(after.stale_until, Some(after.created_at + TimeDelta::hours(3)));
    let none = save(handle, &value_of("AAPL").ttl(HOUR)).await;
    assert_eq!(none.stale_until, None);
    let never = save(handle, &value_of("AAPL").stale_for(HOUR)).await;
    assert_eq!((never.expires_at, never.stale_until), (None, None));
    let long = save(
        handle,
        &value_of("AAPL").calculated_at(at(-24)).expires_at(at(0)).stale_for(Duration::MAX),
    )
    .await;
    assert!(long.stale_until > Some(at(0) + TimeDelta::days(36_000)));

    let analyses = handle.analyses();
    for stored in [&given, &after, &none, &never, &long] {
        assert_eq!(analyses.find(stored.id).await.expect("find").as_ref(), Some(stored));
    }
    let bare = json!({"ticker": "AAPL", "analysis_type": "value_analysis"});
    let bare: NewAnalysis = serde_json::from_value(bare).expect("an analysis");
    assert_eq!(bare.stale_for, Duration::ZERO);
}

async fn versions_grow_with_every_change(handle: &impl Handle) {
    let analyses = handle.analyses();
    let first = save(handle, &value_of("AAPL")).await;
    let second = save(handle, &value_of("AAPL")).await;
    assert!(second.version > first.version);
    let patch = AnalysisPatch::default().score(None);
    let changed = analyses.update(first.id, &patch).await.expect("update");
    assert!(changed.version > second.version);
    assert_eq!(analyses.find(first.id).await.expect("find"), Some(changed.clone()));
    let found = analyses.latest_fresh_many(&[ticker("AAPL")], AnalysisType::Value, None).await;
    assert_eq!(found.expect("latest")[0].as_ref().map(|a| a.version), Some(second.version));
    let selector = AnalysisSelector { ticker: Some(ticker("AAPL")), ..AnalysisSelector::default() };
    analyses.invalidate(&selector).await.expect("invalidate");
    let expired = analyses.find(first.id).await.expect("find").expect("there");
    assert!(expired.version > changed.version);
}

async fn a_sweep_honours_stale_windows(handle: &impl Handle) {
    let analyses = handle.analyses();
    let windows = [("OPEN", Duration::MAX), ("LONG", 3 * HOUR), ("SHORT", HOUR)];
    for (symbol, window) in windows {
        save(handle, &value_of(symbol).calculated_at(at(-24)).expires_at(at(0)).stale_for(window))
            .await;
    }
    save(handle, &value_of("LATER").calculated_at(at(-24)).expires_at(at(2))).await;
    // As long as it is fresh, whatever its window says.
    let fresh =
        save(handle, &value_of("FRESH").calculated_at(at(-24)).expires_at(at(0)).stale_for(HOUR))
            .await;
    let expires_at = fresh.created_at + TimeDelta::hours(1);
    let patch = AnalysisPatch::default().expires_at(expires_at);
    analyses.update(fresh.id, &patch).await.expect("update");

    for gone in ["SHORT", "LATER", "LONG"] {
        let exists = async |symbol| {
            let key = AnalysisKey::new(&ticker(symbol), AnalysisType::Value);
            analyses.latest(&key).await.expect("latest").is_some()
        };
        assert!(exists(gone).await);
        let swept = analyses.sweep_expired(1, Duration::ZERO).await.expect("sweep");
        assert_eq!(swept.deleted, 1);
        assert!(!exists(gone).await, "{gone} is the longest past serving");
    }
    assert_eq!(analyses.sweep_expired(9, Duration::ZERO).await.expect("sweep").deleted, 0);
    assert_eq!(analyses.count(&AnalysisFilter::default()).await.expect("count"), 2);
}

async fn a_window_does_not_end_what_never_expires(handle: &impl Handle) {
    let analyses = handle.analyses();
    let stored =
        save(handle, &value_of("AAPL").calculated_at(at(-24)).expires_at(at(0)).stale_for(HOUR))
            .await;
    let patch = AnalysisPatch::default().expires_at(None);
    analyses.update(stored.id, &patch).await.expect("update");
    assert_eq!(analyses.sweep_expired(9, Duration::ZERO).await.expect("sweep").deleted, 0);
    // It is invalidated as what it is: fresh.
    let selector = AnalysisSelector { ticker: Some(ticker("AAPL")), ..AnalysisSelector::default() };
    assert_eq!(analyses.invalidate(&selector).await.expect("invalidate"), 1);
    assert_eq!(analyses.sweep_expired(9, Duration::ZERO).await.expect("sweep").deleted, 1);
}

async fn an_invalidated_result_has_no_stale_window(handle: &impl Handle) {
    let analyses = handle.analyses();
    let fresh = save(handle, &value_of("AAPL").ttl(HOUR).stale_for(HOUR)).await;
    let stale = save(
        handle,
        &value_of("AAPL").calculated_at(at(-24)).expires_at(at(1)).stale_for(Duration::MAX),
    )
    .await;
    let past =
        save(handle, &value_of("AAPL").calculated_at(at(-24)).expires_at(at(1)).stale_for(HOUR))
            .await;
    let selector = AnalysisSelector { ticker: Some(ticker("AAPL")), ..AnalysisSelector::default() };
    assert_eq!(analyses.invalidate(&selector).await.expect("invalidate"), 2);
    let read = async |id| analyses.find(id).await.expect("find").expect("in the history");
    let expired = read(fresh.id).await;
    assert_eq!(expired.stale_until, None);
    assert!(expired.expires_at < fresh.expires_at);
    let expired = read(stale.id).await;
    assert_eq!((expired.expires_at, expired.stale_until), (Some(at(1)), None));
    assert_eq!(read(past.id).await, past, "nobody was served it any more");
    assert_eq!(analyses.invalidate(&selector).await.expect("invalidate"), 0);
}
