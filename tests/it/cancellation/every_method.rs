//! The future of every method of every repository, dropped at each of its await points, in each kind of handle, while
//! others are at work: what returned Ok is there, no batch is there in part, nothing is stuck.

pub mod given;

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use crate::api::*;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};

pub use self::given::Given;
use self::given::{contract, document};
use crate::support::methods::{REPOSITORIES, methods};
use crate::support::{active, eventually, hash, parsed, raw};

/// More await points than any method has here.
const MOST_POLLS: u32 = 200;

pub type Start = for<'a> fn(&'a RepositorySet, &'a Given) -> BoxFuture<'a, Result<()>>;

macro_rules! each_call {
    ($repos:ident, $given:ident; $($repository:ident . $method:ident ($($argument:expr),* $(,)?) $(. $finish:ident)?;)*) => {
        vec![$((
            concat!(stringify!($repository), ".", stringify!($method)),
            (|$repos, $given| {
                // Some need nothing.
                let _ = $given;
                async move {
                    each_call!(@run $repos.$repository().$method($($argument),*) $(, $finish)?);
                    Ok(())
                }
                .boxed()
            }) as Start,
        ),)*]
    };
    (@run $call:expr) => {{ let _ = $call.await?; }};
    (@run $call:expr, stream) => {{ let _ = $call.try_collect::<Vec<_>>().await?; }};
}
pub(crate) use each_call;

#[rustfmt::skip] // One call a line.
pub fn calls() -> Vec<(&'static str, Start)> {
    each_call! { repos, given;
        users.create(&given.users()[0]);
        users.create_many(&given.users());
        users.find(given.user.id);
        users.find_by_email(&given.user.email);
        users.find_by_username("ada");
        users.list(&UserFilter::default(), &given.page);
        users.stream(&UserFilter::default()).stream;
        users.search("ada", &given.page);
        users.count(&UserFilter::default());
        users.exists(given.user.id);
        users.exists_email(&given.user.email);
        users.exists_username("ada");
        users.update(given.user.id, &UserPatch::default().first_name("Ada"));
        users.update_profile(given.user.id, &ProfilePatch::default().first_name("Ada"));
        users.set_password(given.user.id, &hash());
        users.record_login(given.user.id);
        users.verify(given.user.id);
        users.deactivate(given.user.id);
        users.activate(given.user.id);
        users.preferences(given.user.id);
        users.set_preferences(given.user.id, Some(&document()));
        users.merge_preferences(given.user.id, &document());
        users.delete(UserId::generate());
        users.export(given.user.id);
        users.erase(UserId::generate());
        users.erase_inactive(10, Duration::from_secs(1 << 30));
        portfolios.create(&given.portfolios()[0]);
        portfolios.create_many(&given.portfolios());
        portfolios.find(given.portfolio.id);
        portfolios.find_by_name(given.user.id, "Core");
        portfolios.list(&PortfolioFilter::default(), &given.page);
        portfolios.stream(&PortfolioFilter::default()).stream;
        portfolios.list_for_user(given.user.id, Activity::Any, &given.page);
        portfolios.list_by_risk_tolerance(RiskTolerance::Moderate, &given.page);
        portfolios.count(&PortfolioFilter::default());
        portfolios.exists(given.portfolio.id);
        portfolios.update(given.portfolio.id, &PortfolioPatch::default().name("Core"));
        portfolios.deactivate(given.portfolio.id);
        portfolios.activate(given.portfolio.id);
        portfolios.delete(PortfolioId::generate());
        portfolios.with_positions(given.portfolio.id, Activity::Any);
        portfolios.summary(given.portfolio.id);
        portfolios.valuation(given.portfolio.id, None);
        portfolios.duplicate(given.other_portfolio.id, "Copy");
        positions.create(&given.positions()[0]);
        positions.create(&given.positions()[0]);
        positions.create_many(&given.positions());
        positions.upsert(&given.positions()[0]);
        positions.find(given.portfolio.id, given.position.id);
        positions.find_by_ticker(given.portfolio.id, &given.ticker);
        positions.list(given.portfolio.id, Activity::Any, &given.page);
        positions.stream(given.portfolio.id, Activity::Any).stream;
        positions.holders_of(&given.ticker, Activity::Any, &given.page);
        positions.count(given.portfolio.id, Activity::Any);
        positions.exists(given.portfolio.id, given.position.id);
        positions.update(given.portfolio.id, given.position.id, &PositionPatch::default().notes(None));
        positions.remove(given.portfolio.id, PositionId::generate());
        positions.delete(given.portfolio.id, PositionId::generate());
        positions.move_to(given.portfolio.id, PositionId::generate(), given.other_portfolio.id);
        analyses.create(&given.analyses()[0]);
        analyses.create_many(&given.analyses());
        analyses.create(&given.analyses()[0]);
        analyses.create_many(&given.analyses());
        analyses.find(given.analysis.id);
        analyses.list(&AnalysisFilter::default(), &given.page);
        analyses.stream(&AnalysisFilter::default()).stream;
        analyses.count(&AnalysisFilter::default());
        analyses.exists(given.analysis.id);
        analyses.update(given.analysis.id, &AnalysisPatch::default().summary(None));
        analyses.delete(AnalysisId::generate());
        analyses.latest_fresh(&given.key());
        analyses.latest_fresh_many(given.tickers(), AnalysisType::Risk, None);
        analyses.latest(&given.key());
        analyses.history_for_ticker(&given.ticker, None, &given.page);
        analyses.history_for_portfolio(given.portfolio.id, None, &given.page);
        analyses.summary(&AnalysisFilter::default());
        analyses.invalidate(&AnalysisSelector { ticker: Some(given.fresh()), ..AnalysisSelector::default() });
        analyses.invalidate_stale_inputs(None);
        analyses.lineage(given.analysis.id);
        analyses.sweep_expired(10, Duration::from_secs(1 << 30));
        audit.list(&AuditFilter::default(), &given.page);
        audit.stream(&AuditFilter::default()).stream;
        audit.count(&AuditFilter::default());
        audit.sweep(10, Duration::from_secs(1 << 30));
        market_cache.create(&given.entries()[0]);
        market_cache.create_many(&given.entries());
        market_cache.find(given.entry.id);
        market_cache.list(&CacheFilter::default(), &given.page);
        market_cache.stream(&CacheFilter::default()).stream;
        market_cache.count(&CacheFilter::default());
        market_cache.exists(given.entry.id);
        market_cache.update(given.entry.id, &CacheEntryPatch::default().data_source(None));
        market_cache.delete(CacheEntryId::generate());
        market_cache.get(&given.entry.key());
        market_cache.get_with(&given.entry.key(), &mut |_: &CacheEntry| Ok(()));
        market_cache.put_with(&given.entry.key(), &|| Ok(document()), &PutOptions::ttl(Duration::from_secs(3600)));
        market_cache.clock();
        market_cache.get_many(&[given.entry.key()]);
        market_cache.get_stale(&given.entry.key());
        market_cache.put(&given.entry.key(), &document(), &PutOptions::ttl(Duration::from_secs(3600)));
        market_cache.put_many(&given.entries());
        market_cache.backfill_many(&given.past());
        market_cache.refresh(&given.entry.key(), Duration::from_secs(3600));
        market_cache.invalidate(&CacheSelector::ticker(&given.fresh()));
        market_cache.delete_key(&CacheKey::new(&given.fresh(), DataType::NEWS));
        market_cache.sweep_expired(10, Duration::from_secs(1 << 30));
        market_cache.list_stale(10, Duration::from_secs(1));
        market_cache.statistics(10);
        market_cache.size_of_ticker(&given.ticker);
        corporate_actions.create(&given.actions()[0]);
        corporate_actions.create_many(&given.actions());
        corporate_actions.upsert_many(&given.actions());
        corporate_actions.find(given.action.id);
        corporate_actions.for_ticker(&given.ticker, given.from, given.to);
        corporate_actions.list(&CorporateActionFilter::default(), &given.page);
        corporate_actions.stream(&CorporateActionFilter::default()).stream;
        corporate_actions.count(&CorporateActionFilter::default());
        corporate_actions.exists(given.action.id);
        corporate_actions.update(given.action.id, &CorporateActionPatch::default().data_source(None));
        corporate_actions.delete(CorporateActionId::generate());
        prices.create(&given.bars()[0]);
        prices.create_many(&given.bars());
        prices.upsert_many(&given.bars());
        prices.upsert_many_with(&given.bars(), &IngestOptions::new().max_jump(1.5));
        prices.copy_in(stream::iter(given.bars()).map(|bar| Ok(bar.into())).boxed(), &IngestOptions::new());
        prices.find(given.bar.id);
        prices.find_by_day(&given.ticker, given.from);
        prices.range(&given.ticker, given.from, given.to);
        prices.range_many(given.tickers(), given.from, given.to);
        prices.columns(given.tickers(), given.from, given.to);
        prices.series(&given.ticker, given.from, given.to);
        prices.tickers();
        repositories.record_batches(given.tickers(), given.from, given.to, ArrowOptions::default()).stream;
        prices.stream_range(given.tickers(), given.from, given.to).stream;
        prices.latest(given.tickers());
        prices.latest_of(&given.ticker);
        prices.nearest(given.tickers(), given.to, 30);
        prices.coverage(given.tickers());
        prices.gaps(&given.ticker, given.from, given.to, &Nyse);
        prices.resample(&given.ticker, given.from, given.to, Period::Month);
        prices.digest(&given.ticker);
        prices.adjusted(&given.ticker, given.from, given.to, given.to, Adjustment::Splits);
        prices.verify_adjustment(&given.ticker, given.from, given.to, 0.01);
        prices.list(&PriceBarFilter::default(), &given.page);
        prices.stream(&PriceBarFilter::default()).stream;
        prices.count(&PriceBarFilter::default());
        prices.exists(given.bar.id);
        prices.update(given.bar.id, &PriceBarPatch::default().data_source(None));
        prices.delete(BarId::generate());
        prices.delete_range(&given.fresh(), given.from, given.to);
        prices.range_as_of(given.tickers(), given.from, given.to, given.at);
        prices.revisions(&given.ticker, given.from);
        prices.sweep_revisions(10, Duration::from_secs(1 << 30));
        options.create(&given.quotes()[0]);
        options.create_many(&given.quotes());
        options.put_chain(&given.ticker, given.at, &[NewOptionQuote::new(contract(&given.ticker))]);
        options.upsert_many(&given.quotes());
        options.find(given.quote.id);
        options.chain(&given.ticker, given.at, &ChainFilter::default());
        options.latest_chain(&given.ticker, &ChainFilter::default());
        options.expirations(&given.ticker, given.at);
        options.contract_history(&contract(&given.ticker), given.at, given.at);
        options.list(&OptionQuoteFilter::default(), &given.page);
        options.stream(&OptionQuoteFilter::default()).stream;
        options.count(&OptionQuoteFilter::default());
        options.exists(given.quote.id);
        options.update(given.quote.id, &OptionQuotePatch::default().data_source(None));
        options.delete(OptionQuoteId::generate());
        options.sweep(10, &Retention::older_than(Duration::from_secs(1 << 30)));
    }
}

/// Polls a future so many times and then drops it; its result where it was ready before.
pub(super) async fn polled<T>(times: u32, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut polls = 0;
    std::future::poll_fn(move |context| {
        polls += 1;
        match future.as_mut().poll(context) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending if polls >= times => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Handle {
    Pool,
    Tenant,
    Unit,
}

/// Drops the call's future at its first await point, its second, ... until it ends before; returns how often it was
/// dropped.
async fn drop_everywhere(
    db: &Database,
    handle: Handle,
    name: &str,
    start: Start,
    given: &Given,
    acknowledged: &mut BTreeSet<String>,
) -> u32 {
    for polls in 1..MOST_POLLS {
        given.batch.lock().unwrap().take();
        let done = match handle {
            Handle::Pool => polled(polls, start(db.repositories(), given)).await,
            Handle::Tenant => {
                let scope = db.as_user(given.user.id);
                polled(polls, start(scope.repositories(), given)).await
            }
            Handle::Unit => {
                let unit = db.begin().await.expect("a transaction");
                let done = polled(polls, start(unit.repositories(), given)).await;
                match &done {
                    Some(Ok(())) => unit.commit().await.expect(name),
                    _ => drop(unit),
                }
                done
            }
        };
        match done {
            None => {}
            // Not a tenant's to do.
            Some(Err(Error::NotFound { .. } | Error::Denied { .. })) => return polls - 1,
            Some(Err(Error::Item { source, .. })) if matches!(*source, Error::NotFound { .. }) => {
                return polls - 1;
            }
            Some(Err(error)) => panic!("{name} by {handle:?}: {error:?}"),
            Some(Ok(())) => {
                let batch = given.batch.lock().unwrap().take();
                acknowledged.extend(batch.map(|ticker| ticker.to_string()));
                return polls - 1;
            }
        }
    }
    panic!("{name} by {handle:?}: more than {MOST_POLLS} await points");
}

/// Batches that are there in part: by a column that names the batch, how many rows there may be.
const IN_PART: &str = "
    SELECT 'users', split_part(email, '@', 2), count(*) FROM users WHERE email LIKE '%.example' GROUP BY 2 HAVING count(*) NOT IN (1, 5)
    UNION ALL SELECT 'portfolios', name, count(*) FROM portfolios WHERE name LIKE 'N%' GROUP BY 2 HAVING count(*) NOT IN (1, 5)
    UNION ALL SELECT 'positions', split_part(ticker, '.', 1), count(*) FROM positions WHERE ticker LIKE 'N%' GROUP BY 2 HAVING count(*) NOT IN (1, 5)
    UNION ALL SELECT 'analyses', ticker, count(*) FROM analysis_results WHERE ticker LIKE 'N%' GROUP BY 2 HAVING count(*) NOT IN (1, 5)
    UNION ALL SELECT 'entries', ticker, count(*) FROM market_data_cache WHERE ticker LIKE 'N%' GROUP BY 2 HAVING count(*) NOT IN (1, 5)
    UNION ALL SELECT 'actions', ticker, count(*) FROM corporate_actions WHERE ticker LIKE 'N%' GROUP BY 2 HAVING count(*) NOT IN (1, 5)
    UNION ALL SELECT 'quotes', ticker, count(*) FROM options_data WHERE ticker LIKE 'N%' GROUP BY 2 HAVING count(*) NOT IN (1, 5)
    UNION ALL SELECT 'bars', ticker, count(*) FROM price_history WHERE ticker LIKE 'N%' GROUP BY 2 HAVING count(*) NOT IN (1, 5)
    UNION ALL SELECT 'copies', p.id::text, count(s.id) FROM portfolios p LEFT JOIN positions s ON s.portfolio_id = p.id
        WHERE p.name = 'Copy' GROUP BY 2 HAVING count(s.id) <> 3
    UNION ALL SELECT 'events', b.ticker, count(*) FROM (SELECT DISTINCT ticker FROM price_history WHERE ticker LIKE 'N%') b
        LEFT JOIN events e ON e.ticker = b.ticker AND e.kind = 'prices_updated' GROUP BY 2 HAVING count(e.id) <> 1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_is_dropped_at_each_await_point_and_nothing_is_lost_or_stuck() {
    let db = crate::support::database(6).await;
    let given = Given::new(&db).await;
    for ticker in ["A", "B", "C"] {
        let held =
            NewPosition::new(given.other_portfolio.id, parsed(ticker), parsed::<Shares>("1"));
        db.positions().create(&held).await.expect("a position to be copied");
    }
    let calls = calls();
    let named: BTreeSet<String> = calls.iter().map(|(name, _)| (*name).to_owned()).collect();
    let all = methods(&REPOSITORIES.map(|(repository, _)| repository));
    let missing: Vec<_> = all.difference(&named).collect();
    assert!(missing.is_empty(), "not dropped: {missing:?}");

    // Others are at work meanwhile, and get the right answers.
    let stop = std::sync::Arc::new(AtomicBool::new(false));
    let others: Vec<_> = (0..3)
        .map(|_| {
            let (db, stop) = (Database::clone(&db), stop.clone());
            let (id, expected) = (given.bar.id, given.bar.clone());
            tokio::spawn(async move {
                let mut answers = 0;
                while !stop.load(Ordering::Relaxed) {
                    let bar = db.prices().find(id).await.expect("an answer").expect("the bar");
                    assert_eq!(
                        (bar.ticker, bar.close),
                        (expected.ticker.clone(), expected.close.clone())
                    );
                    answers += 1;
                }
                answers
            })
        })
        .collect();

    let (mut dropped, mut acknowledged) = (0, BTreeSet::new());
    for handle in [Handle::Pool, Handle::Tenant, Handle::Unit] {
        for (name, start) in &calls {
            dropped += drop_everywhere(&db, handle, name, *start, &given, &mut acknowledged).await;
        }
    }
    assert!(dropped > 1_000, "{dropped} futures were dropped");
    println!("{dropped} futures of {} methods were dropped", all.len());
    stop.store(true, Ordering::Relaxed);
    for other in others {
        assert!(other.await.expect("no panic") > 100);
    }

    let observer = raw(db.url()).await;
    eventually("nothing runs on the server", async || active(&observer).await == 0).await;
    let in_part = observer.query(IN_PART, &[]).await.expect("a look at the batches");
    let in_part: Vec<String> = in_part
        .iter()
        .map(|row| {
            format!(
                "{}: {} has {}",
                row.get::<_, &str>(0),
                row.get::<_, &str>(1),
                row.get::<_, i64>(2)
            )
        })
        .collect();
    assert!(in_part.is_empty(), "{in_part:?}");
    let stored =
        observer.query("SELECT DISTINCT ticker FROM price_history", &[]).await.expect("tickers");
    let stored: BTreeSet<String> = stored.iter().map(|row| row.get(0)).collect();
    assert!(!acknowledged.is_empty());
    let lost: Vec<_> = acknowledged.difference(&stored).collect();
    assert!(lost.is_empty(), "returned Ok and is not there: {lost:?}");
    let locks = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND locktype <> 'virtualxid'";
    eventually("no lock is held", async || {
        observer.query_one(locks, &[]).await.expect("the locks").get::<_, i64>(0) == 0
    })
    .await;
    eventually("the pool is whole", async || db.pool().state().in_use == 0).await;
    let all = futures_util::future::join_all((0..6).map(|_| db.connection())).await;
    assert!(all.iter().all(Result::is_ok));
}
