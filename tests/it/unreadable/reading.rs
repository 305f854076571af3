//! B7: in lists of tickers, series and streams, one row that cannot be read hides no other, and is named.

use std::time::Duration;

use crate::api::*;
use arrow_array::RecordBatch;
use chrono::{DateTime, NaiveDate, Utc};
use futures_util::{StreamExt, TryStreamExt};

use super::other_program;
use crate::cancellation::every_method::given::{contract, document};
use crate::support::log::Log;
use crate::support::{database, parsed, portfolio, user};

const FIRST: NaiveDate = NaiveDate::from_ymd_opt(2024, 1, 1).unwrap();
const LAST: NaiveDate = NaiveDate::from_ymd_opt(2024, 12, 31).unwrap();
const HOUR: Duration = Duration::from_secs(3600);

fn tickers(names: &[&str]) -> Vec<Ticker> {
    names.iter().map(|name| parsed(name)).collect()
}

fn far() -> DateTime<Utc> {
    parsed("2100-01-01T00:00:00Z")
}

fn names<'a>(of: impl IntoIterator<Item = &'a Ticker>) -> Vec<&'a str> {
    of.into_iter().map(Ticker::as_str).collect()
}

#[tokio::test]
async fn b7_one_bad_bar_hides_no_other_ticker() {
    let db = database(3).await;
    let abc = tickers(&["A", "B", "C"]);
    let mut ids = Vec::new();
    for ticker in &abc {
        let bars = testing::fixtures::bars(ticker, FIRST, 4).expect("bars");
        ids.push(db.prices().create_many(&bars).await.expect("bars"));
    }
    let other = other_program(&db).await;
    // The last bar of B, and one in the middle of it.
    let (last, middle) = (&ids[1][3], &ids[1][1]);
    other
        .batch_execute(&format!(
            "UPDATE price_history SET close_price = 'NaN' WHERE id IN ('{}', '{}')",
            last.id, middle.id
        ))
        .await
        .expect("two bad bars");
    let prices = db.prices();
    let (logged, _guard) = Log::start();

    let latest = prices.latest(&abc).await.expect("latest");
    assert_eq!(names(latest.iter().map(|l| &l.bar.ticker)), ["A", "C"]);
    assert_eq!(latest.unreadable.len(), 1);
    let told = &latest.unreadable[0];
    assert_eq!((&*told.table, &*told.column), ("price_history", "close_price"));
    assert_eq!(told.key, last.id.to_string());
    let log = logged.text();
    assert!(log.contains(&told.key) && log.contains("WARN"), "{log}");
    assert!(!log.contains("NaN"), "{log}");
    let error = latest.complete().expect_err("not complete");
    assert!(matches!(&error, Error::Corrupt { key, .. } if *key == last.id.to_string()));

    let nearest = prices.nearest(&abc, last.trading_day(), 0).await.expect("nearest");
    assert_eq!((nearest.len(), nearest.unreadable.len()), (2, 1));
    let range = prices.range(&abc[1], FIRST, LAST).await.expect("range");
    assert_eq!((range.len(), range.unreadable.len()), (2, 2));
    let range = prices.range_many(&abc, FIRST, LAST).await.expect("range_many");
    assert_eq!((range.len(), range.unreadable.len()), (10, 2));
    let range = prices.range_as_of(&abc, FIRST, LAST, far()).await.expect("range_as_of");
    assert_eq!((range.len(), range.unreadable.len()), (10, 2));
    let known = prices.revisions(&abc[1], middle.trading_day()).await.expect("revisions");
    assert_eq!((known.len(), known.unreadable.len()), (0, 1));

    let columns = prices.columns(&abc, FIRST, LAST).await.expect("columns");
    assert_eq!(names(columns.iter().map(|s| &s.ticker)), ["A", "B", "C"]);
    assert_eq!((columns[1].len(), columns[1].close.len(), columns[1].volume.len()), (2, 2, 2));
    let keys: Vec<&str> = columns.unreadable.iter().map(|row| &*row.key).collect();
    assert_eq!(keys, [format!("B {}", middle.trading_day()), format!("B {}", last.trading_day())]);

    for options in [ArrowOptions::new(), ArrowOptions::new().batch_rows(2)] {
        let read: Vec<Result<RecordBatch>> =
            db.record_batches(&abc, FIRST, LAST, options).collect().await;
        let rows: usize = read.iter().flatten().map(RecordBatch::num_rows).sum();
        let errors: Vec<_> = read.iter().filter_map(|batch| batch.as_ref().err()).collect();
        assert_eq!((rows, errors.len()), (10, 2), "{errors:?}");
        assert!(matches!(errors[0], Error::Corrupt { key, .. } if *key == keys[0]), "{errors:?}");
    }
    let read: Vec<Result<PriceBar>> = prices.stream_range(&abc, FIRST, LAST).collect().await;
    assert_eq!(read.iter().filter(|bar| bar.is_ok()).count(), 10);
    let errors: Vec<_> = read.iter().filter_map(|bar| bar.as_ref().err()).collect();
    assert!(matches!(errors[1], Error::Corrupt { key, .. } if *key == last.id.to_string()));
    // What is computed of a whole series is not computed of a part of it.
    let month = prices.resample(&abc[1], FIRST, LAST, Period::Month).await;
    assert!(matches!(&month, Err(Error::Corrupt { key, .. }) if *key == middle.id.to_string()));

    other
        .batch_execute(&format!(
            "UPDATE price_history SET date = 'infinity' WHERE id = '{}'",
            last.id
        ))
        .await
        .expect("a bad date");
    let covered = prices.coverage(&abc).await.expect("coverage");
    assert_eq!(names(covered.iter().map(|c| &c.ticker)), ["A", "C"]);
    assert_eq!((covered.unreadable.len(), &*covered.unreadable[0].key), (1, "B"));
    let latest = prices.latest(&abc).await.expect("latest");
    assert_eq!((latest.len(), latest.unreadable.len()), (2, 1));
}

#[tokio::test]
async fn b7_one_bad_row_hides_no_other_of_a_list() {
    let db = database(3).await;
    let (a, b) = (parsed::<Ticker>("A"), parsed::<Ticker>("B"));
    let actions: Vec<_> = [&a, &b]
        .into_iter()
        .flat_map(|t| {
            [FIRST, LAST].map(|day| NewCorporateAction::dividend(t.clone(), day, parsed("1")))
        })
        .collect();
    let actions = db.corporate_actions().create_many(&actions).await.expect("actions");
    let at = |text: &str| parsed::<DateTime<Utc>>(text);
    let quote = |n: &str| NewOptionQuote::new(contract(&a)).fetched_at(at(n));
    let quotes = [quote("2024-01-02T21:00:00Z"), quote("2024-01-03T21:00:00Z")];
    let quotes = db.options().create_many(&quotes).await.expect("quotes");
    let keys = [CacheKey::new(&a, DataType::NEWS), CacheKey::new(&b, DataType::NEWS)];
    let mut entries = Vec::new();
    for key in &keys {
        let stored = db.market_cache().put(key, &document(), &PutOptions::ttl(HOUR)).await;
        entries.push(stored.expect("an entry"));
    }
    let analyses = [&a, &b].map(|t| NewAnalysis::new(t.clone(), AnalysisType::Value));
    let risk = NewAnalysis::new(a.clone(), AnalysisType::Risk);
    let analyses =
        db.analyses().create_many(&[&analyses[..], &[risk]].concat()).await.expect("analyses");
    let ada = user(&*db, "ada@example.com").await;
    let core = portfolio(&*db, &ada, "Core").await;
    let held = [&a, &b].map(|t| NewPosition::new(core.id, t.clone(), parsed::<Shares>("1")));
    let held = db.positions().create_many(&held).await.expect("positions");
    let other = other_program(&db).await;
    let spoil = async |table: &str, change: &str, id: String| {
        let change = format!("UPDATE {table} SET {change} WHERE id = '{id}'");
        other.batch_execute(&change).await.expect(&change);
    };

    spoil("corporate_actions", "amount = NULL", actions[0].id.to_string()).await;
    let listed = db.corporate_actions().for_ticker(&a, FIRST, LAST).await.expect("actions");
    assert_eq!((listed.len(), &*listed.unreadable[0].key), (1, &*actions[0].id.to_string()));

    spoil("options_data", "bid = 'NaN'", quotes[0].id.to_string()).await;
    let (of, from) = (contract(&a), at("2024-01-01T00:00:00Z"));
    let history = db.options().contract_history(&of, from, far()).await.expect("history");
    assert_eq!((history.len(), &*history.unreadable[0].key), (1, &*quotes[0].id.to_string()));
    let everything = ChainFilter::default();
    let chain = db.options().chain(&a, at("2024-01-03T00:00:00Z"), &everything).await;
    let chain = chain.expect("chain");
    assert_eq!((chain.len(), chain.unreadable.len()), (0, 1));
    assert_eq!(db.options().latest_chain(&a, &everything).await.expect("chain").len(), 1);

    spoil("market_data_cache", "stale_until = 'infinity'", entries[0].id.to_string()).await;
    let got = db.market_cache().get_many(&keys).await.expect("entries");
    assert_eq!(got.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true]);
    assert_eq!(got.unreadable[0].key, entries[0].id.to_string());
    let fetched = db
        .cache()
        .get_many_or_fetch::<serde_json::Value>(
            &keys,
            &Policy::ttl(HOUR),
            |missing: Vec<CacheKey>| async move {
                Ok::<_, BoxError>(
                    missing.into_iter().map(|key| (key, serde_json::json!(2))).collect(),
                )
            },
        )
        .await
        .expect("values");
    assert_eq!(fetched.len(), 2);
    spoil("market_data_cache", "expires_at = '-infinity'", entries[1].id.to_string()).await;
    let stale = db.market_cache().list_stale(10, HOUR * 2).await.expect("stale");
    assert_eq!((stale.len(), &*stale.unreadable[0].key), (1, &*entries[1].id.to_string()));
    spoil("market_data_cache", "ticker = chr(7)", entries[1].id.to_string()).await;
    let statistics = db.market_cache().statistics(10).await.expect("statistics");
    assert_eq!((statistics.total.entries, statistics.top_tickers.len()), (2, 1));
    assert_eq!(statistics.unreadable.len(), 1);

    spoil("analysis_results", "updated_at = 'infinity'", analyses[0].id.to_string()).await;
    let fresh =
        db.analyses().latest_fresh_many(&[a.clone(), b.clone()], AnalysisType::Value, None).await;
    let fresh = fresh.expect("results");
    assert_eq!(fresh.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true]);
    assert_eq!(fresh.unreadable[0].key, analyses[0].id.to_string());
    spoil("analysis_results", "calculated_at = 'infinity'", analyses[2].id.to_string()).await;
    let summary = db.analyses().summary(&AnalysisFilter::default()).await.expect("summary");
    assert_eq!((summary.len(), summary.unreadable.len()), (1, 1));

    spoil("positions", "created_at = 'infinity'", held[0].id.to_string()).await;
    let whole = db.portfolios().with_positions(core.id, Activity::Any).await.expect("read");
    let whole = whole.expect("there");
    assert_eq!((whole.portfolio.id, whole.positions.len()), (core.id, 1));
    assert_eq!((&*whole.unreadable[0].table, whole.unreadable.len()), ("positions", 1));
    assert_eq!(whole.unreadable[0].key, held[0].id.to_string());
}

#[tokio::test]
async fn b7_one_bad_event_holds_up_no_other() {
    let db = database(3).await;
    let everything = EventFilter::new;
    let mut consumer = db
        .events()
        .consumer_from_beginning("all", everything())
        .await
        .expect("a consumer")
        .batch(1);
    let mut seen = db.subscribe(everything()).await.expect("a subscription");
    let bars = |name| testing::fixtures::bars(&parsed(name), FIRST, 1).expect("bars");
    // All in one transaction of another program, so that none is read before it is bad.
    let unit = db.begin().await.expect("a unit");
    for name in ["A", "B", "C"] {
        unit.prices().create_many(&bars(name)).await.expect("a bar");
    }
    {
        use diesel_async::SimpleAsyncConnection;
        let connection = unit.connection().await.expect("a connection");
        let spoil = "UPDATE events SET payload = '{}' WHERE ticker = 'B'";
        connection.as_diesel().batch_execute(spoil).await.expect("a bad event");
    }
    unit.commit().await.expect("committed");

    assert_eq!(seen.try_next().await.expect("an event").expect("one").ticker, parsed("A"));
    let error = seen.next().await.expect("one").expect_err("unreadable");
    let Error::Corrupt { table, key, .. } = &error else { panic!("{error:?}") };
    assert_eq!((&**table, key.parse::<i64>().is_ok()), ("events", true));
    assert_eq!(seen.try_next().await.expect("an event").expect("one").ticker, parsed("C"));

    let mut read = Vec::new();
    for _ in 0..3 {
        let delivery = consumer.try_next().await.expect("a delivery").expect("one");
        read.extend(delivery.events().iter().map(|event| event.ticker.to_string()));
        read.extend(delivery.unreadable().iter().map(|row| row.key.clone()));
        delivery.commit().await.expect("moved on");
    }
    assert_eq!(read, ["A", key, "C"]);
    assert!(consumer.try_next().await.expect("read").is_none());
}
