//! Every method of every repository fails beside a call that waits, in one unit of work: the unit goes on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::api::*;
use chrono::{DateTime, NaiveDate, Utc};
use futures_util::{FutureExt, StreamExt, stream};
use tokio::try_join;
use tokio_postgres::Client;

use crate::cancellation::every_method::given::document;
use crate::cancellation::every_method::{Given, Start, calls, each_call};
use crate::support::methods::{REPOSITORIES, methods, methods_with_errors};
use crate::support::{batch, database, hash, parsed, raw, somebody};

const HOUR: Duration = Duration::from_secs(3_600);

fn no_address() -> NewUser {
    NewUser::new("no address", hash())
}

fn nameless(given: &Given) -> NewPortfolio {
    NewPortfolio::new(given.user.id, "", RiskTolerance::Moderate)
}

fn position(given: &Given, ticker: &Ticker) -> NewPosition {
    NewPosition::new(given.portfolio.id, ticker.clone(), parsed::<Shares>("1"))
}

fn long(given: &Given) -> NewAnalysis {
    NewAnalysis::new(given.ticker.clone(), AnalysisType::Value).strategy("x".repeat(500))
}

fn unkept(given: &Given) -> NewCacheEntry {
    NewCacheEntry::new(given.entry.key(), document(), PutOptions::ttl(Duration::ZERO))
}

fn absent(given: &Given) -> CacheKey {
    CacheKey::new(&given.fresh(), DataType::NEWS)
}

fn long_ago(given: &Given) -> NewPriceBar {
    NewPriceBar::new(given.ticker.clone(), parsed::<NaiveDate>("1500-01-02"), parsed("1"))
}

fn contradictory(given: &Given) -> NewPriceBar {
    let bar = NewPriceBar::new(given.ticker.clone(), given.from, parsed("10"));
    bar.ohl(parsed("1"), parsed("2"), parsed("3"))
}

fn dividend(given: &Given) -> NewCorporateAction {
    NewCorporateAction::dividend(given.ticker.clone(), NaiveDate::MIN, parsed("1"))
}

fn sourceless(given: &Given) -> NewOptionQuote {
    let quote = given.quotes().remove(0);
    NewOptionQuote { data_source: "".into(), ..quote }
}

const UNREADABLE: &str = "\0";

fn key(given: &Given) -> AnalysisKey {
    AnalysisKey::new(&given.ticker, AnalysisType::Value)
}

/// The caller's mistakes: what is seen before anything is sent, what is not found, what cannot be decoded.
#[rustfmt::skip] // One call a line.
fn mistakes() -> Vec<(&'static str, Start)> {
    let mut all = each_call! { repos, given;
        users.create(&no_address());
        users.create_many(&[no_address()]);
        users.find_by_email("\0");
        users.find_by_username("\0");
        users.exists_email("\0");
        users.exists_username("\0");
        users.update(UserId::generate(), &UserPatch::default().first_name("Ada"));
        users.update(UserId::generate(), &UserPatch::default());
        users.update_profile(UserId::generate(), &ProfilePatch::default().first_name("Ada"));
        users.set_password(UserId::generate(), &hash());
        users.record_login(UserId::generate());
        users.verify(UserId::generate());
        users.deactivate(UserId::generate());
        users.activate(UserId::generate());
        users.preferences(UserId::generate());
        users.set_preferences(UserId::generate(), None);
        users.merge_preferences(given.user.id, &Document::encode(&[1]).unwrap());
        portfolios.create(&nameless(given));
        portfolios.create_many(&[nameless(given)]);
        users.search("\0", &given.page);
        portfolios.find_by_name(given.user.id, "\0");
        portfolios.update(PortfolioId::generate(), &PortfolioPatch::default().name("Core"));
        portfolios.deactivate(PortfolioId::generate());
        portfolios.activate(PortfolioId::generate());
        portfolios.duplicate(PortfolioId::generate(), "Copy");
        positions.create(&position(given, &given.ticker));
        positions.create(&position(given, &given.ticker));
        positions.create_many(&[position(given, &parsed("TWICE")), position(given, &parsed("TWICE"))]);
        positions.create_many(&[position(given, &given.ticker)]);
        positions.upsert(&position(given, &given.ticker).notes("\0"));
        positions.update(given.portfolio.id, PositionId::generate(), &PositionPatch::default().notes(None));
        positions.remove(given.portfolio.id, PositionId::generate());
        positions.move_to(given.portfolio.id, PositionId::generate(), given.other_portfolio.id);
        analyses.create(&long(given));
        analyses.create_many(&[long(given)]);
        analyses.list(&AnalysisFilter::default().strategy(UNREADABLE), &given.page);
        analyses.count(&AnalysisFilter::default().strategy(UNREADABLE));
        analyses.summary(&AnalysisFilter::default().strategy(UNREADABLE));
        analyses.update(AnalysisId::generate(), &AnalysisPatch::default().summary(None));
        analyses.invalidate(&AnalysisSelector::default());
        repositories.get_or_compute(&key(given), &Policy::ttl(Duration::ZERO), |_| async { Ok::<_, Error>(NewAnalysis::new(parsed("A"), AnalysisType::Value)) });
        repositories.get_or_compute(&key(given), &Policy::ttl(HOUR), |_| async { Err::<NewAnalysis, BoxError>("the model is down".into()) });
        repositories.get_or_compute(&key(given), &Policy::ttl(HOUR), |_| async { Ok::<_, Error>(NewAnalysis::new(parsed("A"), AnalysisType::Value).strategy("x".repeat(500))) });
        market_cache.create(&unkept(given));
        market_cache.create_many(&[unkept(given)]);
        market_cache.list(&CacheFilter::default().data_source(UNREADABLE), &given.page);
        market_cache.count(&CacheFilter::default().data_source(UNREADABLE));
        market_cache.update(CacheEntryId::generate(), &CacheEntryPatch::default().data_source(None));
        market_cache.put(&given.entry.key(), &document(), &PutOptions::ttl(Duration::ZERO));
        market_cache.put_many(&[unkept(given)]);
        market_cache.backfill_many(&[Backfill { entry: unkept(given), cached_at: given.at }]);
        market_cache.refresh(&absent(given), HOUR);
        market_cache.invalidate(&CacheSelector::default());
        market_cache.put_as(&absent(given), &f64::NAN, &PutOptions::ttl(HOUR));
        corporate_actions.create(&dividend(given));
        corporate_actions.create_many(&[dividend(given)]);
        corporate_actions.update(CorporateActionId::generate(), &CorporateActionPatch::default().data_source(None));
        prices.create(&long_ago(given));
        prices.create_many(&[long_ago(given)]);
        prices.upsert_many_with(&[contradictory(given)], &IngestOptions::new().on_suspect(SuspectPolicy::Fail));
        prices.copy_in(stream::iter([Err(Error::Cancelled)]).boxed(), &IngestOptions::new());
        prices.copy_in(stream::iter([Ok(contradictory(given).into())]).boxed(), &IngestOptions::new().on_suspect(SuspectPolicy::Fail));
        prices.verify_adjustment(&given.ticker, given.from, given.to, f64::NAN);
        prices.list(&PriceBarFilter::default().data_source(UNREADABLE), &given.page);
        prices.count(&PriceBarFilter::default().data_source(UNREADABLE));
        prices.update(BarId::generate(), &PriceBarPatch::default().data_source(None));
        options.create(&sourceless(given));
        options.create_many(&[sourceless(given)]);
        options.put_chain(&given.ticker, DateTime::<Utc>::MAX_UTC, &[]);
        options.update(OptionQuoteId::generate(), &OptionQuotePatch::default().data_source(None));
    };
    let of_another_shape: Start = |repos, given| {
        let got = async { repos.market_cache().get_as::<Vec<i32>>(&given.entry.key()).await };
        got.map(|got| got.map(drop)).boxed()
    };
    all.push(("market_cache.get_as", of_another_shape));
    all
}

/// Methods whose documentation tells errors that are no mistakes of the call, and why.
const NO_MISTAKES: [(&str, &str); 12] = [
    ("audit.sweep", "only a user's name is refused"),
    ("analyses.lineage", "only what another program recorded cannot be read"),
    ("corporate_actions.upsert_many", "what is wrong is reported, item by item"),
    ("options.upsert_many", "what is wrong is reported, item by item"),
    ("prices.upsert_many", "what is wrong is reported, item by item"),
    ("prices.adjusted", "only what another program stored cannot be read"),
    ("prices.series", "only what another program stored cannot be read"),
    ("prices.latest_of", "only what another program stored cannot be read"),
    ("prices.resample", "only what another program stored cannot be read"),
    ("users.export", "only the database refuses"),
    ("prices.range_as_of", "only sweeping and archiving make it fail"),
    ("users.erase", "only the database refuses"),
];

/// Ends the locker's transaction when somebody waits for it, or nobody will.
async fn release(locker: Arc<Client>, mut is_over: tokio::sync::oneshot::Receiver<()>) {
    let waiting = "SELECT count(*) FROM pg_locks JOIN pg_database AS d ON d.oid = database WHERE NOT granted AND datname = current_database()";
    while is_over.try_recv().is_err() {
        if locker.query_one(waiting, &[]).await.expect("the locks").get::<_, i64>(0) > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    locker.batch_execute("ROLLBACK").await.expect("released");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b13_no_mistake_costs_the_unit_the_call_beside_it() {
    let db = database(2).await;
    let given = Given::new(&db).await;
    let mistakes = mistakes();
    let tried: BTreeSet<String> = mistakes.iter().map(|(name, _)| (*name).to_owned()).collect();
    let excused: BTreeSet<String> = NO_MISTAKES.map(|(name, _)| name.to_owned()).into();
    let untried: Vec<String> = methods_with_errors().difference(&tried).cloned().collect();
    let untried: Vec<_> = untried.iter().filter(|name| !excused.contains(*name)).collect();
    assert!(untried.is_empty(), "can fail, and no mistake is tried: {untried:?}");

    let locker = Arc::new(raw(db.url()).await);
    let mut lost = Vec::new();
    for (name, mistake) in mistakes {
        for is_first in [true, false] {
            let unit = db.begin().await.expect("a transaction");
            let of_options = name.starts_with("options");
            let table = if of_options { "corporate_actions" } else { "options_data" };
            let lock = format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE");
            locker.batch_execute(&lock).await.expect("locked");
            let (over, is_over) = tokio::sync::oneshot::channel();
            let releasing = tokio::spawn(release(locker.clone(), is_over));
            let waits = async {
                match of_options {
                    true => unit.corporate_actions().count(&CorporateActionFilter::default()).await,
                    false => unit.options().count(&OptionQuoteFilter::default()).await,
                }
            };
            let fails = mistake(unit.repositories(), &given);
            let both = match is_first {
                true => try_join!(fails, waits).map(drop),
                false => try_join!(waits, fails).map(drop),
            };
            // Nobody may have waited.
            let _ = over.send(());
            releasing.await.expect("no panic");
            let error = both.expect_err(name);
            assert!(!matches!(error, Error::Ended { .. }), "{name}: {error:?}");
            let goes_on = unit.users().create(&somebody()).await.map(drop);
            let goes_on = goes_on.and(unit.commit().await);
            if let Err(ended) = goes_on {
                lost.push(format!("{name}, first: {is_first}: {error}; then {ended}"));
            }
        }
    }
    assert!(lost.is_empty(), "{lost:#?}");
}

/// The tables of each repository.
fn tables(repository: &str) -> &'static [&'static str] {
    match repository {
        "analyses" => &["analysis_results"],
        "audit" => &["audit_log"],
        "corporate_actions" => &["corporate_actions"],
        "market_cache" => &["market_data_cache"],
        "options" => &["options_data"],
        "portfolios" => &["portfolios"],
        "positions" => &["positions"],
        "prices" | "repositories" => &["price_history", "price_revisions"],
        "users" => &["users"],
        other => panic!("{other}: no tables"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b13_no_refusal_of_the_server_costs_the_unit_the_call_beside_it() {
    let db = database(2).await;
    let given = Given::new(&db).await;
    let calls = calls();
    let named: BTreeSet<String> = calls.iter().map(|(name, _)| (*name).to_owned()).collect();
    let all = methods(&REPOSITORIES.map(|(repository, _)| repository));
    let missing: Vec<_> = all.difference(&named).collect();
    assert!(missing.is_empty(), "not tried: {missing:?}");
    // It asks no table, which could be missing.
    for (name, start) in calls.into_iter().filter(|(name, _)| *name != "market_cache.clock") {
        let (repository, _) = name.split_once('.').expect("a name");
        let rename = |table| format!("ALTER TABLE {table} RENAME TO {table}_that_was");
        let renamed: Vec<String> = tables(repository).iter().map(rename).collect();
        let renamed = renamed.join("; ");
        let unit = db.begin().await.expect("a transaction");
        for is_first in [true, false] {
            let (given, renamed) = (&given, &renamed);
            let failed = unit
                .savepoint(async |unit: &UnitOfWork| {
                    let connection = unit.connection().await?;
                    batch(&connection, renamed).await?;
                    drop(connection);
                    let beside = async {
                        match repository {
                            "portfolios" => unit.users().exists(given.user.id).await,
                            _ => unit.portfolios().exists(given.portfolio.id).await,
                        }
                    };
                    let fails = start(unit.repositories(), given);
                    match is_first {
                        true => try_join!(fails, beside).map(drop),
                        false => try_join!(beside, fails).map(drop),
                    }
                })
                .await;
            let error = failed.expect_err(name);
            assert!(
                !matches!(error, Error::Ended { .. } | Error::Unavailable { .. }),
                "{name}, first: {is_first}: {error:?}"
            );
            let goes_on = unit.users().exists(given.user.id).await;
            assert!(matches!(goes_on, Ok(true)), "{name}, first: {is_first}: {error}; {goes_on:?}");
        }
        unit.commit().await.expect(name);
    }
}

#[tokio::test]
async fn b13_a_stream_whose_items_make_mistakes_on_its_unit_is_not_waited_for() {
    let db = database(2).await;
    let unit = db.begin().await.expect("a transaction");
    // More than one chunk, so that the connection is held while the stream is asked for more.
    let mut bars = Vec::new();
    for n in 0..12 {
        let ticker = parsed(&format!("S{n}"));
        let first = parsed("2010-01-04");
        bars.extend(testing::fixtures::bars(&ticker, first, 2_500).expect("bars"));
    }
    let (count, began) = (bars.len() as u64, Instant::now());
    let unit = &unit;
    let delivered = stream::iter(bars.into_iter().enumerate()).then(|(n, bar)| async move {
        if n % 500 == 0 {
            let made = unit.users().create(&no_address()).await;
            assert!(matches!(made, Err(Error::Invalid { .. })), "{made:?}");
        }
        Ok(bar.into())
    });
    let report = unit.prices().copy_in(delivered.boxed(), &IngestOptions::new()).await;
    assert_eq!(report.expect("stored").inserted, count);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert!(unit.users().count(&UserFilter::default()).await.is_ok());
}
