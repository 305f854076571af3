//! Durable consumers, and what of the log is kept for them.

use std::time::Duration;

use crate::api::*;
use buffetbot_db::testing::TestDatabase;

use super::bar;
use crate::catalog::connect;
use crate::support::{GENEROUS, parsed, portfolio, user};

async fn store(db: &Database, tickers: std::ops::Range<usize>) {
    for n in tickers {
        db.prices().create(&bar(&format!("T{n}"), "2024-01-02")).await.expect("stored");
    }
}

fn tickers(delivery: &Delivery) -> Vec<String> {
    delivery.events().iter().map(|event| event.ticker.to_string()).collect()
}

async fn next(consumer: &mut EventConsumer) -> Delivery {
    tokio::time::timeout(GENEROUS, consumer.next()).await.expect("in time").expect("a delivery")
}

#[tokio::test]
async fn a_consumer_goes_on_where_it_was() {
    let db = TestDatabase::new().await.expect("a database");
    store(&db, 0..1).await;
    let consumer =
        async || db.events().consumer("risk", EventFilter::new()).await.expect("known").batch(3);
    let mut first = consumer().await;
    assert!(first.try_next().await.expect("read").is_none(), "from now on");
    store(&db, 1..8).await;
    let delivery = next(&mut first).await;
    assert_eq!(tickers(&delivery), ["T1", "T2", "T3"]);
    delivery.commit().await.expect("moved on");
    // Dropped before it is committed, as by a crash: the same again, for whoever comes.
    drop(next(&mut first).await);
    drop(first);
    let mut second = consumer().await;
    let delivery = next(&mut second).await;
    assert_eq!(tickers(&delivery), ["T4", "T5", "T6"]);
    delivery.commit().await.expect("moved on");
    let delivery = next(&mut second).await;
    assert_eq!(tickers(&delivery), ["T7"]);
    delivery.commit().await.expect("moved on");
    assert!(second.try_next().await.expect("read").is_none());

    let everything = db.events().consumer_from_beginning("archive", EventFilter::new()).await;
    let delivery = next(&mut everything.expect("known")).await;
    assert_eq!(delivery.events().len(), 8);
}

#[tokio::test]
async fn b3_a_full_delivery_is_not_the_end() {
    let db = TestDatabase::new().await.expect("a database");
    for batch in [1, 2, 10, 256] {
        let name = format!("by {batch}");
        let consumer = db.events().consumer(&name, EventFilter::new()).await.expect("known");
        let mut consumer = consumer.batch(batch);
        // Exactly full, then one more, then exactly full twice; each time there is something without a wait.
        for (round, count) in [batch, 1, 2 * batch].into_iter().enumerate() {
            let bars: Vec<_> =
                (0..count).map(|n| bar(&format!("B{batch}R{round}N{n}"), "2024-01-02")).collect();
            db.prices().upsert_many(&bars).await.expect("stored");
            let mut got = 0;
            while got < count {
                let delivery = consumer.try_next().await.expect("read").expect("what is there");
                got += delivery.events().len();
                delivery.commit().await.expect("moved on");
            }
            assert_eq!(got, count);
        }
        assert!(consumer.try_next().await.expect("read").is_none());
        // A delivery that was full and then dropped comes again.
        db.prices().create(&bar(&format!("B{batch}"), "2024-01-02")).await.expect("stored");
        drop(consumer.try_next().await.expect("read").expect("a delivery"));
        let again = consumer.try_next().await.expect("read").expect("the same");
        assert_eq!(tickers(&again), [format!("B{batch}")]);
        again.commit().await.expect("moved on");
    }
}

#[tokio::test]
async fn b4_changes_of_one_row_come_in_their_order_across_deliveries() {
    let db = TestDatabase::new().await.expect("a database");
    let ada = user(&*db, "ada@example.com").await;
    let core = portfolio(&*db, &ada, "Core").await;
    for batch in [1, 2, 3, 256] {
        let consumer = db.events().consumer(&format!("by {batch}"), EventFilter::new()).await;
        let mut consumer = consumer.expect("known").batch(batch);
        // The transaction with the smaller number deletes what the one with the greater has made.
        let older = db.begin().await.expect("begun");
        older.prices().create(&bar(&format!("B{batch}"), "2024-01-02")).await.expect("a number");
        let new = NewPosition::new(core.id, parsed("AAPL"), parsed::<Shares>("1"));
        let position = db.positions().create(&new).await.expect("made");
        db.prices().create(&bar(&format!("M{batch}"), "2024-01-02")).await.expect("between");
        older.positions().delete(core.id, position.id).await.expect("deleted");
        older.commit().await.expect("committed");
        let mut changes = Vec::new();
        while changes.len() < 2 {
            let delivery = consumer.try_next().await.expect("read").expect("a delivery");
            for event in delivery.events() {
                if let EventData::PositionChanged { change, .. } = event.data {
                    changes.push(change);
                }
            }
            delivery.commit().await.expect("moved on");
        }
        assert_eq!(changes, [Operation::Insert, Operation::Delete], "batch {batch}");
        while let Some(rest) = consumer.try_next().await.expect("read") {
            rest.commit().await.expect("moved on");
        }
    }
}

#[tokio::test]
async fn what_is_written_in_a_delivery_is_not_taken_for_read_when_a_younger_transaction_ends_first()
{
    let db = TestDatabase::new().await.expect("a database");
    let mut consumer = db.events().consumer("risk", EventFilter::new()).await.expect("known");
    let client = connect(&db).await;
    for round in 0..5 {
        db.prices().create(&bar(&format!("T{round}"), "2024-01-02")).await.expect("stored");
        let delivery = next(&mut consumer).await;
        // Transactions that began later end while this one is open, also before it reads again.
        client.batch_execute("SELECT pg_current_xact_id()").await.expect("a number");
        let bar = bar(&format!("OWN{round}"), "2024-01-02");
        delivery.unit().prices().create(&bar).await.expect("stored");
        client.batch_execute("SELECT pg_current_xact_id()").await.expect("a number");
        delivery.commit().await.expect("moved on");
        let own = consumer.try_next().await.expect("read").expect("its own event");
        assert_eq!(tickers(&own), [format!("OWN{round}")]);
        own.commit().await.expect("moved on");
    }
}

#[tokio::test]
async fn transactions_are_in_the_order_of_their_numbers_not_of_their_digits() {
    let db = TestDatabase::new().await.expect("a database");
    let consumer = db.events().consumer_from_beginning("risk", EventFilter::new()).await;
    let mut consumer = consumer.expect("known").batch(1);
    store(&db, 0..4).await;
    let renumber =
        "WITH numbered AS (SELECT id, row_number() OVER (ORDER BY id) + 7 AS n FROM events)
        UPDATE events SET transaction = n::text::xid8 FROM numbered WHERE numbered.id = events.id";
    connect(&db).await.batch_execute(renumber).await.expect("8, 9, 10, 11");
    for n in 0..4 {
        let delivery = next(&mut consumer).await;
        assert_eq!(tickers(&delivery), [format!("T{n}")]);
        delivery.commit().await.expect("moved on");
    }
}

#[tokio::test]
async fn what_is_written_in_the_delivery_takes_effect_exactly_once() {
    let db = TestDatabase::new().await.expect("a database");
    let mut consumer = db
        .events()
        .consumer("risk", EventFilter::new().tickers(["T1".parse().expect("a ticker")]))
        .await
        .expect("known");
    store(&db, 0..3).await;
    for is_committed in [false, true] {
        let delivery = next(&mut consumer).await;
        assert_eq!(tickers(&delivery), ["T1"]);
        let ticker = delivery.events()[0].ticker.clone();
        let analysis = NewAnalysis::new(ticker, AnalysisType::Risk);
        delivery.unit().analyses().create(&analysis).await.expect("stored");
        if is_committed {
            delivery.commit().await.expect("committed");
        }
    }
    assert_eq!(db.analyses().count(&AnalysisFilter::default()).await.expect("read"), 1);
    // Its own event is one like any other.
    let own = next(&mut consumer).await;
    assert_eq!(own.events()[0].data.kind(), EventKind::AnalysisSaved);
}

#[tokio::test]
async fn programs_of_one_name_take_turns_and_others_do_not_wait() {
    let db = TestDatabase::new().await.expect("a database");
    let consumer =
        async |name: &str| db.events().consumer(name, EventFilter::new()).await.expect("known");
    let (mut one, mut other, mut third) =
        (consumer("risk").await, consumer("risk").await, consumer("report").await);
    store(&db, 0..2).await;
    let delivery = next(&mut one).await;
    assert!(other.try_next().await.expect("read").is_none(), "it is the first one's turn");
    next(&mut third).await.commit().await.expect("moved on");
    delivery.commit().await.expect("moved on");
    store(&db, 2..3).await;
    assert_eq!(tickers(&next(&mut other).await), ["T2"]);
    for name in ["", " ", &"x".repeat(101), "a\0b"] {
        let error = db.events().consumer(name, EventFilter::new()).await.expect_err(name);
        assert!(matches!(&error, Error::Invalid { field, .. } if field == "name"), "{error:?}");
    }
}

#[tokio::test]
async fn what_a_consumer_has_not_gone_past_is_not_swept() {
    let db = TestDatabase::new().await.expect("a database");
    let events = db.events();
    let mut slow = events.consumer("slow", EventFilter::new()).await.expect("known");
    let mut fast = events.consumer("fast", EventFilter::new()).await.expect("known");
    store(&db, 0..5).await;
    next(&mut fast).await.commit().await.expect("moved on");
    assert_eq!(events.sweep(100, Duration::ZERO).await.expect("swept").deleted, 0);
    let behind: Vec<_> =
        events.consumers().await.expect("read").into_iter().map(|c| (c.name, c.behind)).collect();
    assert_eq!(behind, [("fast".to_owned(), 0), ("slow".to_owned(), 5)]);
    let delivery = next(&mut slow).await;
    assert_eq!(delivery.events().len(), 5);
    delivery.commit().await.expect("moved on");
    assert_eq!(events.sweep(100, Duration::from_secs(3600)).await.expect("swept").deleted, 0);
    let swept = events.sweep(3, Duration::ZERO).await.expect("swept");
    assert_eq!((swept.deleted, swept.more_left), (3, true));

    store(&db, 5..6).await;
    assert!(events.forget("slow").await.expect("forgotten"));
    assert!(!events.forget("slow").await.expect("gone"));
    let error = slow.next().await.expect_err("forgotten");
    assert!(matches!(error, Error::NotFound { .. }), "{error:?}");
    next(&mut fast).await.commit().await.expect("moved on");
    assert_eq!(events.sweep(100, Duration::ZERO).await.expect("swept").deleted, 3);
}

#[tokio::test]
async fn a_consumer_that_finds_nothing_keeps_nothing_from_being_swept() {
    let db = TestDatabase::new().await.expect("a database");
    let filter = EventFilter::new().kinds([EventKind::PositionChanged]);
    let mut consumer = db.events().consumer("positions", filter).await.expect("known");
    store(&db, 0..3).await;
    assert!(consumer.try_next().await.expect("read").is_none());
    assert_eq!(db.events().sweep(100, Duration::ZERO).await.expect("swept").deleted, 0, "not yet");
    let earlier = "UPDATE event_consumers SET moved_at = now() - interval '11 s'";
    connect(&db).await.batch_execute(earlier).await.expect("some time later");
    assert!(consumer.try_next().await.expect("read").is_none());
    assert_eq!(db.events().sweep(100, Duration::ZERO).await.expect("swept").deleted, 3);
}

#[tokio::test]
async fn after_a_restore_into_another_server_everything_kept_comes_again() {
    let db = TestDatabase::new().await.expect("a database");
    let mut consumer = db.events().consumer("risk", EventFilter::new()).await.expect("known");
    store(&db, 0..2).await;
    next(&mut consumer).await.commit().await.expect("moved on");
    // As if the numbers were those of a server that had seen more transactions.
    let elsewhere = "UPDATE events SET transaction = '4000000000';
        UPDATE event_consumers SET seen = '4000000001:4000000001:'";
    connect(&db).await.batch_execute(elsewhere).await.expect("restored");
    store(&db, 2..3).await;
    assert!(consumer.try_next().await.expect("read").is_none(), "which is why it is to be told");
    db.events().restart().await.expect("restarted");
    let delivery = next(&mut consumer).await;
    assert_eq!(tickers(&delivery), ["T0", "T1", "T2"]);
    delivery.commit().await.expect("moved on");
    store(&db, 3..4).await;
    assert_eq!(tickers(&next(&mut consumer).await), ["T3"]);
}
