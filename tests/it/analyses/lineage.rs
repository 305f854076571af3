//! What results were computed from, beside what is stored of that now.

use std::time::Duration;

use crate::api::*;

use super::{save, ticker, value_of};
use crate::support::handle::Handle;
use crate::support::parsed;

conformance! {
    sources_revisions_and_corrections_are_told,
    what_is_not_recorded_or_not_there_is_told,
}

fn document(n: u32) -> Document {
    Document::encode(&n).expect("a document")
}

fn bar(day: &str, close: &str, source: &'static str) -> NewPriceBar {
    NewPriceBar::new(ticker("AAPL"), parsed::<chrono::NaiveDate>(day), parsed(close))
        .data_source(source)
}

async fn sources_revisions_and_corrections_are_told(handle: &impl Handle) {
    let (cache, prices) = (handle.market_cache(), handle.prices());
    let key = CacheKey::new(&ticker("AAPL"), DataType::NEWS).params([1]).expect("parameters");
    let options = PutOptions::ttl(Duration::from_secs(3600)).source("wire");
    let entry = cache.put(&key, &document(1), &options).await.expect("stored");
    let gone = CacheKey::new(&ticker("AAPL"), DataType::FUNDAMENTALS);
    let bars = [
        bar("2024-01-02", "1", "yahoo"),
        bar("2024-01-03", "2", "yahoo"),
        bar("2024-01-04", "3", "exchange"),
    ];
    prices.upsert_many(&bars).await.expect("stored");
    let digest = prices.digest(&ticker("AAPL")).await.expect("read");
    let inputs =
        Inputs::new().document(&key, entry.revision).document(&gone, 5).bars(digest.clone());
    // Computed a while ago, as a transaction knows only one time.
    let computed_at = parsed("2024-06-01T00:00:00Z");
    let new = value_of("AAPL").inputs(inputs.clone()).calculated_at(computed_at);
    let result = save(handle, &new).await;

    let lineage = handle.analyses().lineage(result.id).await.expect("read").expect("there");
    assert_eq!((lineage.calculated_at, lineage.is_recorded), (computed_at, true));
    let [news, missing] = &*lineage.documents else { panic!("{lineage:?}") };
    assert_eq!((&news.input, news.is_current()), (&inputs.documents[0], true));
    assert_eq!(news.data_source.as_deref(), Some("wire"));
    assert_eq!(
        (missing.current_revision, missing.is_current()),
        (None, false),
        "it was never stored"
    );
    let [of_aapl] = &*lineage.bars else { panic!("{lineage:?}") };
    assert_eq!((&of_aapl.input, of_aapl.is_current(), of_aapl.replaced_since), (&digest, true, 0));
    let sources: Vec<_> =
        of_aapl.sources.iter().map(|s| (s.data_source.as_deref(), s.bars)).collect();
    assert_eq!(sources, [(Some("exchange"), 1), (Some("yahoo"), 2)]);
    assert_eq!(
        of_aapl.sources[1].last,
        parsed::<chrono::DateTime<chrono::Utc>>("2024-01-03T00:00:00Z")
    );

    // Both change.
    // Stored by another transaction than this one.
    handle.sql("UPDATE price_history SET added_by = NULL").await;
    cache.put(&key, &document(2), &options.source("other")).await.expect("stored");
    prices.upsert_many(&[bar("2024-01-03", "2.5", "yahoo")]).await.expect("stored");
    let lineage = handle.analyses().lineage(result.id).await.expect("read").expect("there");
    assert!(
        !lineage.is_current()
            && !lineage.documents[0].is_current()
            && !lineage.bars[0].is_current()
    );
    assert!(lineage.documents[0].current_revision > Some(entry.revision));
    assert_eq!(lineage.documents[0].data_source.as_deref(), Some("other"));
    assert_eq!(lineage.bars[0].replaced_since, 1);
}

async fn what_is_not_recorded_or_not_there_is_told(handle: &impl Handle) {
    let analyses = handle.analyses();
    assert_eq!(analyses.lineage(AnalysisId::generate()).await.expect("read"), None);
    let result = save(handle, &value_of("AAPL")).await;
    let lineage = analyses.lineage(result.id).await.expect("read").expect("there");
    assert!(!lineage.is_recorded && lineage.documents.is_empty() && lineage.bars.is_empty());
    handle.sql(r#"UPDATE analysis_results SET inputs = '{"bars": [{"digest": "x"}]}'"#).await;
    let error = analyses.lineage(result.id).await.expect_err("of another shape");
    assert!(matches!(&error, Error::Corrupt { column, .. } if column == "inputs"), "{error:?}");
}
