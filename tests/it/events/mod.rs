//! Events: none is missed, in whichever order transactions commit, and nobody waits for a reader.

mod consumers;
mod outages;

use std::time::{Duration, Instant};

use crate::api::*;
use buffetbot_db::testing::TestDatabase;
use futures_util::StreamExt;

use crate::support::{GENEROUS, parsed, portfolio, user};

/// The next event, which is to come.
pub async fn next(events: &mut Subscription) -> Event {
    let next = tokio::time::timeout(GENEROUS, events.next()).await;
    next.expect("an event in time").expect("no end").expect("an event")
}

/// Whether nothing comes within more than the time between two looks.
pub async fn is_silent(events: &mut Subscription) -> bool {
    tokio::time::timeout(Duration::from_millis(1_500), events.next()).await.is_err()
}

pub fn bar(ticker: &str, day: &str) -> NewPriceBar {
    NewPriceBar::new(parsed(ticker), parsed::<chrono::NaiveDate>(day), parsed("1"))
}

#[tokio::test]
async fn each_kind_of_change_is_told() {
    let db = TestDatabase::new().await.expect("a database");
    let ada = user(&*db, "ada@example.com").await;
    let core = portfolio(&*db, &ada, "Core").await;
    let mut events = db.subscribe(EventFilter::new()).await.expect("subscribed");

    let bars = [bar("AAPL", "2024-01-02"), bar("AAPL", "2024-01-03"), bar("MSFT", "2024-01-02")];
    db.prices().upsert_many(&bars).await.expect("stored");
    let told = [next(&mut events).await, next(&mut events).await];
    let (first, last) = (parsed("2024-01-02T00:00:00Z"), parsed("2024-01-03T00:00:00Z"));
    let mut by_ticker: Vec<_> =
        told.iter().map(|event| (event.ticker.as_str(), &event.data)).collect();
    by_ticker.sort_by_key(|(ticker, _)| *ticker);
    let change = Operation::Insert;
    assert_eq!(
        by_ticker,
        [
            ("AAPL", &EventData::PricesUpdated { change, first, last, bars: 2 }),
            ("MSFT", &EventData::PricesUpdated { change, first, last: first, bars: 1 }),
        ]
    );
    assert!(told.iter().all(|event| event.user_id.is_none()));
    // What is equal is not written; what is corrected and deleted is.
    let corrected =
        NewPriceBar::new(parsed("MSFT"), parsed::<chrono::NaiveDate>("2024-01-02"), parsed("2"));
    db.prices().upsert_many(&[bars[0].clone(), corrected]).await.expect("stored");
    let event = next(&mut events).await;
    let change = Operation::Update;
    assert_eq!(event.data, EventData::PricesUpdated { change, first, last: first, bars: 1 });
    db.prices()
        .delete_range(&parsed("AAPL"), parsed("2024-01-01"), parsed("2024-02-01"))
        .await
        .expect("deleted");
    let change = Operation::Delete;
    assert_eq!(
        next(&mut events).await.data,
        EventData::PricesUpdated { change, first, last, bars: 2 }
    );

    let new = NewPosition::new(core.id, parsed("AAPL"), parsed::<Shares>("1"));
    let position = db.positions().create(&new).await.expect("made");
    db.positions().delete(core.id, position.id).await.expect("deleted");
    for change in [Operation::Insert, Operation::Delete] {
        let event = next(&mut events).await;
        assert_eq!((event.user_id, event.ticker.as_str()), (Some(ada.id), "AAPL"));
        let (position, portfolio) = (position.id, core.id);
        assert_eq!(event.data, EventData::PositionChanged { change, position, portfolio });
    }

    let new = NewAnalysis::new(parsed("AAPL"), AnalysisType::Risk);
    let public = db.analyses().create(&new).await.expect("stored");
    let private = NewAnalysis::new(parsed("AAPL"), AnalysisType::Risk).portfolio(core.id);
    let private = db.analyses().create(&private).await.expect("stored");
    for (stored, owner) in [(public, None), (private, Some(ada.id))] {
        let event = next(&mut events).await;
        assert_eq!(event.user_id, owner);
        let (analysis, portfolio) = (stored.id, stored.portfolio_id);
        let analysis_type = AnalysisType::Risk;
        assert_eq!(event.data, EventData::AnalysisSaved { analysis, portfolio, analysis_type });
    }

    let key = CacheKey::new(&parsed("AAPL"), DataType::NEWS).params([1]).expect("parameters");
    let (document, hour) = (Document::encode(&1).expect("a document"), Duration::from_secs(3600));
    for _ in 0..2 {
        db.market_cache().put(&key, &document, &PutOptions::ttl(hour)).await.expect("stored");
    }
    db.market_cache()
        .invalidate(&CacheSelector { key: Some(key.clone()), ..CacheSelector::default() })
        .await
        .expect("invalidated");
    let event = next(&mut events).await;
    let parameters = key.parameters.clone();
    assert_eq!(event.data, EventData::CacheInvalidated { data_type: DataType::NEWS, parameters });
    db.market_cache().delete_key(&key).await.expect("deleted");
    assert!(is_silent(&mut events).await, "it had ended before");
}

/// C3: what listens ends with the runtime on which the first reader subscribed.
#[test]
fn c3_readers_are_told_at_once_after_the_runtime_of_the_first_has_ended() {
    let lasting = tokio::runtime::Runtime::new().expect("a runtime");
    let test = lasting.block_on(TestDatabase::new()).expect("a database");
    let db = Database::connect_lazy(test.config()).expect("a handle");
    let short = tokio::runtime::Runtime::new().expect("a runtime");
    let first = short.block_on(async {
        let mut events = db.subscribe(EventFilter::new()).await.expect("subscribed");
        db.prices().create(&bar("AAPL", "2024-01-01")).await.expect("stored");
        next(&mut events).await;
        events
    });
    drop(short);
    lasting.block_on(async {
        let mut events = db.subscribe(EventFilter::new()).await.expect("subscribed");
        let mut fastest = GENEROUS;
        for day in 2..8 {
            let began = Instant::now();
            db.prices().create(&bar("AAPL", &format!("2024-01-0{day}"))).await.expect("stored");
            next(&mut events).await;
            fastest = fastest.min(began.elapsed());
        }
        // They look by themselves once a second.
        assert!(fastest < Duration::from_millis(700), "nobody listens: {fastest:?}");
    });
    drop(first);
}

#[tokio::test]
async fn filters_pass_kinds_tickers_and_users() {
    let db = TestDatabase::new().await.expect("a database");
    let (ada, bob) = (user(&*db, "ada@example.com").await, user(&*db, "bob@example.com").await);
    let subscribe = async |filter| db.subscribe(filter).await.expect("subscribed");
    let mut prices = subscribe(EventFilter::new().kinds([EventKind::PricesUpdated])).await;
    let mut msft = subscribe(EventFilter::new().tickers([parsed("MSFT")])).await;
    let mut none = subscribe(EventFilter::new().kinds([])).await;
    let mut of_ada = subscribe(EventFilter::new().user(ada.id)).await;
    let mut in_her_name =
        db.as_user(ada.id).subscribe(EventFilter::new()).await.expect("subscribed");
    for owner in [&bob, &ada] {
        let portfolio = portfolio(&*db, owner, "Core").await;
        let new = NewPosition::new(portfolio.id, parsed("MSFT"), parsed::<Shares>("1"));
        db.positions().create(&new).await.expect("made");
    }
    db.prices().create(&bar("AAPL", "2024-01-02")).await.expect("stored");
    assert_eq!(next(&mut prices).await.ticker.as_str(), "AAPL");
    assert_eq!(next(&mut msft).await.user_id, Some(bob.id));
    assert_eq!(next(&mut msft).await.user_id, Some(ada.id));
    for events in [&mut of_ada, &mut in_her_name] {
        assert_eq!(next(events).await.user_id, Some(ada.id), "none of his");
        assert_eq!(next(events).await.user_id, None);
    }
    assert!(is_silent(&mut none).await);
}

#[tokio::test]
async fn none_is_missed_in_whichever_order_transactions_commit() {
    let db = TestDatabase::new().await.expect("a database");
    let mut events = db.subscribe(EventFilter::new()).await.expect("subscribed");
    // Two that wrote first, and commit after others, and in the other order.
    let (early, earlier) = (db.begin().await.expect("begun"), db.begin().await.expect("begun"));
    earlier.prices().create(&bar("FIRST", "2024-01-02")).await.expect("stored");
    early.prices().create(&bar("SECOND", "2024-01-02")).await.expect("stored");
    let undone = db.begin().await.expect("begun");
    undone.prices().create(&bar("NEVER", "2024-01-02")).await.expect("stored");
    for n in 0..5 {
        let ticker = format!("T{n}");
        db.prices().create(&bar(&ticker, "2024-01-02")).await.expect("stored");
        assert_eq!(
            next(&mut events).await.ticker.as_str(),
            ticker,
            "open transactions hold nobody up"
        );
    }
    early.commit().await.expect("committed");
    assert_eq!(next(&mut events).await.ticker.as_str(), "SECOND");
    undone.rollback().await.expect("undone");
    earlier.commit().await.expect("committed");
    assert_eq!(next(&mut events).await.ticker.as_str(), "FIRST");
    assert!(is_silent(&mut events).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_writers_and_a_slow_reader_lose_nothing_and_repeat_nothing() {
    const WRITERS: usize = 8;
    const EACH: usize = 100;
    let db = TestDatabase::new().await.expect("a database");
    let mut events = db.subscribe(EventFilter::new()).await.expect("subscribed");
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let db = Database::clone(&db);
            tokio::spawn(async move {
                for n in 0..EACH {
                    let uow = db.begin().await.expect("begun");
                    uow.prices()
                        .create(&bar(&format!("W{writer}N{n}"), "2024-01-02"))
                        .await
                        .expect("stored");
                    if n % 10 == 9 {
                        uow.rollback().await.expect("undone");
                    } else {
                        uow.commit().await.expect("committed");
                    }
                }
            })
        })
        .collect();
    let began = Instant::now();
    for writer in writers {
        writer.await.expect("no panic");
    }
    assert!(began.elapsed() < GENEROUS, "nobody reads, and nobody waits for that");
    let mut tickers = std::collections::BTreeSet::new();
    for _ in 0..WRITERS * EACH * 9 / 10 {
        let event = next(&mut events).await;
        assert!(tickers.insert(event.ticker.as_str().to_owned()), "{} came twice", event.ticker);
    }
    assert!(is_silent(&mut events).await);
}

#[tokio::test]
async fn changes_of_one_row_come_in_their_order() {
    let db = TestDatabase::new().await.expect("a database");
    let ada = user(&*db, "ada@example.com").await;
    let core = portfolio(&*db, &ada, "Core").await;
    let new = NewPosition::new(core.id, parsed("AAPL"), parsed::<Shares>("1"));
    let position = db.positions().create(&new).await.expect("made");
    let mut events = db.subscribe(EventFilter::new()).await.expect("subscribed");
    // The transaction with the smaller number changes the row last.
    let older = db.begin().await.expect("begun");
    older.prices().create(&bar("OLDER", "2024-01-02")).await.expect("a number");
    let patch = PositionPatch::default().notes("first");
    let younger = db.begin().await.expect("begun");
    younger.positions().update(core.id, position.id, &patch).await.expect("changed");
    younger.commit().await.expect("committed");
    older.positions().delete(core.id, position.id).await.expect("deleted");
    older.commit().await.expect("committed");
    let mut changes = Vec::new();
    for _ in 0..3 {
        if let EventData::PositionChanged { change, .. } = next(&mut events).await.data {
            changes.push(change);
        }
    }
    assert_eq!(changes, [Operation::Update, Operation::Delete]);
}

#[tokio::test]
async fn a_reader_that_was_away_asks_for_what_came_since() {
    let db = TestDatabase::new().await.expect("a database");
    let ada = user(&*db, "ada@example.com").await;
    let portfolio = portfolio(&*db, &ada, "Core").await;
    for symbol in ["AAPL", "MSFT", "IBM"] {
        let new = NewPosition::new(portfolio.id, parsed(symbol), parsed::<Shares>("1"));
        db.positions().create(&new).await.expect("added");
    }
    let log = db.events();
    let all = log.since(0, &EventFilter::new(), 100).await.expect("read");
    let tickers = |events: &[Event]| -> Vec<String> {
        events.iter().map(|event| event.ticker.to_string()).collect()
    };
    assert_eq!(tickers(&all), ["AAPL", "MSFT", "IBM"]);
    let since = log.since(all[0].id, &EventFilter::new(), 1).await.expect("read");
    assert_eq!(tickers(&since), ["MSFT"]);
    let ibm = EventFilter::new().tickers(vec![parsed("IBM")]);
    let since = log.since(all[0].id, &ibm, 100).await.expect("read");
    assert_eq!(tickers(&since), ["IBM"]);
    assert!(log.since(all[2].id, &EventFilter::new(), 100).await.expect("read").is_empty());
    // As a service passes one on.
    let json = serde_json::to_string(&all[0]).expect("JSON");
    assert_eq!(serde_json::from_str::<Event>(&json).expect("an event"), all[0]);
}

#[tokio::test]
async fn a_computed_result_is_told_at_once() {
    // No notification would mean a second until the log is read anyway: it is looked for among the statements.
    let (sent, mut notified) = tokio::sync::mpsc::unbounded_channel();
    let db = TestDatabase::new().await.expect("a database");
    let observer = move |report: &QueryReport<'_>| {
        if report.sql.starts_with("NOTIFY") {
            let _ = sent.send(report.sql.to_owned());
        }
    };
    let config = Config::new(db.url()).expect("a URL").observer(std::sync::Arc::new(observer));
    let observed = Database::connect(config).await.expect("connected");
    let key = AnalysisKey::new(&parsed("AAPL"), AnalysisType::Value);
    let policy = Policy::ttl(Duration::from_secs(60));
    let computed = observed.get_or_compute(&key, &policy, |_| async {
        Ok::<_, Error>(NewAnalysis::new(parsed("AAPL"), AnalysisType::Value))
    });
    computed.await.expect("computed");
    let mut channels = [notified.recv().await, notified.recv().await].map(|sql| sql.expect("one"));
    channels.sort();
    assert_eq!(channels, ["NOTIFY buffetbot_cache", "NOTIFY buffetbot_events"]);
}
