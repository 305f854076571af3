//! Option quotes: every verb, on the pool and in a unit of work.

mod analysis;
mod chains;
mod plans;
mod symbols;

use std::sync::Arc;
use std::time::Duration;

use buffetbot_db::Error;
use buffetbot_db::error::Entity;
use buffetbot_db::options::{
    NewOptionQuote, OptionContract, OptionQuote, OptionQuoteFilter, OptionQuotePatch,
    OptionRepository,
};
use buffetbot_db::store::Retention;
use buffetbot_db::types::{OptionQuoteId, OptionType, PageRequest};
use chrono::{DateTime, NaiveDate, Utc};
use diesel_async::RunQueryDsl;
use serde_json::json;

use crate::support::handle::Handle;
use crate::support::{every_page, parsed};

conformance! {
    what_is_written_is_read,
    a_quote_may_be_of_now,
    extremes_are_exact,
    crossed_quotes_are_kept,
    invalid_fields_are_refused_by_name,
    a_contract_has_one_quote_a_snapshot,
    an_unknown_quote_is_told_as_such,
    a_patch_changes_what_it_says,
    many_are_created_in_order,
    many_or_none,
    lists_reach_every_row_once,
    filters_select,
    deletion_is_of_one,
    retention_goes_by_age_in_batches,
    the_last_snapshot_of_a_day_may_stay,
    a_trait_object_does_the_same,
}

fn day(text: &str) -> NaiveDate {
    parsed(text)
}

fn at(text: &str) -> DateTime<Utc> {
    parsed(text)
}

/// Noon of a day in 2024.
fn noon(of: &str) -> DateTime<Utc> {
    at(&format!("2024-{of}T12:00:00Z"))
}

/// A contract by its OCC symbol.
fn contract(symbol: &str) -> OptionContract {
    parsed::<buffetbot_db::options::OccSymbol>(symbol).into_contract()
}

fn quote(symbol: &str) -> NewOptionQuote {
    NewOptionQuote::new(contract(symbol))
}

/// Calls and puts at so many strikes (100, 101, ...) for each expiration.
fn chain(ticker: &str, expirations: &[&str], strikes: i64) -> Vec<NewOptionQuote> {
    let mut quotes = Vec::new();
    for expiration in expirations {
        for option_type in [OptionType::Put, OptionType::Call] {
            for n in 0..strikes {
                let strike = (100 + n).try_into().expect("a strike");
                let expiration = day(expiration);
                let contract = OptionContract::new(parsed(ticker), expiration, option_type, strike);
                quotes.push(NewOptionQuote::new(contract).last(parsed("1.5")));
            }
        }
    }
    quotes
}

fn assert_invalid<T: std::fmt::Debug>(result: Result<T, Error>, wanted: &str) {
    match result {
        Err(Error::Invalid { field, .. }) => assert_eq!(field, wanted),
        other => panic!("expected invalid {wanted}: {other:?}"),
    }
}

fn assert_taken<T: std::fmt::Debug>(result: Result<T, Error>) {
    match result {
        Err(Error::Conflict { constraint, .. }) => {
            assert_eq!(constraint, "options_data_contract_snapshot_key");
        }
        other => panic!("expected a conflict: {other:?}"),
    }
}

async fn what_is_written_is_read(handle: &impl Handle) {
    let options = handle.options();
    let new = quote("AAPL250117C00150000")
        .last(parsed("12.3456789012"))
        .bid_ask(parsed("0"), parsed("12.5"))
        .volume(3_000_000_000)
        .open_interest(0)
        .greeks(parsed("-1"), parsed("0.000001"), parsed("-150"), parsed("120.5"))
        .implied_volatility(parsed("2.341801"))
        .data_source("Börse")
        .fetched_at(at("2024-11-05T16:00:00.123456Z"));
    let made = options.create(&new).await.expect("stored");
    let expected = OptionQuote {
        id: made.id,
        ticker: parsed("AAPL"),
        option_type: OptionType::Call,
        strike: parsed("150"),
        expiration_date: at("2025-01-17T00:00:00Z"),
        last: new.last.clone(),
        bid: new.bid.clone(),
        ask: new.ask.clone(),
        volume: Some(3_000_000_000),
        open_interest: Some(0),
        delta: new.delta.clone(),
        gamma: new.gamma.clone(),
        theta: new.theta.clone(),
        vega: new.vega.clone(),
        implied_volatility: new.implied_volatility.clone(),
        data_source: Some("Börse".into()),
        fetched_at: at("2024-11-05T16:00:00.123456Z"),
    };
    assert_eq!(made, expected);
    assert_eq!(
        (made.expiration(), made.contract()),
        (day("2025-01-17"), contract("AAPL250117C00150000"))
    );
    assert_eq!(options.find(made.id).await.expect("read"), Some(made.clone()));
    assert!(options.exists(made.id).await.expect("read"));

    let text = serde_json::to_string(&made).expect("JSON");
    assert_eq!(serde_json::from_str::<OptionQuote>(&text).expect("a quote"), made);
    let text = serde_json::to_string(&new).expect("JSON");
    assert_eq!(serde_json::from_str::<NewOptionQuote>(&text).expect("a quote"), new);
}

async fn a_quote_may_be_of_now(handle: &impl Handle) {
    let least = json!({
        "ticker": "aapl", "option_type": "CALL", "strike": 150, "expiration": "2025-01-17",
    });
    let least: NewOptionQuote = serde_json::from_value(least).expect("the rest has defaults");
    let made = handle.options().create(&least).await.expect("stored");
    assert_eq!(made.option_type, OptionType::Call);
    assert_eq!(made.data_source.as_deref(), Some("yfinance"));
    assert_eq!((made.last, made.volume, made.delta), (None, None, None));
    let connection = handle.connection().await;
    let is_now: bool = diesel::select(diesel::dsl::sql::<diesel::sql_types::Bool>(&format!(
        "'{}'::timestamptz BETWEEN now() - interval '1 minute' AND now()",
        made.fetched_at
    )))
    .get_result(&mut connection.as_diesel())
    .await
    .expect("compared");
    assert!(is_now);
}

async fn extremes_are_exact(handle: &impl Handle) {
    let new = quote("AAPL250117C00150000")
        .volume(i64::MAX)
        .greeks(parsed("1"), parsed("99999999.999999"), parsed("-99999999.999999"), parsed("0"))
        .implied_volatility(parsed("9999.999999"))
        .last(parsed("9999999999.9999999999"));
    let made = handle.options().create(&new).await.expect("stored");
    assert_eq!((made.gamma, made.theta), (new.gamma, new.theta));
    assert_eq!((made.implied_volatility, made.last), (new.implied_volatility, new.last));
    assert_eq!(made.volume, Some(i64::MAX));
}

async fn crossed_quotes_are_kept(handle: &impl Handle) {
    let crossed = quote("AAPL250117C00150000").bid_ask(parsed("2"), parsed("1"));
    let made = handle.options().create(&crossed).await.expect("stored");
    assert!(made.bid > made.ask);
}

async fn invalid_fields_are_refused_by_name(handle: &impl Handle) {
    let options = handle.options();
    let good = || quote("AAPL250117C00150000");
    assert_invalid(options.create(&good().volume(-1)).await, "volume");
    assert_invalid(options.create(&good().open_interest(-1)).await, "open_interest");
    assert_invalid(options.create(&good().data_source(" ")).await, "data_source");
    let late = NewOptionQuote { expiration: NaiveDate::MAX.into(), ..good() };
    assert_invalid(options.create(&late).await, "expiration");
    let late = good().fetched_at(DateTime::<Utc>::MAX_UTC);
    assert_invalid(options.create(&late).await, "fetched_at");
    assert_eq!(options.count(&OptionQuoteFilter::default()).await.expect("read"), 0);
}

async fn a_contract_has_one_quote_a_snapshot(handle: &impl Handle) {
    let options = handle.options();
    let first = quote("AAPL250117C00150000").fetched_at(noon("01-02"));
    options.create(&first).await.expect("stored");
    assert_taken(handle.attempt(options.create(&first)).await);
    for other in ["AAPL250117P00150000", "AAPL250117C00151000", "AAPL250124C00150000"] {
        options.create(&quote(other).fetched_at(noon("01-02"))).await.expect("another contract");
    }
    options.create(&first.fetched_at(noon("01-03"))).await.expect("another snapshot");
}

async fn an_unknown_quote_is_told_as_such(handle: &impl Handle) {
    let options = handle.options();
    let unknown = OptionQuoteId::generate();
    assert_eq!(options.find(unknown).await.expect("read"), None);
    assert!(!options.exists(unknown).await.expect("read"));
    assert!(!options.delete(unknown).await.expect("no error"));
    let change = OptionQuotePatch::default().volume(1);
    for patch in [change, OptionQuotePatch::default()] {
        match options.update(unknown, &patch).await {
            Err(Error::NotFound { entity: Entity::OptionQuote, key }) => {
                assert_eq!(key, unknown.to_string());
            }
            other => panic!("expected not found: {other:?}"),
        }
    }
}

async fn a_patch_changes_what_it_says(handle: &impl Handle) {
    let options = handle.options();
    let new = quote("AAPL250117C00150000").bid_ask(parsed("1"), parsed("2")).volume(5);
    let made = options.create(&new).await.expect("stored");
    let same = options.update(made.id, &OptionQuotePatch::default()).await.expect("nothing to do");
    assert_eq!(same, made);
    let patch = json!({"bid": null, "ask": "2.5", "delta": -0.25});
    let patch: OptionQuotePatch = serde_json::from_value(patch).expect("a patch");
    let changed = options.update(made.id, &patch).await.expect("changed");
    let expected =
        OptionQuote { bid: None, ask: Some(parsed("2.5")), delta: Some(parsed("-0.25")), ..made };
    assert_eq!(changed, expected);
    assert_eq!(options.find(changed.id).await.expect("read"), Some(changed.clone()));
    let negative = OptionQuotePatch::default().volume(-1);
    assert_invalid(options.update(changed.id, &negative).await, "volume");
}

async fn many_are_created_in_order(handle: &impl Handle) {
    let options = handle.options();
    assert_eq!(options.create_many(&[]).await.expect("nothing"), []);
    let new = chain("AAPL", &["2025-02-21", "2025-01-17"], 300);
    let made = options.create_many(&new).await.expect("stored");
    assert_eq!(made.len(), 1_200);
    for (made, new) in made.iter().zip(&new) {
        assert_eq!(NewOptionQuote::new(made.contract()).last(parsed("1.5")), *new);
    }
}

async fn many_or_none(handle: &impl Handle) {
    let options = handle.options();
    let mut new = chain("AAPL", &["2025-01-17"], 400);
    new[601] = new[601].clone().volume(-1);
    match options.create_many(&new).await {
        Err(Error::Item { index: 601, source }) => assert_invalid::<()>(Err(*source), "volume"),
        other => panic!("expected item 601: {other:?}"),
    }
    new[601] = new[2].clone();
    match handle.attempt(options.create_many(&new)).await {
        Err(Error::Item { index: 2 | 601, source }) => assert_taken::<()>(Err(*source)),
        other => panic!("expected an item: {other:?}"),
    }
    assert_eq!(options.count(&OptionQuoteFilter::default()).await.expect("read"), 0);
}

async fn lists_reach_every_row_once(handle: &impl Handle) {
    let options = handle.options();
    // All quotes of a snapshot have one time: pages end among equals.
    for snapshot in [noon("01-02"), noon("01-03")] {
        let quotes = chain("AAPL", &["2025-01-17"], 20);
        options.put_chain(&parsed("AAPL"), snapshot, &quotes).await.expect("stored");
    }
    let filter = OptionQuoteFilter::default();
    let quotes = every_page(7, async |page| options.list(&filter, &page).await).await;
    assert_eq!(quotes.len(), 80);
    assert!(quotes.is_sorted_by(|a, b| (b.fetched_at, b.id) < (a.fetched_at, a.id)));
    assert_eq!(options.count(&filter).await.expect("read"), 80);
}

async fn filters_select(handle: &impl Handle) {
    let options = handle.options();
    for (ticker, snapshot) in [("AAPL", "01-02"), ("AAPL", "01-03"), ("MSFT", "01-03")] {
        let quotes = chain(ticker, &["2025-01-17", "2025-02-21"], 3);
        options.put_chain(&parsed(ticker), noon(snapshot), &quotes).await.expect("stored");
    }
    let all = OptionQuoteFilter::default;
    let tickers = |tickers: &[&str]| -> Vec<buffetbot_db::types::Ticker> {
        tickers.iter().map(|t| parsed(t)).collect()
    };
    for (filter, expected) in [
        (all(), 36),
        (all().tickers(tickers(&[])), 0),
        (all().tickers(tickers(&["AAPL"])), 24),
        (all().tickers(tickers(&["AAPL", "MSFT"])), 36),
        (all().tickers(tickers(&["AAP_"])), 0),
        (all().option_type(OptionType::Put), 18),
        (all().expiration(day("2025-02-21")), 18),
        (all().expiration(day("2025-02-20")), 0),
        (all().from(noon("01-03")), 24),
        (all().to(noon("01-02")), 12),
        (all().from(DateTime::<Utc>::MIN_UTC).to(DateTime::<Utc>::MAX_UTC), 36),
    ] {
        assert_eq!(options.count(&filter).await.expect("read"), expected, "{filter:?}");
        let listed = options.list(&filter, &PageRequest::default()).await.expect("read");
        assert_eq!(listed.items.len() as u64, expected, "{filter:?}");
    }
}

async fn deletion_is_of_one(handle: &impl Handle) {
    let options = handle.options();
    let made = options.create_many(&chain("AAPL", &["2025-01-17"], 2)).await.expect("stored");
    assert!(options.delete(made[0].id).await.expect("deleted"));
    assert!(!options.delete(made[0].id).await.expect("no error"));
    assert_eq!(options.count(&OptionQuoteFilter::default()).await.expect("read"), 3);
}

async fn retention_goes_by_age_in_batches(handle: &impl Handle) {
    let options = handle.options();
    let quotes = chain("AAPL", &["2025-01-17"], 5);
    for snapshot in [noon("01-02"), noon("01-03")] {
        options.put_chain(&parsed("AAPL"), snapshot, &quotes).await.expect("stored");
    }
    options.create_many(&quotes).await.expect("of now");
    let year = Duration::from_secs(365 * 24 * 60 * 60);
    let sweep = async |limit, age| {
        let swept = options.sweep(limit, &Retention::older_than(age)).await.expect("swept");
        (swept.deleted, swept.more_left)
    };
    assert_eq!(sweep(100, Duration::MAX).await, (0, false));
    assert_eq!(sweep(0, year).await, (0, false));
    assert_eq!(sweep(12, year).await, (12, true));
    let oldest = OptionQuoteFilter::default().to(noon("01-02"));
    assert_eq!(options.count(&oldest).await.expect("read"), 0, "the oldest go first");
    assert_eq!(sweep(12, year).await, (8, false));
    assert_eq!(sweep(12, year).await, (0, false));
    assert_eq!(options.count(&OptionQuoteFilter::default()).await.expect("read"), 10);
}

async fn the_last_snapshot_of_a_day_may_stay(handle: &impl Handle) {
    let options = handle.options();
    let taken = [
        // Of Apple three on one day and one just after midnight, of Microsoft two days with one each.
        ("AAPL", "2024-01-02T09:00:00Z"),
        ("AAPL", "2024-01-02T12:00:00Z"),
        ("AAPL", "2024-01-02T23:59:59.999999Z"),
        ("AAPL", "2024-01-03T00:00:00Z"),
        ("MSFT", "2024-01-02T12:00:00Z"),
        ("MSFT", "2024-01-03T12:00:00Z"),
        ("MSFT", "2024-01-03T12:00:01Z"),
    ];
    for (ticker, snapshot) in taken {
        let quotes = chain(ticker, &["2025-01-17"], 3);
        options.put_chain(&parsed(ticker), at(snapshot), &quotes).await.expect("stored");
    }
    options.create_many(&chain("AAPL", &["2025-01-17"], 1)).await.expect("of now");
    let year = Duration::from_secs(365 * 24 * 60 * 60);
    let retention = Retention::older_than(year).keep_last_of_day();
    let sweep = async |limit, retention| {
        let swept = options.sweep(limit, &retention).await.expect("swept");
        (swept.deleted, swept.more_left)
    };
    let never = Retention::older_than(Duration::MAX).keep_last_of_day();
    assert_eq!(sweep(100, never).await, (0, false));
    // Two of Apple and one of Microsoft have a later one on their day: six quotes each.
    assert_eq!(sweep(10, retention).await, (10, true));
    assert_eq!(sweep(10, retention).await, (8, false));
    assert_eq!(sweep(10, retention).await, (0, false));
    let count = async |ticker: &str, snapshot: &str| {
        let (tickers, time) = (vec![parsed(ticker)], at(snapshot));
        let filter = OptionQuoteFilter::default().tickers(tickers).from(time).to(time);
        options.count(&filter).await.expect("read")
    };
    let mut left = Vec::new();
    for (ticker, snapshot) in taken {
        left.push(count(ticker, snapshot).await);
    }
    assert_eq!(left, [0, 0, 6, 6, 6, 0, 6]);
    assert_eq!(options.count(&OptionQuoteFilter::default()).await.expect("read"), 26);
    // Without the rule they go, too.
    assert_eq!(sweep(100, Retention::older_than(year)).await, (24, false));
}

async fn a_trait_object_does_the_same(handle: &impl Handle) {
    let options: Arc<dyn OptionRepository> = handle.as_ref().options_arc();
    let quotes = chain("AAPL", &["2025-01-17"], 1);
    let report = options.put_chain(&parsed("AAPL"), noon("01-02"), &quotes).await.expect("stored");
    assert_eq!(report.inserted, 2);
    let chain = options.latest_chain(&parsed("AAPL"), &Default::default()).await.expect("read");
    assert_eq!(chain.len(), 2);
}
