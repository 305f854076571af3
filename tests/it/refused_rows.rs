//! One bad row among good ones, for every method that writes many: the error gives the index of the item, nothing is
//! written, and a unit of work goes on.

use std::fmt::Debug;
use std::time::Duration;

use buffetbot_db::analyses::NewAnalysis;
use buffetbot_db::market_cache::{Backfill, CacheKey, NewCacheEntry, PutOptions};
use buffetbot_db::options::{NewOptionQuote, OptionContract};
use buffetbot_db::portfolios::{NewPortfolio, NewPosition};
use buffetbot_db::prices::{DeliveredBar, IngestOptions, NewCorporateAction, NewPriceBar};
use buffetbot_db::types::{AnalysisType, DataType, Document, OptionType, RiskTolerance, Ticker};
use buffetbot_db::users::NewUser;
use buffetbot_db::{Error, Result};
use chrono::{DateTime, NaiveDate, Utc};
use futures_util::{StreamExt, stream};

use crate::support::handle::Handle;
use crate::support::{ago, hash, parsed, portfolio, user};

conformance! {
    b8_a_refused_row_is_an_item,
    b8_a_row_that_a_trigger_refuses_is_an_item,
    b8_rows_of_large_merges_are_items,
}

/// Where the bad row is in each batch.
const BAD: usize = 3;
const ROWS: usize = 7;

fn day() -> NaiveDate {
    parsed("2024-01-02")
}

fn noon() -> DateTime<Utc> {
    parsed("2024-01-02T12:00:00Z")
}

/// The tickers of a batch. `BAD` is neither the first nor the last, in whatever order they are sent.
fn tickers() -> Vec<Ticker> {
    (0..ROWS)
        .map(
            |n| if n == BAD { parsed("BAD") } else { parsed(&format!("{}{n}", ["A", "C"][n % 2])) },
        )
        .collect()
}

fn assert_bad<T: Debug>(what: &str, result: Result<T>) {
    match result {
        Err(Error::Item { index, source }) => {
            assert_eq!(index, BAD, "{what}: {source}");
            assert!(
                matches!(&*source, Error::Invalid { .. } | Error::Database { .. }),
                "{what}: {source}"
            );
        }
        other => panic!("{what}: {other:?}"),
    }
}

async fn every_writer(handle: &impl Handle) {
    let owner = user(handle, "owner@example.com").await;
    let core = portfolio(handle, &owner, "Core").await;

    let email = |n: usize| if n == BAD { "bad@x.org".into() } else { format!("u{n}@x.org") };
    let users: Vec<_> = (0..ROWS).map(|n| NewUser::new(email(n), hash())).collect();
    assert_bad("users", handle.users().create_many(&users).await);

    let name = |n: usize| if n == BAD { "bad".into() } else { format!("p{n}") };
    let new = |n| NewPortfolio::new(owner.id, name(n), RiskTolerance::Moderate);
    let portfolios: Vec<_> = (0..ROWS).map(new).collect();
    assert_bad("portfolios", handle.portfolios().create_many(&portfolios).await);

    let tickers = tickers();
    let each = || tickers.iter().cloned();
    let positions: Vec<_> = each().map(|t| NewPosition::new(core.id, t, None)).collect();
    assert_bad("positions", handle.positions().create_many(&positions).await);

    let analyses: Vec<_> = each().map(|t| NewAnalysis::new(t, AnalysisType::Value)).collect();
    assert_bad("analyses", handle.analyses().create_many(&analyses).await);
    assert_bad("analyses, saved", handle.analyses().create_many(&analyses).await);

    let document = || Document::encode(&[1]).expect("a document");
    let hour = || PutOptions::ttl(Duration::from_secs(3600));
    let entry =
        |t: Ticker| NewCacheEntry::new(CacheKey::new(&t, DataType::NEWS), document(), hour());
    let entries: Vec<_> = each().map(entry).collect();
    let cache = handle.market_cache();
    assert_bad("entries", cache.create_many(&entries).await);
    assert_bad("entries, put", cache.put_many(&entries).await);
    let past = |entry: NewCacheEntry| Backfill { entry, cached_at: ago(1) };
    let past: Vec<_> = entries.iter().cloned().map(past).collect();
    assert_bad("entries, backfilled", cache.backfill_many(&past).await);

    let bars: Vec<_> = each().map(|t| NewPriceBar::new(t, day(), parsed("1"))).collect();
    let (prices, options) = (handle.prices(), IngestOptions::new());
    assert_bad("bars", prices.create_many(&bars).await);
    assert_bad("bars, upserted", prices.upsert_many(&bars).await);
    let jumping = IngestOptions::new().max_jump(9.0);
    assert_bad("bars, judged", prices.upsert_many_with(&bars, &jumping).await);
    let delivered = bars.iter().cloned().map(|bar| Ok(DeliveredBar::from(bar)));
    assert_bad("bars, streamed", prices.copy_in(stream::iter(delivered).boxed(), &options).await);

    let actions: Vec<_> =
        each().map(|t| NewCorporateAction::dividend(t, day(), parsed("1"))).collect();
    assert_bad("actions", handle.corporate_actions().create_many(&actions).await);
    assert_bad("actions, upserted", handle.corporate_actions().upsert_many(&actions).await);

    let contract = |t| OptionContract::new(t, day(), OptionType::Call, parsed("100"));
    let quotes: Vec<_> =
        each().map(|t| NewOptionQuote::new(contract(t)).fetched_at(noon())).collect();
    assert_bad("quotes", handle.options().create_many(&quotes).await);
    assert_bad("quotes, upserted", handle.options().upsert_many(&quotes).await);
    handle.sql("ALTER TABLE options_data ADD CONSTRAINT not_103 CHECK (strike_price <> 103)").await;
    let strike = |n: i64| (100 + n).try_into().expect("a strike");
    let chain = |n| OptionContract::new(parsed("SPY"), day(), OptionType::Call, strike(n));
    let chain: Vec<_> = (0..7).map(|n| NewOptionQuote::new(chain(n))).collect();
    assert_bad("a chain", handle.options().put_chain(&parsed("SPY"), noon(), &chain).await);

    // Nothing was written, and whatever is good is stored now.
    let good: Vec<_> = bars.into_iter().filter(|bar| bar.ticker.as_str() != "BAD").collect();
    let report = prices.upsert_many(&good).await.expect("stored");
    assert_eq!(report.inserted as usize, ROWS - 1);
    let good: Vec<_> = quotes.into_iter().filter(|q| q.ticker.as_str() != "BAD").collect();
    let report = handle.options().upsert_many(&good).await.expect("stored");
    assert_eq!(report.inserted as usize, ROWS - 1);
    let good: Vec<_> = actions.into_iter().filter(|a| a.ticker.as_str() != "BAD").collect();
    let report = handle.corporate_actions().upsert_many(&good).await.expect("stored");
    assert_eq!(report.inserted as usize, ROWS - 1);
    for written in [
        handle.users().count(&Default::default()).await.expect("read") - 1,
        handle.portfolios().count(&Default::default()).await.expect("read") - 1,
        handle.analyses().count(&Default::default()).await.expect("read"),
        handle.market_cache().count(&Default::default()).await.expect("read"),
    ] {
        assert_eq!(written, 0);
    }
}

const TABLES: [(&str, &str); 8] = [
    ("users", "email = 'bad@x.org'"),
    ("portfolios", "name = 'bad'"),
    ("positions", "ticker = 'BAD'"),
    ("analysis_results", "ticker = 'BAD'"),
    ("market_data_cache", "ticker = 'BAD'"),
    ("price_history", "ticker = 'BAD'"),
    ("corporate_actions", "ticker = 'BAD'"),
    ("options_data", "ticker = 'BAD'"),
];

async fn b8_a_refused_row_is_an_item(handle: &impl Handle) {
    for (table, bad) in TABLES {
        handle.sql(&format!("ALTER TABLE {table} ADD CONSTRAINT good CHECK (NOT ({bad}))")).await;
    }
    every_writer(handle).await;
}

async fn b8_a_row_that_a_trigger_refuses_is_an_item(handle: &impl Handle) {
    let refuse = "CREATE FUNCTION refuse_bad() RETURNS TRIGGER LANGUAGE plpgsql
                  AS $$ BEGIN RAISE 'no'; END $$";
    handle.sql(refuse).await;
    for (table, bad) in TABLES {
        let condition = format!("new.{bad}");
        let trigger = format!(
            "CREATE TRIGGER refuse_bad BEFORE INSERT ON {table} FOR EACH ROW
             WHEN ({condition}) EXECUTE FUNCTION refuse_bad()"
        );
        handle.sql(&trigger).await;
    }
    every_writer(handle).await;
}

async fn b8_rows_of_large_merges_are_items(handle: &impl Handle) {
    handle.sql("ALTER TABLE corporate_actions ADD CONSTRAINT cheap CHECK (amount < 11000)").await;
    let action = |n: u64| {
        let ticker: Ticker = parsed(&format!("T{}", n % 100));
        let day = day() + chrono::Days::new(n / 100);
        NewCorporateAction::dividend(ticker, day, parsed(&(n + 1).to_string()))
    };
    // The bad one is in the last chunk, and the tickers are in no order.
    let actions: Vec<_> = (0..11_000).map(action).collect();
    match handle.corporate_actions().upsert_many(&actions).await {
        Err(Error::Item { index: 10_999, source }) => {
            assert!(matches!(&*source, Error::Invalid { field, .. } if field == "cheap"));
        }
        other => panic!("{other:?}"),
    }
    let report = handle.corporate_actions().upsert_many(&actions[..10_999]).await;
    assert_eq!(report.expect("stored").inserted, 10_999);
}
