//! Results whose inputs have changed.

use std::time::Duration;

use buffetbot_db::Repositories;
use buffetbot_db::analyses::{AnalysisFilter, AnalysisResult, AnalysisScope, Inputs, NewAnalysis};
use buffetbot_db::market_cache::{CacheKey, CacheSelector, PutOptions};
use buffetbot_db::prices::{BarsDigest, PriceBarFilter, PriceBarPatch};
use buffetbot_db::testing::TestDatabase;
use buffetbot_db::testing::fixtures::bars;
use buffetbot_db::types::{DataType, Document};
use diesel::sql_types::{Jsonb, Nullable, Text};
use diesel_async::RunQueryDsl;
use serde_json::{Value, json};

use super::{HOUR, a_portfolio, at, save, ticker, value_of};
use crate::support::handle::Handle;
use crate::support::{Number, eventually, number, parsed};

conformance! {
    a_changed_document_outdates_what_was_computed_from_it,
    parameters_are_part_of_an_inputs_key,
    changed_bars_outdate_what_was_computed_from_them,
    one_changed_input_of_several_is_enough,
    every_result_that_is_served_is_looked_at,
    inputs_of_another_shape_match_nothing,
    one_tickers_results_or_all,
}

/// Stores a document; its entry's revision then.
async fn put(handle: &impl Handle, key: &CacheKey, document: Value) -> i64 {
    let document = Document::encode(&document).expect("JSON");
    handle.market_cache().put(key, &document, &PutOptions::ttl(HOUR)).await.expect("put");
    let connection = handle.connection().await;
    let revision: Number = diesel::sql_query(
        "SELECT revision AS n FROM market_data_cache
         WHERE ticker = $1 AND data_type = $2 AND parameters IS NOT DISTINCT FROM $3",
    )
    .bind::<Text, _>(&key.ticker)
    .bind::<Text, _>(&key.data_type)
    .bind::<Nullable<Jsonb>, _>(key.parameters.as_ref())
    .get_result(&mut connection.as_diesel())
    .await
    .expect("a revision");
    revision.n
}

fn fundamentals(symbol: &str) -> CacheKey {
    CacheKey::new(&ticker(symbol), DataType::FUNDAMENTALS)
}

async fn digest(repos: &impl Repositories, symbol: &str) -> BarsDigest {
    repos.prices().digest(&ticker(symbol)).await.expect("a digest")
}

async fn with_bars(handle: &impl Handle, symbol: &str) {
    let bars = bars(&ticker(symbol), parsed("2024-01-01"), 50).expect("bars");
    handle.prices().upsert_many(&bars).await.expect("stored");
}

/// Corrects one of the ticker's bars.
async fn correct(handle: &impl Handle, symbol: &str) {
    let filter = PriceBarFilter::default().tickers(vec![ticker(symbol)]);
    let page = handle.prices().list(&filter, &buffetbot_db::types::PageRequest::first(1)).await;
    let bar = page.expect("bars").items.remove(0);
    let volume = bar.volume.map(|volume| volume + 1);
    let patch = PriceBarPatch::default().volume(volume);
    handle.prices().update(bar.id, &patch).await.expect("corrected");
}

async fn outdated(handle: &impl Repositories) -> u64 {
    handle.analyses().invalidate_stale_inputs(None).await.expect("invalidated")
}

async fn read(handle: &impl Repositories, result: &AnalysisResult) -> AnalysisResult {
    handle.analyses().find(result.id).await.expect("find").expect("in the history")
}

async fn a_changed_document_outdates_what_was_computed_from_it(handle: &impl Handle) {
    let key = fundamentals("AAPL");
    let revision = put(handle, &key, json!({"eps": 6.1})).await;
    let result =
        save(handle, &value_of("AAPL").inputs(Inputs::new().document(&key, revision))).await;
    let bare = save(handle, &value_of("AAPL")).await;
    assert_eq!(outdated(handle).await, 0);

    assert_eq!(put(handle, &key, json!({"eps": 6.10})).await, revision, "the same document");
    assert_eq!(outdated(handle).await, 0);
    handle
        .market_cache()
        .invalidate(&CacheSelector::ticker(&key.ticker))
        .await
        .expect("invalidate");
    assert_eq!(outdated(handle).await, 0, "that it has expired does not make it another one");
    let newer = put(handle, &key, json!({"eps": 6.2})).await;
    assert!(newer > revision);
    assert_eq!(outdated(handle).await, 1);
    let expired = read(handle, &result).await;
    assert!(expired.expires_at.is_some() && result.expires_at.is_none());
    assert_eq!(read(handle, &bare).await, bare, "it does not say what it was computed from");
    assert_eq!(outdated(handle).await, 0);

    let result = save(handle, &value_of("AAPL").inputs(Inputs::new().document(&key, newer))).await;
    handle.sql("DELETE FROM market_data_cache").await;
    assert_eq!(outdated(handle).await, 0, "an entry that was swept");
    assert_eq!(read(handle, &result).await, result);
}

async fn parameters_are_part_of_an_inputs_key(handle: &impl Handle) {
    let with = |text: &str| {
        fundamentals("AAPL").params(Document::parse(text).expect("JSON")).expect("parameters")
    };
    let keys = [
        fundamentals("AAPL"),
        with("null"),
        with("{}"),
        with(r#"{"period": "1y", "n": 1}"#),
        CacheKey::new(&ticker("AAPL"), DataType::INCOME_STATEMENT),
        fundamentals("MSFT"),
    ];
    let mut results = Vec::new();
    for key in &keys {
        let revision = put(handle, key, json!(1)).await;
        let new = value_of("AAPL").inputs(Inputs::new().document(key, revision));
        results.push(save(handle, &new).await);
    }
    for (i, key) in keys.iter().enumerate() {
        put(handle, key, json!(2)).await;
        assert_eq!(outdated(handle).await, 1, "{key:?}");
        assert!(read(handle, &results[i]).await.expires_at.is_some(), "{key:?}");
    }
    // Equal as JSON, spelled otherwise.
    let revision = put(handle, &keys[3], json!(3)).await;
    let respelled = with(r#"{"n": 1.0, "period": "1y"}"#);
    save(handle, &value_of("AAPL").inputs(Inputs::new().document(&respelled, revision))).await;
    assert_eq!(outdated(handle).await, 0);
    put(handle, &keys[3], json!(4)).await;
    assert_eq!(outdated(handle).await, 1);
}

async fn changed_bars_outdate_what_was_computed_from_them(handle: &impl Handle) {
    with_bars(handle, "AAPL").await;
    with_bars(handle, "SPY").await;
    let of =
        async |symbol| value_of("AAPL").inputs(Inputs::new().bars(digest(handle, symbol).await));
    save(handle, &of("AAPL").await).await;
    save(handle, &of("NONE").await).await;
    with_bars(handle, "AAPL").await;
    assert_eq!(outdated(handle).await, 0, "the same bars were delivered again");
    correct(handle, "SPY").await;
    assert_eq!(outdated(handle).await, 0, "of another ticker");
    correct(handle, "AAPL").await;
    assert_eq!(outdated(handle).await, 1);
    with_bars(handle, "NONE").await;
    assert_eq!(outdated(handle).await, 1, "there were none");
    save(handle, &of("SPY").await).await;
    handle
        .prices()
        .delete_range(&ticker("SPY"), parsed("2024-01-01"), parsed("2024-01-02"))
        .await
        .expect("deleted");
    assert_eq!(outdated(handle).await, 1);
}

async fn one_changed_input_of_several_is_enough(handle: &impl Handle) {
    with_bars(handle, "AAPL").await;
    with_bars(handle, "SPY").await;
    let (one, other) = (fundamentals("AAPL"), fundamentals("SPY"));
    let all = async || {
        Inputs::new()
            .document(&one, put(handle, &one, json!(1)).await)
            .document(&other, put(handle, &other, json!(1)).await)
            .bars(digest(handle, "AAPL").await)
            .bars(digest(handle, "SPY").await)
    };
    save(handle, &value_of("AAPL").inputs(all().await)).await;
    assert_eq!(outdated(handle).await, 0);
    put(handle, &other, json!(2)).await;
    assert_eq!(outdated(handle).await, 1);
    save(handle, &value_of("AAPL").inputs(all().await)).await;
    correct(handle, "SPY").await;
    assert_eq!(outdated(handle).await, 1);
    save(handle, &value_of("AAPL").inputs(all().await)).await;
    put(handle, &one, json!(2)).await;
    put(handle, &other, json!(2)).await;
    correct(handle, "AAPL").await;
    assert_eq!(outdated(handle).await, 1, "it counts once");
}

async fn every_result_that_is_served_is_looked_at(handle: &impl Handle) {
    let owner = a_portfolio(handle, "ada").await.id;
    let bars = Inputs::new().bars(BarsDigest { ticker: ticker("SPY"), digest: 1 });
    let with = |new: NewAnalysis| new.inputs(bars.clone());
    let private = save(handle, &with(value_of("AAPL").portfolio(owner))).await;
    let ever = save(handle, &with(value_of("AAPL"))).await;
    let fresh = save(handle, &with(value_of("MSFT").ttl(HOUR).stale_for(HOUR))).await;
    let stale = save(
        handle,
        &with(value_of("MSFT").calculated_at(at(-24)).expires_at(at(0)).stale_for(Duration::MAX)),
    )
    .await;
    let past = save(
        handle,
        &with(value_of("AAPL").calculated_at(at(-24)).expires_at(at(0)).stale_for(HOUR)),
    )
    .await;
    assert_eq!(outdated(handle).await, 4);
    for result in [&private, &ever, &fresh] {
        let expired = read(handle, result).await;
        assert!(expired.expires_at.is_some_and(|at| at < fresh.created_at + HOUR));
        assert_eq!(expired.stale_until, None);
        assert_eq!(expired.inputs, result.inputs);
    }
    let expired = read(handle, &stale).await;
    assert_eq!((expired.expires_at, expired.stale_until), (Some(at(0)), None));
    assert_eq!(read(handle, &past).await, past, "nobody was served it any more");
    assert_eq!(outdated(handle).await, 0);
}

async fn inputs_of_another_shape_match_nothing(handle: &impl Handle) {
    let key = fundamentals("AAPL");
    put(handle, &key, json!(1)).await;
    for inputs in [
        json!(7),
        json!([]),
        json!({"fundamentals": 7}),
        json!({"documents": 7, "bars": "AAPL"}),
        json!({"documents": ["AAPL"], "bars": [null, [], {}]}),
        json!({"documents": [{"ticker": "AAPL", "data_type": "fundamentals", "revision": "old"}]}),
        json!({"documents": [{"ticker": 1, "data_type": {}, "revision": 0}]}),
        json!({"bars": [{"ticker": "AAPL", "digest": "old"}, {"ticker": "AAPL"}, {"digest": 1}]}),
    ] {
        save(handle, &value_of("AAPL")).await;
        handle.sql(&format!("UPDATE analysis_results SET inputs = '{inputs}'")).await;
        assert_eq!(outdated(handle).await, 0, "{inputs}");
    }
    let known =
        json!({"documents": [{"ticker": "AAPL", "data_type": "fundamentals", "revision": 0}]});
    handle.sql(&format!("UPDATE analysis_results SET inputs = '{known}'")).await;
    assert_eq!(outdated(handle).await, 8);
}

async fn one_tickers_results_or_all(handle: &impl Handle) {
    let analyses = handle.analyses();
    let bars = Inputs::new().bars(BarsDigest { ticker: ticker("SPY"), digest: 1 });
    // More than two batches, of one ticker, and around the ends of batches of other ones.
    let new: Vec<_> = (0..2_500)
        .map(|i| value_of(if i < 2_100 { "MANY" } else { "MORE" }).inputs(bars.clone()))
        .chain((0..500).map(|i| value_of(&format!("T{i}")).inputs(bars.clone())))
        .chain((0..10).map(|_| value_of("MANY")))
        .collect();
    analyses.create_many(&new).await.expect("save");
    let one = async |symbol| {
        analyses.invalidate_stale_inputs(Some(&ticker(symbol))).await.expect("invalidated")
    };
    assert_eq!(one("NONE").await, 0);
    assert_eq!(one("MANY").await, 2_100);
    assert_eq!(one("MANY").await, 0);
    let fresh = AnalysisFilter::default().is_fresh(true).scope(AnalysisScope::All);
    assert_eq!(analyses.count(&fresh).await.expect("count"), 910);
    assert_eq!(outdated(handle).await, 900);
    assert_eq!(analyses.count(&fresh).await.expect("count"), 10);
}

#[tokio::test]
async fn a_result_whose_inputs_are_replaced_meanwhile_stays() {
    let db = TestDatabase::new().await.expect("a database");
    let old = Inputs::new().bars(BarsDigest { ticker: ticker("SPY"), digest: 1 });
    let replaced = save(&*db, &value_of("AAPL").inputs(old.clone())).await;
    let touched = save(&*db, &value_of("AAPL").inputs(old)).await;
    let uow = db.begin().await.expect("a transaction");
    uow.sql(&format!(
        "UPDATE analysis_results SET summary = 'other';
         UPDATE analysis_results SET inputs = '{{}}' WHERE id = '{}'",
        replaced.id
    ))
    .await;
    let commit = async {
        eventually("it waits for the results", async || {
            let waiting = "SELECT count(*) AS n FROM pg_stat_activity
                WHERE datname = current_database() AND wait_event_type = 'Lock'";
            let connection = db.connection().await.expect("a connection");
            number(&connection, waiting).await.expect("waiting") == 1
        })
        .await;
        uow.commit().await.expect("commit");
    };
    let (expired, ()) = tokio::join!(outdated(&*db), commit);
    assert_eq!(expired, 1);
    assert_eq!(read(&*db, &replaced).await.expires_at, None);
    assert!(read(&*db, &touched).await.expires_at.is_some());
}
