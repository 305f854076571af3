//! B7: what is computed of many rows goes on without one that cannot be read, where the rest is right without it, and names
//! it; where it would be wrong, the error names it.

use std::time::Duration;

use crate::api::*;
use chrono::{DateTime, NaiveDate, Utc};
use tokio_postgres::Client;

use super::other_program;
use crate::cancellation::every_method::given::{contract, document};
use crate::support::{database, parsed, portfolio, user};

const FIRST: NaiveDate = NaiveDate::from_ymd_opt(2024, 1, 1).unwrap();
const LAST: NaiveDate = NaiveDate::from_ymd_opt(2024, 12, 31).unwrap();
const HOUR: Duration = Duration::from_secs(3600);

async fn spoil(other: &Client, table: &str, change: &str, id: impl ToString) {
    let change = format!("UPDATE {table} SET {change} WHERE id = '{}'", id.to_string());
    other.batch_execute(&change).await.expect(&change);
}

/// Table, key and column of what cannot be read.
fn named(rows: &[Unreadable]) -> Vec<(&str, String, &str)> {
    rows.iter().map(|row| (&*row.table, row.key.clone(), &*row.column)).collect()
}

/// As [`named`], of an error.
fn corrupt<T: std::fmt::Debug>(result: Result<T>) -> (String, String, String) {
    match result {
        Err(Error::Corrupt { table, key, column, .. }) => (table, key, column),
        other => panic!("{other:?}"),
    }
}

fn of(table: &str, key: impl ToString, column: &str) -> (String, String, String) {
    (table.into(), key.to_string(), column.into())
}

fn bar(ticker: &str, day: &str, close: &str) -> NewPriceBar {
    NewPriceBar::new(parsed(ticker), parsed::<NaiveDate>(day), parsed(close))
}

#[tokio::test]
async fn b7_one_bad_expiration_hides_no_other() {
    let db = database(2).await;
    let (a, taken) = (parsed::<Ticker>("A"), parsed::<DateTime<Utc>>("2024-01-02T21:00:00Z"));
    let of_day = |day: &str| {
        let expiration = TradingDay::from(parsed::<NaiveDate>(day));
        NewOptionQuote::new(OptionContract { expiration, ..contract(&a) }).fetched_at(taken)
    };
    let new = ["2024-02-16", "2024-03-15", "2024-04-19"].map(of_day);
    let quotes = db.options().create_many(&new).await.expect("quotes");
    let other = other_program(&db).await;
    spoil(&other, "options_data", "expiration_date = 'infinity'", quotes[1].id).await;
    let days = db.options().expirations(&a, taken).await.expect("read");
    assert_eq!(days.items, ["2024-02-16", "2024-04-19"].map(parsed::<NaiveDate>));
    let expected = ("options_data", quotes[1].id.to_string(), "expiration_date");
    assert_eq!(named(&days.unreadable), [expected]);
}

#[tokio::test]
async fn b7_a_valuation_names_what_it_cannot_value() {
    let db = database(2).await;
    let ada = user(&*db, "ada@example.com").await;
    let core = portfolio(&*db, &ada, "Core").await;
    let held = ["A", "B", "C", "D"].map(|ticker| {
        let new = NewPosition::new(core.id, parsed(ticker), parsed::<Shares>("2"));
        NewPosition { average_cost: Some(parsed("1")), ..new }
    });
    let held = db.positions().create_many(&held).await.expect("positions");
    let bars = ["A", "B", "C", "D"].map(|ticker| bar(ticker, "2024-01-02", "10"));
    let bars = db.prices().create_many(&bars).await.expect("bars");
    let other = other_program(&db).await;
    spoil(&other, "positions", "ticker = 'ÄB'", held[1].id).await;
    spoil(&other, "price_history", "close_price = 'NaN'", bars[2].id).await;
    spoil(&other, "positions", "shares = 'NaN'", held[3].id).await;
    let value = async || db.portfolios().valuation(core.id, None).await;
    let valued = value().await.expect("read").expect("there");
    let values: Vec<_> =
        valued.positions.iter().map(|p| (p.ticker.as_str(), p.bar.is_some())).collect();
    assert_eq!(values, [("A", true), ("C", false)]);
    assert_eq!(valued.market_value, parsed::<bigdecimal::BigDecimal>("20"));
    assert_eq!((&valued.cost_basis, &valued.unrealised_gain), (&parsed("4"), &parsed("18")));
    assert_eq!(valued.without_price().map(Ticker::as_str).collect::<Vec<_>>(), ["C"]);
    let mut found = named(&valued.unreadable);
    found.sort_unstable();
    let mut expected = [
        ("positions", held[1].id.to_string(), "ticker"),
        ("positions", held[3].id.to_string(), "shares"),
        ("price_history", bars[2].id.to_string(), "close_price"),
    ];
    expected.sort_unstable();
    assert_eq!(found, expected);
    assert!(valued.unreadable.iter().all(|row| !row.reason.is_empty()));
    // Without the portfolio itself there is nothing to value.
    spoil(&other, "portfolios", "target_cash_percentage = 'NaN'", core.id).await;
    assert_eq!(corrupt(value().await), of("portfolios", core.id, "target_cash_percentage"));
}

#[tokio::test]
async fn b7_bars_are_adjusted_without_one_that_does_not_matter_to_the_others() {
    let db = database(2).await;
    let days = ["2024-01-02", "2024-01-03", "2024-01-04", "2024-01-05", "2024-01-08"];
    let new = days.map(|day| bar("A", day, "10").adjusted_close(parsed("10")));
    let bars = db.prices().create_many(&new).await.expect("bars");
    let day = |n: usize| parsed::<NaiveDate>(days[n]);
    let actions = [
        NewCorporateAction::split(parsed("A"), day(1), parsed("1"), parsed("2")),
        NewCorporateAction::dividend(parsed("A"), day(4), parsed("1")),
    ];
    let actions = db.corporate_actions().create_many(&actions).await.expect("actions");
    let a = parsed::<Ticker>("A");
    let adjusted = async |adjustment| db.prices().adjusted(&a, FIRST, LAST, LAST, adjustment).await;
    let check = async || db.prices().verify_adjustment(&a, FIRST, LAST, 0.001).await;
    let [splits, both] = [Adjustment::Splits, Adjustment::SplitsAndDividends];
    let (whole, whole_of_splits) = (adjusted(both).await, adjusted(splits).await);
    let (whole, whole_of_splits) = (whole.expect("read"), whole_of_splits.expect("read"));
    assert_eq!((whole.bars.len(), whole.unreadable.len(), whole.skipped.len()), (5, 0, 0));

    // A bar that no action is measured by.
    let other = other_program(&db).await;
    spoil(&other, "price_history", "close_price = 'NaN'", bars[2].id).await;
    let series = adjusted(both).await.expect("read");
    let left = |all: &[SeriesBar], without: &[usize]| -> Vec<SeriesBar> {
        let kept = |(n, bar): (usize, &SeriesBar)| (!without.contains(&n)).then(|| bar.clone());
        all.iter().enumerate().filter_map(kept).collect()
    };
    assert_eq!(series.bars, left(&whole.bars, &[2]));
    let bad = ("price_history", bars[2].id.to_string(), "close_price");
    assert_eq!(named(&series.unreadable), std::slice::from_ref(&bad));
    let checked = check().await.expect("read");
    assert_eq!((checked.days_compared, named(&checked.unreadable)), (4, vec![bad]));
    // The sum of a period would be wrong without it.
    let month = db.prices().resample(&a, FIRST, LAST, Period::Month).await;
    assert_eq!(corrupt(month), of("price_history", bars[2].id, "close_price"));

    // The bar before a dividend.
    spoil(&other, "price_history", "close_price = 'NaN'", bars[3].id).await;
    let series = adjusted(splits).await.expect("read");
    assert_eq!(series.bars, left(&whole_of_splits.bars, &[2, 3]));
    assert_eq!(series.unreadable.len(), 2);
    assert_eq!(corrupt(adjusted(both).await), of("price_history", bars[3].id, "close_price"));
    assert_eq!(corrupt(check().await), of("price_history", bars[3].id, "close_price"));

    // An action: of dividends alone the adjustment for splits knows nothing.
    spoil(&other, "corporate_actions", "amount = NULL", actions[1].id).await;
    let bad = of("corporate_actions", actions[1].id, "action_type");
    assert_eq!(corrupt(adjusted(both).await), bad);
    assert_eq!(adjusted(splits).await.expect("read").bars.len(), 3);
    spoil(&other, "corporate_actions", "split_to = 'NaN'", actions[0].id).await;
    let bad = of("corporate_actions", actions[0].id, "split_to");
    assert_eq!(corrupt(adjusted(splits).await), bad);
    assert_eq!(corrupt(check().await), bad);
    // A unit of work goes on behind it.
    let unit = db.begin().await.expect("a unit");
    assert_eq!(corrupt(unit.prices().adjusted(&a, FIRST, LAST, LAST, splits).await), bad);
    assert_eq!(unit.prices().count(&PriceBarFilter::default()).await.expect("it goes on"), 5);
}

#[tokio::test]
async fn b7_a_lineage_names_the_row_that_cannot_be_read() {
    let db = database(2).await;
    let (a, b) = (parsed::<Ticker>("A"), parsed::<Ticker>("B"));
    let keys = [CacheKey::new(&a, DataType::NEWS), CacheKey::new(&b, DataType::NEWS)];
    let mut inputs = Inputs::new();
    let mut entries = Vec::new();
    for key in &keys {
        let options = PutOptions::ttl(HOUR).source("wire");
        let entry = db.market_cache().put(key, &document(), &options).await.expect("an entry");
        inputs = inputs.document(key, entry.revision);
        entries.push(entry);
    }
    let of_day = |day: &str, source: &'static str| bar("A", day, "1").data_source(source);
    let new = [
        of_day("2024-01-02", "x"),
        of_day("2024-01-03", "x"),
        of_day("2024-01-04", "x"),
        of_day("2024-01-05", "y"),
    ];
    let bars = db.prices().create_many(&new).await.expect("bars");
    inputs = inputs.bars(db.prices().digest(&a).await.expect("a digest"));
    let new = NewAnalysis::new(a.clone(), AnalysisType::Value).inputs(inputs);
    let result = db.analyses().create(&new).await.expect("a result");
    let other = other_program(&db).await;
    spoil(&other, "market_data_cache", "cached_at = 'infinity'", entries[0].id).await;
    spoil(&other, "price_history", "date = 'infinity'", bars[1].id).await;
    spoil(&other, "price_history", "date = '-infinity'", bars[3].id).await;

    let lineage = db.analyses().lineage(result.id).await.expect("read").expect("there");
    let [first, second] = &lineage.documents[..] else { panic!("{lineage:?}") };
    assert_eq!((first.data_source.as_deref(), first.cached_at), (Some("wire"), None));
    assert_eq!(second.cached_at, Some(entries[1].cached_at));
    let [of_a] = &lineage.bars[..] else { panic!("{lineage:?}") };
    let [x] = &of_a.sources[..] else { panic!("{lineage:?}") };
    assert_eq!((x.data_source.as_deref(), x.bars), (Some("x"), 2));
    assert_eq!((x.first, x.last), (bars[0].date, bars[2].date));
    let expected = [
        ("market_data_cache", entries[0].id.to_string(), "cached_at"),
        ("price_history", bars[1].id.to_string(), "date"),
        ("price_history", bars[3].id.to_string(), "date"),
    ];
    assert_eq!(named(&lineage.unreadable), expected);
    assert!(lineage.is_recorded && !lineage.is_current());

    spoil(&other, "analysis_results", r#"inputs = '{"bars": [{"digest": 1}]}'"#, result.id).await;
    let bad = of("analysis_results", result.id, "inputs");
    assert_eq!(corrupt(db.analyses().lineage(result.id).await), bad);
    let stored = db.analyses().find(result.id).await.expect("read").expect("there");
    assert_eq!(corrupt(stored.watermarks()), bad);
    spoil(&other, "analysis_results", "calculated_at = 'infinity'", result.id).await;
    let bad = of("analysis_results", result.id, "calculated_at");
    assert_eq!(corrupt(db.analyses().lineage(result.id).await), bad);
    let key = AnalysisKey::new(&a, AnalysisType::Value);
    assert_eq!(corrupt(db.analyses().latest(&key).await), bad);
}

#[tokio::test]
async fn b7_a_cached_document_that_cannot_be_read_is_named() {
    let db = database(2).await;
    let a = parsed::<Ticker>("A");
    let key = CacheKey::new(&a, DataType::NEWS);
    let put = db.market_cache().put(&key, &document(), &PutOptions::ttl(HOUR)).await;
    let entry = put.expect("an entry");
    // A value of another shape has no row that an error could come from, but a key.
    let other_shape = db.cache().get::<Vec<i32>>(&key).await;
    assert_eq!(corrupt(other_shape), of("market_data_cache", "A news", "data"));
    assert_eq!(corrupt(entry.decode::<Vec<i32>>()), of("market_data_cache", entry.id, "data"));
    let other = other_program(&db).await;
    spoil(&other, "market_data_cache", "expires_at = 'infinity'", entry.id).await;
    let bad = of("market_data_cache", entry.id, "expires_at");
    assert_eq!(corrupt(db.cache().get::<serde_json::Value>(&key).await), bad);
    assert_eq!(corrupt(db.market_cache().get_stale(&key).await), bad);
}
