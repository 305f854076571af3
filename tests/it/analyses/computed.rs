//! Results that are computed when they are asked for.

mod changes;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use buffetbot_db::analyses::{AnalysisKey, AnalysisResult, AnalysisScope, Inputs, NewAnalysis};
use buffetbot_db::cache::{BoxError, CacheOptions, Cached, Fetched, Origin, Policy};
use buffetbot_db::testing::TestDatabase;
use buffetbot_db::types::{AnalysisType, Score};
use buffetbot_db::{Database, Error, Repositories, Result};
use chrono::TimeDelta;
use serde_json::json;

use super::{HOUR, a_portfolio, save, ticker, value_of};
use crate::support::handle::Handle;
use crate::support::{GENEROUS, number, parsed};

fn an_hour() -> Policy {
    Policy::ttl(HOUR).jitter(0.0)
}

fn key() -> AnalysisKey {
    AnalysisKey::new(&ticker("AAPL"), AnalysisType::Value)
}

fn process(db: &TestDatabase) -> Database {
    Database::clone(db).with_cache(CacheOptions::default()).expect("a cache")
}

/// Computations, counted: their scores are 1, 2, ...
#[derive(Clone, Default)]
struct Model {
    computed: Arc<AtomicU32>,
}

impl Model {
    fn computed(&self) -> u32 {
        self.computed.load(Ordering::SeqCst)
    }

    async fn ask(&self, repos: &impl Repositories, key: &AnalysisKey) -> Cached<AnalysisResult> {
        let computed = self.computed.clone();
        let compute = move |_| async move {
            let n = computed.fetch_add(1, Ordering::SeqCst) + 1;
            Ok::<_, BoxError>(value_of("IGNORED").score(parsed(&n.to_string())))
        };
        repos.get_or_compute(key, &an_hour(), compute).await.expect("a result")
    }
}

async fn failing(
    repos: &impl Repositories,
    key: &AnalysisKey,
    policy: &Policy,
) -> Result<Cached<AnalysisResult>> {
    let fail = |_| async { Err::<NewAnalysis, _>("the model is down") };
    repos.get_or_compute(key, policy, fail).await
}

fn score(result: &AnalysisResult) -> Option<String> {
    result.score.as_ref().map(Score::to_string)
}

/// The score that is found without computing; `None` where there is no fresh result.
async fn found(repos: &impl Repositories, key: &AnalysisKey) -> Option<String> {
    // A pause after the failure would hide what comes next.
    let policy = an_hour().retry_after(std::time::Duration::ZERO);
    failing(repos, key, &policy).await.ok().and_then(|result| score(&result.value))
}

async fn leases(db: &Database) -> i64 {
    let connection = db.connection().await.expect("a connection");
    let held = "SELECT count(*) AS n FROM cache_leases WHERE token IS NOT NULL";
    number(&connection, held).await.expect("leases")
}

async fn rows(repos: &impl Repositories) -> u64 {
    let filter = buffetbot_db::analyses::AnalysisFilter::default().scope(AnalysisScope::All);
    repos.analyses().count(&filter).await.expect("a count")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_four_callers_in_two_processes_compute_once() {
    let db = TestDatabase::new().await.expect("a database");
    let processes = [process(&db), process(&db)];
    let model = Model::default();
    let callers: Vec<_> = (0..64)
        .map(|i| {
            let (db, model) = (processes[i % 2].clone(), model.clone());
            tokio::spawn(async move { model.ask(&db, &key()).await.value.id })
        })
        .collect();
    let mut ids = Vec::new();
    for caller in callers {
        ids.push(caller.await.expect("no panic"));
    }
    ids.dedup();
    assert_eq!((ids.len(), model.computed(), rows(&*db).await), (1, 1, 1));
    assert_eq!(leases(&db).await, 0);
}

/// An error of the store is no failure of the computation.
#[tokio::test]
async fn b16_a_result_that_cannot_be_stored_puts_nobody_off() {
    let db = TestDatabase::new().await.expect("a database");
    let (here, there) = (process(&db), process(&db));
    let policy = an_hour().retry_after(HOUR);
    let long_ago = super::at(0);
    let nowhere = key().portfolio(buffetbot_db::types::PortfolioId::generate());
    type Case = (&'static str, AnalysisKey, fn(&Error) -> bool, NewAnalysis);
    let cases: [Case; 3] = [
        (
            "an unknown portfolio",
            nowhere,
            |e| matches!(e, Error::InvalidReference { .. }),
            value_of("AAPL"),
        ),
        (
            "a long strategy",
            key(),
            |e| matches!(e, Error::Invalid { field, .. } if *field == "strategy"),
            value_of("AAPL").strategy("s".repeat(101)),
        ),
        (
            "an expiry in the past",
            key(),
            |e| matches!(e, Error::Invalid { .. }),
            value_of("AAPL").expires_at(long_ago),
        ),
    ];
    for (what, key, is_meant, new) in cases {
        for db in [&here, &here, &there] {
            let new = new.clone();
            let compute = move |_| async move { Ok::<_, BoxError>(new) };
            let error = db.get_or_compute(&key, &policy, compute).await;
            let error = error.expect_err(what);
            assert!(is_meant(&error), "{what}: {error:?}");
        }
        assert_eq!(leases(&db).await, 0, "{what}");
    }
    assert_eq!(here.cache().counters().fetch_errors, 0);
    let model = Model::default();
    assert_eq!(model.ask(&here, &key()).await.origin, Origin::Fetched);
    // What fails in the computation puts off.
    let other = AnalysisKey::new(&ticker("MSFT"), AnalysisType::Value);
    for expected in ["fetch", "put off"] {
        let error = failing(&here, &other, &policy).await.expect_err("the model is down");
        let is_expected = match expected {
            "fetch" => matches!(error, Error::Fetch { .. }),
            _ => matches!(error, Error::BackingOff { .. }),
        };
        assert!(is_expected, "{expected}: {error:?}");
    }
}

#[tokio::test]
async fn a_result_is_found_in_the_nearest_level_as_it_was_stored() {
    let db = TestDatabase::new().await.expect("a database");
    let (here, there) = (process(&db), process(&db));
    let new = value_of("AAPL")
        .strategy("discounted cash flow")
        .metadata(json!({"fair": 192.50, "exact": 9_007_199_254_740_993_i64}))
        .expect("metadata")
        .summary("Cheap")
        .quality(parsed("0.9"))
        .inputs(Inputs::new());
    let (id, compute) = (new.id, |_| async move { Ok::<_, BoxError>(new) });
    let first = here.get_or_compute(&key(), &an_hour(), compute).await.expect("computed");
    assert_eq!((first.origin, first.value.id), (Origin::Fetched, id));
    assert_eq!(first.quality(), Some(&parsed("0.9")));
    let row = db.analyses().find(id).await.expect("an answer").expect("a row");
    assert_eq!(*first.value, row);
    assert_eq!((first.value.version, first.revision()), (row.version, None));
    let model = Model::default();
    for (db, origins) in
        [(&here, [Origin::Memory, Origin::Memory]), (&there, [Origin::Database, Origin::Memory])]
    {
        for origin in origins {
            let again = model.ask(db, &key()).await;
            assert_eq!((again.origin, &*again.value), (origin, &row));
        }
    }
    assert_eq!(model.computed(), 0);
}

#[tokio::test]
async fn each_part_of_the_key_tells_results_apart() {
    let db = TestDatabase::new().await.expect("a database");
    let owners = [a_portfolio(&*db, "ada").await.id, a_portfolio(&*db, "bob").await.id];
    let with = |parameters| key().parameters(parameters).expect("parameters");
    let distinct = [
        key(),
        AnalysisKey::new(&ticker("MSFT"), AnalysisType::Value),
        AnalysisKey::new(&ticker("AAPL"), AnalysisType::Risk),
        key().portfolio(owners[0]),
        key().portfolio(owners[1]),
        with(json!({})),
        with(json!(null)),
        with(json!({"years": 10, "rate": 1})),
        with(json!({"years": 10, "rate": 1})).portfolio(owners[0]),
    ];
    let (model, other) = (Model::default(), process(&db));
    for (i, key) in distinct.iter().enumerate() {
        let result = model.ask(&*db, key).await;
        assert_eq!(score(&result.value), Some((i + 1).to_string()), "{key:?}");
        assert_eq!(&result.value.key(), key, "the key's parts, whatever was computed");
    }
    for db in [&*db, &other, &other] {
        for (i, key) in distinct.iter().enumerate() {
            assert_eq!(score(&model.ask(db, key).await.value), Some((i + 1).to_string()));
        }
    }
    let respelled = with(json!({"rate": 1.0, "years": 10}));
    assert_eq!(score(&model.ask(&*db, &respelled).await.value).as_deref(), Some("8"));
    assert_eq!(model.computed(), 9);
    assert_eq!(rows(&*db).await, 9);
}

#[tokio::test]
async fn a_result_that_says_nothing_of_its_life_has_the_policys() {
    let db = TestDatabase::new().await.expect("a database");
    let at = parsed::<chrono::DateTime<chrono::Utc>>("2124-01-01T00:00:00Z");
    let policy = an_hour().stale_for(HOUR).quality(parsed("0.25"));
    let cases = [
        (Fetched::new(value_of("AAPL")), Some((1, 1))),
        (Fetched::new(value_of("AAPL")).ttl(2 * HOUR), Some((2, 1))),
        (Fetched::new(value_of("AAPL").ttl(3 * HOUR)), Some((3, 1))),
        (Fetched::new(value_of("AAPL").ttl(3 * HOUR).stale_for(5 * HOUR)), Some((3, 5))),
        (Fetched::new(value_of("AAPL").expires_at(at)), None),
    ];
    for (i, (new, life)) in cases.into_iter().enumerate() {
        let key = key().parameters(i).expect("parameters");
        let compute = move |_| async move { Ok::<_, BoxError>(new) };
        let result = db.get_or_compute(&key, &policy, compute).await.expect("computed");
        let row = &result.value;
        let (expires, until) =
            (row.expires_at.expect("an expiry"), row.stale_until.expect("a window"));
        match life {
            Some((hours, window)) => {
                assert_eq!(expires, row.created_at + TimeDelta::hours(hours));
                assert_eq!(until, expires + TimeDelta::hours(window));
            }
            None => assert_eq!((expires, until), (at, at + TimeDelta::hours(1))),
        }
        assert_eq!(result.quality(), Some(&parsed("0.25")));
    }
    let refused = Policy::ttl(std::time::Duration::ZERO);
    let refused = failing(&*db, &key(), &refused).await;
    assert!(matches!(refused, Err(Error::Invalid { .. })), "{refused:?}");
}

/// Lets every result expire that has an expiry; stale windows stay open for an hour.
async fn expire(db: &Database) {
    db.sql(
        "UPDATE analysis_results SET expires_at = now() - interval '1 h',
        stale_until = now() + interval '1 h'",
    )
    .await;
}

#[tokio::test]
async fn a_stale_result_stands_in_while_the_model_is_down() {
    let db = TestDatabase::new().await.expect("a database");
    let stored = save(&*db, &value_of("AAPL").ttl(HOUR)).await;
    expire(&db).await;
    let other = process(&db);
    let policy = an_hour().stale_for(HOUR).soft_timeout(GENEROUS);
    let stale = failing(&other, &key(), &policy).await.expect("a stale result");
    assert_eq!((stale.value.id, stale.origin), (stored.id, Origin::Stale));
    assert_eq!(other.cache().counters().fetch_errors, 1);
    // During the pause nobody computes, in any process.
    let model = Model::default();
    for db in [&other, &process(&db)] {
        let compute = {
            let computed = model.computed.clone();
            move |_| async move {
                computed.fetch_add(1, Ordering::SeqCst);
                Ok::<_, BoxError>(value_of("AAPL"))
            }
        };
        let again = db.get_or_compute(&key(), &policy, compute).await;
        assert_eq!(again.expect("a stale result").origin, Origin::Stale);
        assert!(matches!(failing(db, &key(), &an_hour()).await, Err(Error::BackingOff { .. })));
    }
    assert_eq!((model.computed(), rows(&*db).await), (0, 1));
}

#[tokio::test]
async fn a_result_may_be_said_to_be_unchanged() {
    let db = TestDatabase::new().await.expect("a database");
    let unchanged = |previous: Option<Cached<AnalysisResult>>| async move {
        let previous = previous.map(|p| (p.value.id, p.is_stale()));
        match previous {
            Some((_, true)) => Ok(Fetched::<NewAnalysis>::unchanged()),
            other => Err(format!("{other:?}")),
        }
    };
    let stored = save(&*db, &value_of("AAPL").ttl(HOUR)).await;
    expire(&db).await;
    let other = process(&db);
    let policy = an_hour().stale_for(2 * HOUR).soft_timeout(GENEROUS);
    let renewed = other.get_or_compute(&key(), &policy, unchanged).await.expect("renewed");
    assert_eq!((renewed.value.id, renewed.origin), (stored.id, Origin::Fetched));
    let row = db.analyses().find(stored.id).await.expect("an answer").expect("a row");
    assert_eq!(*renewed.value, row);
    assert_eq!(row.calculated_at, stored.calculated_at);
    let expires = row.expires_at.expect("an expiry");
    assert_eq!((expires - row.updated_at + TimeDelta::minutes(1)).num_hours(), 1);
    assert_eq!(row.stale_until, Some(expires + TimeDelta::hours(2)));
    assert_eq!((rows(&*db).await, leases(&db).await), (1, 0));
    // Of nothing that cannot be said.
    let nothing = AnalysisKey::new(&ticker("MSFT"), AnalysisType::Value);
    let compute = |_| async { Ok::<_, BoxError>(Fetched::<NewAnalysis>::unchanged()) };
    let refused = db.get_or_compute(&nothing, &policy, compute).await;
    assert!(matches!(refused, Err(Error::Invalid { .. })), "{refused:?}");
}
