//! Results of analyses: what callers of their repository see, on the pool and in a transaction.

mod computed;
mod inputs;
mod leases;
mod lineage;
mod lookup;
mod outdated;
mod plans;
mod sweeping;
mod windows;

use std::time::Duration;

use buffetbot_db::analyses::{
    AnalysisFilter, AnalysisPatch, AnalysisResult, AnalysisScope, AnalysisSelector, Expiry, Inputs,
    NewAnalysis,
};
use buffetbot_db::error::Entity;
use buffetbot_db::market_cache::CacheKey;
use buffetbot_db::portfolios::Portfolio;
use buffetbot_db::prices::BarsDigest;
use buffetbot_db::types::{AnalysisId, AnalysisType, DataType, PortfolioId, Score, Ticker};
use buffetbot_db::{Error, Repositories};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::support::handle::Handle;
use crate::support::{every_page, parsed, portfolio, user};

pub const HOUR: Duration = Duration::from_secs(3_600);

pub fn ticker(symbol: &str) -> Ticker {
    parsed(symbol)
}

/// A public value analysis.
pub fn value_of(symbol: &str) -> NewAnalysis {
    NewAnalysis::new(ticker(symbol), AnalysisType::Value)
}

pub async fn save(repos: &impl Repositories, analysis: &NewAnalysis) -> AnalysisResult {
    repos.analyses().create(analysis).await.expect("save")
}

/// A portfolio of a user of its own.
pub async fn a_portfolio(repos: &impl Repositories, owner: &str) -> Portfolio {
    let owner = user(repos, &format!("{owner}@example.com")).await;
    portfolio(repos, &owner, "Core").await
}

/// A time on the first of January 2024, so many hours after midnight.
pub fn at(hours: i64) -> DateTime<Utc> {
    parsed::<DateTime<Utc>>("2024-01-01T00:00:00Z") + TimeDelta::hours(hours)
}

conformance! {
    what_is_saved_is_read,
    metadata_is_of_any_type,
    times_come_from_the_database_or_the_caller,
    invalid_fields_are_refused_by_name,
    b14_a_result_expires_after_it_was_computed,
    saving_many_answers_in_order,
    saving_many_is_all_or_nothing_and_names_the_culprit,
    a_patch_changes_what_it_says,
    deleting_twice_is_true_then_false,
    filters_and_pages_reach_every_row,
    histories_are_public_or_of_a_portfolio,
    a_summary_averages_what_is_known,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Valuation {
    intrinsic: f64,
    notes: Vec<String>,
    exact: i64,
}

async fn what_is_saved_is_read(handle: &impl Handle) {
    let owner = a_portfolio(handle, "ada").await;
    let fundamentals = CacheKey::new(&ticker("AAPL"), DataType::FUNDAMENTALS);
    let inputs = Inputs::new()
        .document(&fundamentals.params(json!({"period": "1y"})).expect("parameters"), i64::MAX)
        .bars(BarsDigest { ticker: ticker("SPY"), digest: i64::MIN });
    let new = value_of("AAPL")
        .portfolio(owner.id)
        .strategy("discounted cash flow")
        .score(parsed("87.25"))
        .metadata(json!({"fair": 192.5}))
        .expect("metadata")
        .recommendation("buy")
        .confidence(parsed("0.8"))
        .summary("Cheap, ünless not. 🦀")
        .parameters(json!({"years": 10}))
        .expect("parameters")
        .quality(parsed("1"))
        .inputs(inputs.clone())
        .ttl(HOUR);
    let stored = save(handle, &new).await;
    assert_eq!((stored.id, &stored.ticker), (new.id, &new.ticker));
    assert_eq!((stored.analysis_type, stored.portfolio_id), (AnalysisType::Value, Some(owner.id)));
    assert_eq!((&stored.strategy, &stored.score), (&new.strategy, &new.score));
    assert_eq!((&stored.metadata, &stored.parameters), (&new.metadata, &new.parameters));
    assert_eq!((&stored.recommendation, &stored.summary), (&new.recommendation, &new.summary));
    assert_eq!(stored.confidence_level, new.confidence_level);
    assert_eq!(stored.data_quality_score, new.data_quality_score);
    assert_eq!(stored.watermarks().expect("inputs"), Some(inputs));
    let analyses = handle.analyses();
    assert_eq!(analyses.find(stored.id).await.expect("find").as_ref(), Some(&stored));
    assert!(analyses.exists(stored.id).await.expect("exists"));
    // Every type can be stored, and nothing but the type is required.
    for analysis_type in AnalysisType::ALL {
        let bare = save(handle, &NewAnalysis::new(ticker("BRK.B"), *analysis_type)).await;
        assert_eq!(
            (bare.analysis_type, bare.portfolio_id, bare.score),
            (*analysis_type, None, None)
        );
        assert_eq!((bare.expires_at, bare.metadata), (None, None));
    }
    let unknown = AnalysisId::generate();
    assert_eq!(analyses.find(unknown).await.expect("find"), None);
    assert!(!analyses.exists(unknown).await.expect("exists"));
}

async fn metadata_is_of_any_type(handle: &impl Handle) {
    let sent = Valuation {
        intrinsic: 0.1,
        notes: vec!["日本語".into(), String::new()],
        exact: 9_007_199_254_740_993,
    };
    let stored = save(handle, &value_of("AAPL").metadata(&sent).expect("metadata")).await;
    let read = handle.analyses().find(stored.id).await.expect("find").expect("a result");
    assert_eq!(read.metadata_as::<Valuation>().expect("metadata"), Some(sent));
    match read.metadata_as::<Vec<u8>>() {
        Err(error @ Error::Corrupt { .. }) => {
            let text = error.to_string();
            assert!(text.contains("analysis_results.metadata"), "{text}");
            assert!(!text.contains("日本語"), "{text}");
        }
        other => panic!("{other:?}"),
    }
    let none = save(handle, &value_of("AAPL")).await;
    assert_eq!(none.metadata_as::<Valuation>().expect("metadata"), None);
    assert!(value_of("AAPL").metadata(f64::INFINITY).is_err());
}

async fn times_come_from_the_database_or_the_caller(handle: &impl Handle) {
    let saved = save(handle, &value_of("AAPL").ttl(HOUR)).await;
    assert_eq!(saved.calculated_at, saved.created_at);
    assert_eq!(saved.expires_at, Some(saved.created_at + TimeDelta::hours(1)));
    let given = save(handle, &value_of("AAPL").calculated_at(at(0)).expires_at(at(2))).await;
    assert_eq!((given.calculated_at, given.expires_at), (at(0), Some(at(2))));
    // A lifetime begins when the result is stored, whenever it was computed.
    let late = save(handle, &value_of("AAPL").calculated_at(at(0)).ttl(HOUR)).await;
    assert_eq!(late.expires_at, Some(late.created_at + TimeDelta::hours(1)));
    let ever = save(handle, &value_of("AAPL").ttl(Duration::MAX)).await;
    assert!(ever.expires_at > Some(ever.created_at + TimeDelta::days(36_000)));
}

async fn invalid_fields_are_refused_by_name(handle: &impl Handle) {
    let analyses = handle.analyses();
    for (new, name) in [
        (value_of("A").strategy("s".repeat(101)), "strategy"),
        (value_of("A").recommendation("r".repeat(51)), "recommendation"),
        (value_of("A").summary("a\0b"), "summary"),
        (value_of("A").ttl(Duration::ZERO), "ttl"),
        // B6: it could be stored, and not be read.
        (
            value_of("A").expires_at(chrono::DateTime::<chrono::Utc>::MAX_UTC).stale_for(HOUR),
            "stale_for",
        ),
    ] {
        match analyses.create(&new).await {
            Err(Error::Invalid { field, .. }) => assert_eq!(field, name),
            other => panic!("{other:?}"),
        }
    }
    for score in ["-0.01", "1000", "99.999", "NaN"] {
        assert!(score.parse::<Score>().is_err(), "{score}");
    }
    let orphan = value_of("A").portfolio(PortfolioId::generate());
    match handle.attempt(analyses.create(&orphan)).await {
        Err(Error::InvalidReference { constraint }) => {
            assert_eq!(constraint, "analysis_results_portfolio_id_fkey");
        }
        other => panic!("{other:?}"),
    }
}

async fn b14_a_result_expires_after_it_was_computed(handle: &impl Handle) {
    let at = at(1);
    // What is stored is whole microseconds.
    let (nearly, before_2000) =
        (TimeDelta::nanoseconds(500), parsed("1999-12-31T23:59:59.999999Z"));
    for (at, expires) in [
        (at, at),
        (at, at - HOUR),
        (at, at + nearly),
        (at + nearly, at + nearly + TimeDelta::nanoseconds(400)),
        (before_2000 - nearly, before_2000),
    ] {
        let new = value_of("A").calculated_at(at).expires_at(expires);
        for answer in [
            handle.analyses().create(&new).await.map(drop),
            handle.analyses().create_many(&[value_of("B"), new.clone()]).await.map(drop),
        ] {
            let mut error = answer.expect_err("refused");
            if let Error::Item { source, .. } = error {
                error = *source;
            }
            assert!(
                matches!(&error, Error::Invalid { field, .. } if field == "expires_at"),
                "{error:?}"
            );
        }
    }
    // The next microsecond is later.
    save(handle, &value_of("C").calculated_at(at).expires_at(at + nearly * 2)).await;
    // Where it is computed now, the database's clock says so, and a unit of work goes on.
    let past = value_of("A").expires_at(at);
    for answer in [
        handle.analyses().create(&past).await.map(drop),
        handle.analyses().create_many(&[value_of("B"), past.clone()]).await.map(drop),
    ] {
        match answer.expect_err("refused") {
            Error::Invalid { field, .. } => assert_eq!(field, "expires_at"),
            Error::Item { index: 1, source } => {
                assert!(matches!(&*source, Error::Invalid { field, .. } if field == "expires_at"));
            }
            other => panic!("{other:?}"),
        }
        let stored = AnalysisFilter::default();
        assert_eq!(handle.analyses().count(&stored).await.expect("it goes on"), 1);
    }
    // A lifetime begins when the result is stored, by whichever clock it was computed.
    let ahead = value_of("A").calculated_at(parsed("2999-01-01T00:00:00Z")).ttl(HOUR);
    let ahead = save(handle, &ahead).await;
    assert_eq!(ahead.calculated_at, ahead.created_at);
    assert_eq!(ahead.expires_at, Some(ahead.created_at + TimeDelta::hours(1)));
    let invalidated = AnalysisSelector { ticker: Some(ticker("A")), ..Default::default() };
    assert_eq!(handle.analyses().invalidate(&invalidated).await.expect("expired"), 1);
    // It can be made to expire all the same.
    let ahead = save(handle, &value_of("A").calculated_at(parsed("2999-01-01T00:00:00Z"))).await;
    let of_it = AnalysisSelector { ticker: Some(ticker("A")), ..AnalysisSelector::default() };
    assert_eq!(handle.analyses().invalidate(&of_it).await.expect("expired"), 1);
    let after = handle.analyses().find(ahead.id).await.expect("read").expect("there");
    assert!(after.expires_at.expect("expired") < ahead.calculated_at);
}

async fn saving_many_answers_in_order(handle: &impl Handle) {
    let analyses = handle.analyses();
    assert!(analyses.create_many(&[]).await.expect("save").is_empty());
    let mut new: Vec<_> = (0..1_200)
        .map(|i| {
            let new =
                value_of(&format!("T{i}")).score(Score::try_from(i % 1_000).expect("a score"));
            if i % 3 == 0 { new.calculated_at(at(i)).ttl(HOUR) } else { new }
        })
        .collect();
    new.reverse();
    let stored = analyses.create_many(&new).await.expect("save");
    assert_eq!(stored.len(), 1_200);
    for (new, stored) in new.iter().zip(&stored) {
        assert_eq!((stored.id, &stored.ticker, &stored.score), (new.id, &new.ticker, &new.score));
        assert_eq!(new.expiry == Expiry::Never, stored.expires_at.is_none());
    }
    assert_eq!(analyses.find(stored[7].id).await.expect("find").as_ref(), Some(&stored[7]));
}

async fn saving_many_is_all_or_nothing_and_names_the_culprit(handle: &impl Handle) {
    let analyses = handle.analyses();
    for culprit in [0, 1, 900] {
        let mut new: Vec<_> = (0..1_000).map(|i| value_of(&format!("T{i}"))).collect();
        new[culprit].portfolio_id = Some(PortfolioId::generate());
        match handle.attempt(analyses.create_many(&new)).await {
            Err(Error::Item { index, source }) => {
                assert_eq!(index, culprit);
                assert!(matches!(*source, Error::InvalidReference { .. }), "{source:?}");
            }
            other => panic!("{other:?}"),
        }
        new[culprit].strategy = Some("s".repeat(101));
        match analyses.create_many(&new).await {
            Err(Error::Item { index, source }) => {
                assert_eq!(index, culprit);
                assert!(matches!(*source, Error::Invalid { field, .. } if field == "strategy"));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(analyses.count(&AnalysisFilter::default()).await.expect("count"), 0);
}

async fn a_patch_changes_what_it_says(handle: &impl Handle) {
    let analyses = handle.analyses();
    let new = value_of("AAPL").score(parsed("1")).summary("old").strategy("s").ttl(HOUR);
    let stored = save(handle, &new).await;
    let unchanged = analyses.update(stored.id, &AnalysisPatch::default()).await.expect("update");
    assert_eq!(unchanged, stored);
    let patch: AnalysisPatch = serde_json::from_value(json!({
        "score": "2.5", "summary": null, "metadata": {"a": 1}, "expires_at": null,
    }))
    .expect("a patch");
    let changed = analyses.update(stored.id, &patch).await.expect("update");
    assert_eq!(changed.score, Some(parsed("2.5")));
    assert_eq!((changed.summary.as_deref(), changed.strategy.as_deref()), (None, Some("s")));
    assert_eq!(changed.metadata_as::<Value>().expect("JSON"), Some(json!({"a": 1})));
    assert_eq!(changed.expires_at, None);
    assert!(changed.updated_at > stored.updated_at);
    assert_eq!(analyses.find(stored.id).await.expect("find"), Some(changed));
    let long = AnalysisPatch::default().strategy("s".repeat(101));
    match analyses.update(stored.id, &long).await {
        Err(Error::Invalid { field, .. }) => assert_eq!(field, "strategy"),
        other => panic!("{other:?}"),
    }
    for patch in [AnalysisPatch::default(), patch] {
        match analyses.update(AnalysisId::generate(), &patch).await {
            Err(Error::NotFound { entity, .. }) => assert_eq!(entity, Entity::AnalysisResult),
            other => panic!("{other:?}"),
        }
    }
}

async fn deleting_twice_is_true_then_false(handle: &impl Handle) {
    let stored = save(handle, &value_of("AAPL")).await;
    assert!(handle.analyses().delete(stored.id).await.expect("delete"));
    assert!(!handle.analyses().delete(stored.id).await.expect("delete"));
}

async fn filters_and_pages_reach_every_row(handle: &impl Handle) {
    let analyses = handle.analyses();
    let owner = a_portfolio(handle, "ada").await;
    let new: Vec<_> = (0..20)
        .map(|i| {
            let analysis_type = if i % 2 == 0 { AnalysisType::Value } else { AnalysisType::Risk };
            let new = NewAnalysis::new(ticker(&format!("T{}", i % 5)), analysis_type)
                .strategy(format!("s{}", i % 4))
                .recommendation(if i < 3 { "buy" } else { "hold" })
                .metadata(json!({"i": i, "tags": ["all", format!("tag{}", i % 10)]}))
                .expect("metadata")
                // Five share each time, so that pages end between equal ones.
                .calculated_at(at(i / 5));
            match i {
                0..4 => new.portfolio(owner.id),
                4..10 => new.expires_at(at(100)),
                _ => new.ttl(HOUR),
            }
        })
        .collect();
    analyses.create_many(&new).await.expect("save");
    let all = AnalysisFilter::default().scope(AnalysisScope::All);
    for size in [1, 3, 5, 20] {
        let rows = every_page(size, async |page| analyses.list(&all, &page).await).await;
        assert_eq!(rows.len(), 20, "pages of {size}");
        let ordered = |a: &AnalysisResult, b: &AnalysisResult| {
            (a.calculated_at, a.id) > (b.calculated_at, b.id)
        };
        assert!(rows.is_sorted_by(ordered));
    }
    let contains = |part: Value| buffetbot_db::types::Document::encode(&part).expect("JSON");
    let filters = [
        (AnalysisFilter::default(), 16),
        (all.clone().scope(AnalysisScope::Portfolio(owner.id)), 4),
        (all.clone().scope(AnalysisScope::Portfolio(PortfolioId::generate())), 0),
        (all.clone().tickers(vec![ticker("T1"), ticker("T2")]), 8),
        (AnalysisFilter::default().tickers(vec![ticker("T1")]), 3),
        (all.clone().tickers(Vec::new()), 0),
        (all.clone().analysis_types(vec![AnalysisType::Risk]), 10),
        (all.clone().analysis_types(Vec::new()), 0),
        (all.clone().strategy("s1"), 5),
        (all.clone().strategy("s_"), 0),
        (all.clone().recommendation("buy"), 3),
        (all.clone().is_fresh(true), 14),
        (all.clone().is_fresh(false), 6),
        (all.clone().calculated_from(at(1)), 15),
        (all.clone().calculated_before(at(1)), 5),
        (all.clone().metadata_contains(contains(json!({"i": 7}))), 1),
        (all.clone().metadata_contains(contains(json!({"tags": ["tag3"]}))), 2),
    ];
    for (filter, expected) in filters {
        assert_eq!(analyses.count(&filter).await.expect("count"), expected, "{filter:?}");
        let rows = every_page(3, async |page| analyses.list(&filter, &page).await).await;
        assert_eq!(rows.len() as u64, expected, "{filter:?}");
    }
}

async fn histories_are_public_or_of_a_portfolio(handle: &impl Handle) {
    let analyses = handle.analyses();
    let (mine, other) = (a_portfolio(handle, "ada").await, a_portfolio(handle, "bob").await);
    let mut new = Vec::new();
    for i in 0..6 {
        let analysis = value_of(if i % 2 == 0 { "AAPL" } else { "MSFT" })
            .calculated_at(at(i / 2))
            .expires_at(at(i / 2 + 1));
        new.push(analysis.clone());
        new.push(NewAnalysis {
            id: AnalysisId::generate(),
            analysis_type: AnalysisType::Growth,
            ..analysis.clone()
        });
        new.push(NewAnalysis { id: AnalysisId::generate(), ..analysis.clone() }.portfolio(mine.id));
        new.push(NewAnalysis { id: AnalysisId::generate(), ..analysis }.portfolio(other.id));
    }
    analyses.create_many(&new).await.expect("save");
    let aapl = ticker("AAPL");
    let history =
        every_page(2, async |page| analyses.history_for_ticker(&aapl, None, &page).await).await;
    assert_eq!(history.len(), 6);
    assert!(history.iter().all(|a| a.portfolio_id.is_none() && a.ticker == aapl));
    assert!(history.is_sorted_by(|a, b| (a.calculated_at, a.id) > (b.calculated_at, b.id)));
    let value = Some(AnalysisType::Value);
    let history =
        every_page(2, async |page| analyses.history_for_ticker(&aapl, value, &page).await).await;
    assert_eq!(history.iter().map(|a| a.calculated_at).collect::<Vec<_>>(), [at(2), at(1), at(0)]);
    let history =
        every_page(4, async |page| analyses.history_for_portfolio(mine.id, None, &page).await)
            .await;
    assert_eq!(history.len(), 6);
    assert!(history.iter().all(|a| a.portfolio_id == Some(mine.id)));
    let msft = ticker("MSFT");
    let history = every_page(2, async |page| {
        analyses.history_for_portfolio(mine.id, Some(&msft), &page).await
    })
    .await;
    assert_eq!(history.len(), 3);
    assert!(history.iter().all(|a| a.ticker == msft));
    let unknown = ticker("NONE");
    assert!(
        every_page(2, async |page| analyses.history_for_ticker(&unknown, None, &page).await)
            .await
            .is_empty()
    );
}

async fn a_summary_averages_what_is_known(handle: &impl Handle) {
    let analyses = handle.analyses();
    assert!(analyses.summary(&AnalysisFilter::default()).await.expect("summary").is_empty());
    let owner = a_portfolio(handle, "ada").await;
    let scored =
        |score: &str, hours| value_of("AAPL").score(parsed(score)).calculated_at(at(hours));
    let new = [
        scored("10", 0).confidence(parsed("0.5")),
        scored("20.5", 3).expires_at(at(4)),
        value_of("MSFT").calculated_at(at(5)).quality(parsed("0.75")),
        scored("99", 9).portfolio(owner.id),
        NewAnalysis::new(ticker("AAPL"), AnalysisType::Risk).calculated_at(at(1)),
    ];
    analyses.create_many(&new).await.expect("save");
    let summary = analyses.summary(&AnalysisFilter::default()).await.expect("summary");
    let types: Vec<_> = summary.iter().map(|s| s.analysis_type).collect();
    assert_eq!(types, [AnalysisType::Risk, AnalysisType::Value]);
    let value = &summary[1];
    assert_eq!((value.count, value.fresh), (3, 2));
    assert_eq!(value.average_score, Some(parsed("15.25")), "of the two that are known");
    assert_eq!(value.average_confidence, Some(parsed("0.5")));
    assert_eq!(value.average_quality, Some(parsed("0.75")));
    assert_eq!((value.first_calculated_at, value.last_calculated_at), (at(0), at(5)));
    let risk = &summary[0];
    assert_eq!((risk.count, risk.average_score.as_ref()), (1, None));

    let aapl = AnalysisFilter::default().tickers(vec![ticker("AAPL")]);
    let summary = analyses.summary(&aapl).await.expect("summary");
    assert_eq!(summary.iter().map(|s| s.count).collect::<Vec<_>>(), [1, 2]);
    let hers = AnalysisFilter::default().scope(AnalysisScope::Portfolio(owner.id));
    let summary = analyses.summary(&hers).await.expect("summary");
    assert_eq!(summary.len(), 1);
    assert_eq!(summary[0].average_score, Some(parsed("99")));
}
