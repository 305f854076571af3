//! What was known at a time stays what it was, whatever transactions end afterwards.

use std::collections::BTreeMap;

use buffetbot_db::testing::TestDatabase;
use buffetbot_db::{Database, Error, Isolation, TransactionOptions, UnitOfWork};
use chrono::{DateTime, Utc};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRng, TestRunner};

use super::revisions::now;
use super::{bar, nth, parsed};
use crate::catalog::connect;
use crate::support::handle::Handle;

const DAYS: u64 = 6;

/// By day.
type Closes = Vec<(u64, String)>;

/// The closes of A as known at a time, by day.
async fn known(db: &Database, at: DateTime<Utc>) -> Closes {
    let tickers = [parsed("A")];
    let bars = db.prices().range_as_of(&tickers, nth(0), nth(DAYS - 1), at).await.expect("read");
    let days = bars.iter().map(|bar| (bar.trading_day() - nth(0)).num_days().cast_unsigned());
    days.zip(bars.iter().map(|bar| bar.close.to_string())).collect()
}

async fn store(db: &Database, day: u64, close: &str) {
    db.prices().upsert_many(&[bar("A", nth(day), close)]).await.expect("stored");
}

/// A unit of work that has begun on the server.
async fn begun(db: &Database) -> UnitOfWork {
    let unit = db.begin().await.expect("a transaction");
    unit.prices().find_by_day(&parsed("B"), nth(0)).await.expect("it has begun");
    unit
}

#[tokio::test]
async fn b5_an_older_transaction_that_deletes_a_bar_does_not_change_the_past() {
    for is_asked_before in [true, false] {
        let db = TestDatabase::new().await.expect("a database");
        let older = begun(&db).await;
        store(&db, 0, "10").await;
        let between = now(&db).await;
        if is_asked_before {
            assert_eq!(known(&db, between).await, [(0, "10".to_owned())]);
        }
        older.prices().delete_range(&parsed("A"), nth(0), nth(0)).await.expect("deleted");
        older.commit().await.expect("committed");
        let after = now(&db).await;
        assert_eq!(
            known(&db, between).await,
            [(0, "10".to_owned())],
            "asked before: {is_asked_before}"
        );
        assert_eq!(known(&db, after).await, []);
        let revisions = db.prices().revisions(&parsed("A"), nth(0)).await.expect("read");
        assert_eq!(revisions.len(), 1);
        assert!(revisions[0].replaced_at > Some(between));
    }
}

#[tokio::test]
async fn b5_a_day_has_one_bar_at_any_time() {
    for is_asked_before in [true, false] {
        let db = TestDatabase::new().await.expect("a database");
        let older = begun(&db).await;
        store(&db, 0, "10").await;
        let first = now(&db).await;
        if is_asked_before {
            assert_eq!(known(&db, first).await, [(0, "10".to_owned())]);
        }
        db.prices().delete_range(&parsed("A"), nth(0), nth(0)).await.expect("deleted");
        let second = now(&db).await;
        if is_asked_before {
            assert_eq!(known(&db, second).await, []);
        }
        older.prices().upsert_many(&[bar("A", nth(0), "20")]).await.expect("stored");
        older.commit().await.expect("committed");
        assert_eq!(
            known(&db, first).await,
            [(0, "10".to_owned())],
            "asked before: {is_asked_before}"
        );
        assert_eq!(known(&db, second).await, [], "asked before: {is_asked_before}");
        assert_eq!(known(&db, now(&db).await).await, [(0, "20".to_owned())]);
    }
}

#[tokio::test]
async fn b5_what_is_not_committed_is_not_known_and_stays_so() {
    let db = TestDatabase::new().await.expect("a database");
    store(&db, 0, "1").await;
    let unit = begun(&db).await;
    unit.prices()
        .upsert_many(&[bar("A", nth(0), "2"), bar("A", nth(1), "3")])
        .await
        .expect("stored");
    let meanwhile = now(&db).await;
    assert_eq!(known(&db, meanwhile).await, [(0, "1".to_owned())]);
    // Nor to the transaction itself: what it has written may still be undone.
    let tickers = [parsed("A")];
    let own =
        unit.prices().range_as_of(&tickers, nth(0), nth(1), now(&db).await).await.expect("read");
    assert_eq!(own.iter().map(|bar| bar.close.to_string()).collect::<Vec<_>>(), ["1"]);
    unit.commit().await.expect("committed");
    assert_eq!(known(&db, meanwhile).await, [(0, "1".to_owned())]);
    let now = now(&db).await;
    assert_eq!(known(&db, now).await, [(0, "2".to_owned()), (1, "3".to_owned())]);
}

#[tokio::test]
async fn b5_a_time_that_no_point_closes_needs_a_server_that_writes() {
    let db = TestDatabase::new().await.expect("a database");
    store(&db, 0, "1").await;
    let closed = now(&db).await;
    known(&db, closed).await;
    let admin = connect(&db).await;
    admin
        .batch_execute(&format!(
            "ALTER DATABASE {} SET default_transaction_read_only = on",
            db.name()
        ))
        .await
        .expect("read-only");
    let other = Database::connect(db.config()).await.expect("a database");
    assert_eq!(known(&other, closed).await, [(0, "1".to_owned())]);
    let later = now(&other).await;
    let refused = other.prices().range_as_of(&[parsed("A")], nth(0), nth(1), later).await;
    assert!(matches!(refused, Err(Error::ReadOnly)), "{refused:?}");
}

#[tokio::test]
async fn b5_a_repeatable_read_makes_its_points_aside() {
    let db = TestDatabase::new().await.expect("a database");
    store(&db, 0, "1").await;
    let options =
        TransactionOptions::default().isolation(Isolation::RepeatableRead).read_only(true);
    let unit = db.begin_with(options).await.expect("a transaction");
    let tickers = [parsed("A")];
    let read =
        unit.prices().range_as_of(&tickers, nth(0), nth(1), now(&db).await).await.expect("read");
    assert_eq!(read.len(), 1);
}

#[tokio::test]
async fn b5_a_time_before_the_end_of_a_swept_transaction_is_refused() {
    let db = TestDatabase::new().await.expect("a database");
    store(&db, 0, "10").await;
    let deletes = begun(&db).await;
    deletes.prices().delete_range(&parsed("A"), nth(0), nth(0)).await.expect("deleted");
    // Later than the statement, and the bar is still known.
    let between = now(&db).await;
    assert_eq!(known(&db, between).await, [(0, "10".to_owned())]);
    deletes.commit().await.expect("committed");
    let after = now(&db).await;
    assert_eq!(known(&db, after).await, []);
    let swept = db.prices().sweep_revisions(10, std::time::Duration::ZERO).await.expect("swept");
    assert_eq!(swept.deleted, 1);
    let read = async |at| db.prices().range_as_of(&[parsed("A")], nth(0), nth(1), at).await;
    let refused = read(between).await;
    assert!(matches!(refused, Err(Error::HistorySwept { known_from }) if known_from > between));
    assert!(matches!(&refused, Err(error) if !error.is_retryable()));
    assert!(read(now(&db).await).await.expect("complete").is_empty());
}

#[tokio::test]
async fn b5_points_and_bars_of_a_clock_that_was_ahead_hide_nothing() {
    let db = TestDatabase::new().await.expect("a database");
    store(&db, 0, "1").await;
    known(&db, now(&db).await).await;
    db.sql(
        "INSERT INTO knowledge_points SELECT clock_timestamp() + interval '1 hour' + n * interval '1 second',
             txid_current_snapshot(), system_identifier FROM pg_control_system(), generate_series(1, 3) AS n;
         UPDATE price_history SET created_at = clock_timestamp() + interval '1 hour'",
    )
    .await;
    let before = now(&db).await;
    store(&db, 1, "2").await;
    // Corrects a bar whose time is ahead.
    store(&db, 0, "3").await;
    let all = [(0, "3".to_owned()), (1, "2".to_owned())];
    let after = now(&db).await;
    assert_eq!(known(&db, after).await, all);
    // What was not asked for meanwhile has the first point that was made afterwards; it has the bars of a wrong clock.
    assert_eq!(known(&db, before).await.first(), Some(&(0, "3".to_owned())));
    assert_eq!(known(&db, after).await, all, "for ever");
    let client = connect(&db).await;
    let ahead = "SELECT count(*), count(*) FILTER (WHERE known_at > clock_timestamp()) FROM knowledge_points";
    let row = client.query_one(ahead, &[]).await.expect("counted");
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (6, 0), "with that of the migration");
    assert!(known(&db, now(&db).await).await.len() == 2);
}

#[tokio::test]
async fn b5_doctor_warns_where_transactions_are_of_another_cluster() {
    let db = TestDatabase::new().await.expect("a database");
    let found = async || {
        let findings = db.doctor().await.expect("examined").findings;
        findings.iter().filter(|finding| finding.object == "knowledge_points").count()
    };
    assert_eq!(found().await, 0);
    db.sql("UPDATE knowledge_points SET system_identifier = 7").await;
    assert_eq!(found().await, 1);
    db.sql("TRUNCATE knowledge_points").await;
    assert_eq!(found().await, 0);
}

#[tokio::test]
async fn b5_nobody_but_the_owner_says_who_stored_a_bar() {
    let db = TestDatabase::new().await.expect("a database");
    store(&db, 0, "1").await;
    known(&db, now(&db).await).await;
    let client = connect(&db).await;
    for role in ["buffetbot_app", "buffetbot_maintenance"] {
        client.batch_execute(&format!("SET ROLE {role}")).await.expect("a role");
        for forged in [
            "INSERT INTO price_history (ticker, date, close_price, added_by) VALUES ('A', '2024-01-03Z', 1, 5)",
            "INSERT INTO price_history (ticker, date, close_price, added_by) VALUES ('A', '2024-01-03Z', 1, NULL)",
            "UPDATE price_history SET added_by = NULL",
            "UPDATE knowledge_points SET snapshot = '1:1:'",
        ] {
            let refused = client.batch_execute(forged).await.expect_err(forged);
            assert_eq!(refused.code().map(|code| code.code()), Some("42501"), "{role}: {forged}");
        }
        // What a point says is not the caller's to choose.
        client
            .batch_execute("INSERT INTO knowledge_points VALUES (clock_timestamp(), '1:1:', 0)")
            .await
            .expect("a point");
        client.batch_execute("RESET ROLE").await.expect("back");
    }
    let forged = "SELECT count(*) FROM knowledge_points WHERE snapshot::text = '1:1:' OR system_identifier = 0";
    assert_eq!(client.query_one(forged, &[]).await.expect("counted").get::<_, i64>(0), 0);
    let old = "BEGIN ISOLATION LEVEL REPEATABLE READ; INSERT INTO knowledge_points (known_at) VALUES (now())";
    let refused = client.batch_execute(old).await.expect_err("its snapshot may be old");
    assert_eq!(refused.code().map(|code| code.code()), Some("25000"));
}

#[tokio::test]
async fn b5_points_are_swept_with_the_revisions_but_for_the_last() {
    let db = TestDatabase::new().await.expect("a database");
    for close in ["1", "2", "3"] {
        store(&db, 0, close).await;
        known(&db, now(&db).await).await;
    }
    db.sql("UPDATE knowledge_points SET known_at = known_at - interval '1 year'").await;
    let client = connect(&db).await;
    let count = async || {
        let counted = client.query_one("SELECT count(*) FROM knowledge_points", &[]).await;
        counted.expect("counted").get::<_, i64>(0)
    };
    assert_eq!(count().await, 4, "with that of the migration");
    let half_a_year = std::time::Duration::from_secs(183 * 86_400);
    db.prices().sweep_revisions(10, half_a_year).await.expect("swept");
    assert_eq!(count().await, 2);
}

/// What one of the transactions does next.
#[derive(Debug, Clone)]
enum Step {
    Store(usize, u64),
    Delete(usize, u64),
    /// Within a savepoint that is undone.
    Undone(usize, u64),
    Commit(usize),
    Abort(usize),
    Ask,
}

fn steps() -> impl Strategy<Value = (usize, Vec<Step>)> {
    (2..=4_usize).prop_flat_map(|transactions| {
        let (t, d) = (0..transactions, 0..DAYS);
        let step = prop_oneof![
            4 => (t.clone(), d.clone()).prop_map(|(t, d)| Step::Store(t, d)),
            2 => (t.clone(), d.clone()).prop_map(|(t, d)| Step::Delete(t, d)),
            1 => (t.clone(), d).prop_map(|(t, d)| Step::Undone(t, d)),
            2 => t.clone().prop_map(Step::Commit),
            1 => t.prop_map(Step::Abort),
            3 => Just(Step::Ask),
        ];
        (Just(transactions), prop::collection::vec(step, 30))
    })
}

/// A transaction, and the closes it has changed; `None`: deleted.
struct Open {
    unit: UnitOfWork,
    changed: BTreeMap<u64, Option<String>>,
}

async fn run(db: &Database, transactions: usize, steps: &[Step]) {
    let mut open: Vec<Option<Open>> = (0..transactions).map(|_| None).collect();
    // The reference: what is committed, and what it was whenever somebody asked.
    let mut committed: BTreeMap<u64, String> = BTreeMap::new();
    let mut answers: Vec<(DateTime<Utc>, Closes)> = Vec::new();
    for (n, step) in steps.iter().enumerate() {
        let (t, day) = match *step {
            Step::Store(t, day) | Step::Delete(t, day) | Step::Undone(t, day) => (t, Some(day)),
            Step::Commit(t) | Step::Abort(t) => (t, None),
            Step::Ask => {
                let at = now(db).await;
                let expected: Closes =
                    committed.iter().map(|(day, close)| (*day, close.clone())).collect();
                assert_eq!(known(db, at).await, expected, "at step {n} of {steps:?}");
                answers.push((at, expected));
                continue;
            }
        };
        // A bar that another open transaction has changed would make this one wait for it.
        let is_taken = |(other, open): (usize, &Option<Open>)| {
            other != t
                && open
                    .as_ref()
                    .is_some_and(|open| day.is_some_and(|day| open.changed.contains_key(&day)))
        };
        if open.iter().enumerate().any(is_taken) {
            continue;
        }
        if open[t].is_none() {
            open[t] = Some(Open { unit: begun(db).await, changed: BTreeMap::new() });
        }
        let Open { unit, changed } = open[t].as_mut().expect("it was begun");
        let close = (n + 1).to_string();
        match *step {
            Step::Store(_, day) => {
                unit.prices().upsert_many(&[bar("A", nth(day), &close)]).await.expect("stored");
                changed.insert(day, Some(close));
            }
            Step::Delete(_, day) => {
                unit.prices()
                    .delete_range(&parsed("A"), nth(day), nth(day))
                    .await
                    .expect("deleted");
                changed.insert(day, None);
            }
            Step::Undone(_, day) => {
                let undone = unit
                    .savepoint(async |unit| {
                        unit.prices().upsert_many(&[bar("A", nth(day), "999")]).await?;
                        Err::<(), _>(Error::ReadOnly)
                    })
                    .await;
                assert!(matches!(undone, Err(Error::ReadOnly)));
                // The row stays locked where it was there.
                changed.entry(day).or_insert_with(|| committed.get(&day).cloned());
            }
            Step::Commit(_) => {
                let Open { unit, changed } = open[t].take().expect("it was begun");
                unit.commit().await.expect("committed");
                for (day, close) in changed {
                    match close {
                        Some(close) => committed.insert(day, close),
                        None => committed.remove(&day),
                    };
                }
            }
            Step::Abort(_) => {
                open[t].take().expect("it was begun").unit.rollback().await.expect("rolled back");
            }
            Step::Ask => unreachable!("asked above"),
        }
    }
    drop(open);
    for (at, expected) in &answers {
        assert_eq!(known(db, *at).await, *expected, "asked again of {steps:?}");
    }
    // Of times that nobody asked for in time, a day has one bar at most, and the answer stays.
    for pair in answers.windows(2) {
        let at = pair[0].0 + (pair[1].0 - pair[0].0) / 2;
        let first = known(db, at).await;
        assert!(first.windows(2).all(|days| days[0].0 < days[1].0), "{first:?}");
        store(db, 0, "7777").await;
        assert_eq!(known(db, at).await, first);
    }
}

async fn property(is_by_year: bool) {
    let db = TestDatabase::new().await.expect("a database");
    if is_by_year {
        db.price_partitions().partition_by_year(Some(2020), 1, |_| {}).await.expect("partitioned");
    }
    let cases = Config::default();
    let rng = TestRng::deterministic_rng(cases.rng_algorithm);
    let mut runner = TestRunner::new_with_rng(cases, rng);
    for _ in 0..12 {
        let tree = steps().new_tree(&mut runner).expect("steps");
        let (transactions, steps) = tree.current();
        run(&db, transactions, &steps).await;
        db.sql("DELETE FROM price_history").await;
    }
}

#[tokio::test]
async fn b5_interleaved_transactions_leave_one_past() {
    property(false).await;
}

#[tokio::test]
async fn b5_interleaved_transactions_leave_one_past_by_year() {
    property(true).await;
}
