//! Every setting and every argument that is a duration, of every length. The list comes from the source, so that a new
//! one is tried or fails here by name.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::api::*;
use buffetbot_db::testing::TestDatabase;

use crate::support::{GENEROUS, database, number, parsed, pid, repository};

const DAY: Duration = Duration::from_secs(86_400);

const SPANS: [Duration; 7] = [
    Duration::ZERO,
    Duration::from_nanos(1),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_secs(40 * 86_400),
    Duration::from_secs(100 * 365 * 86_400),
    Duration::MAX,
];

/// What is no setting: what the crate reports, and what it hands on inside.
const NO_SETTINGS: [&str; 17] = [
    "cache/cached::age",
    "cache/cached::fresh_for",
    "cache/cached::is_usable_at",
    "cache/cached::kept_for",
    "cache/database::fail",
    "cache/packed::age",
    "cache/packed::aged",
    "cache/packed::fresh_for",
    "cache/packed::kept_for",
    "cache/sync::is_current",
    "config/url::connect_timeout",
    "config/statements::elapsed",
    "postgres/making::new",
    "postgres/pg_connection::answer_timeout",
    "postgres/pg_connection::slow_query",
    "postgres/reported::elapsed",
    "store/retention::age",
];

/// What zero is refused for. Everywhere else it has a meaning: none, at once, always.
const NEVER_ZERO: [&str; 12] = [
    "config::pool_timeout",
    "config::connect_timeout",
    "cache/policy::ttl",
    "cache/policy::negative_ttl",
    "cache/policy::hard_timeout",
    "cache/options::poll_every",
    "cache/options::lease",
    "cache/options::database_timeout",
    "cache/redis/options::timeout",
    "market_cache/entry::ttl",
    "analyses/result::ttl",
    "market_cache/repository::refresh",
];

fn sources(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("the source") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs") {
            files.push(path);
        }
    }
}

/// The names of what is public and takes a duration: fields, setters, functions and the methods of traits.
fn named(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().starts_with("//")).collect();
    let mut in_trait = false;
    for (i, line) in lines.iter().enumerate() {
        in_trait = (in_trait || line.starts_with("pub trait ")) && *line != "}";
        let line = line.trim();
        let open = line.strip_prefix("pub ").or(in_trait.then_some(line));
        let Some(rest) = open else { continue };
        let rest = rest.strip_prefix("async ").unwrap_or(rest);
        if let Some(function) = rest.strip_prefix("fn ") {
            let signature = std::iter::once(function).chain(lines[i + 1..].iter().copied());
            let signature = signature.collect::<Vec<_>>().join(" ");
            let arguments = signature.split(['{', ';']).next().unwrap_or_default();
            let arguments = arguments.split("->").next().unwrap_or_default();
            if arguments.contains("Duration") {
                names.insert(function.split(['(', '<']).next().unwrap_or_default().to_owned());
            }
        } else if let Some((name, kind)) = rest.split_once(": ")
            && ["Duration,", "Option<Duration>,"].contains(&kind)
        {
            names.insert(name.to_owned());
        }
    }
    names
}

fn settings() -> BTreeSet<String> {
    let root = repository("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut settings = BTreeSet::new();
    for file in files {
        let place = file.strip_prefix(&root).expect("below src").with_extension("");
        let place = place.to_str().expect("UTF-8");
        if place.contains("/tests/") {
            continue;
        }
        let place = place.strip_suffix("/mod").unwrap_or(place);
        let text = std::fs::read_to_string(&file).expect("a source file");
        settings.extend(named(&text).into_iter().map(|name| format!("{place}::{name}")));
    }
    for name in NO_SETTINGS {
        assert!(settings.remove(name), "{name} is gone");
    }
    assert!(settings.len() > 35, "{settings:?}");
    settings
}

fn key() -> CacheKey {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let ticker = format!("D{}", NEXT.fetch_add(1, Ordering::Relaxed));
    CacheKey::new(&parsed::<Ticker>(&ticker), DataType::FUNDAMENTALS)
}

fn gives(value: Fetched<u32>) -> impl Fetch<u32> {
    move |_| async { Ok::<_, BoxError>(value) }
}

/// Two uses of a pool.
async fn connected(db: &TestDatabase, set: impl FnOnce(Config) -> Config) -> Result<()> {
    let config = Config::new(db.url())?.pool_size(1).pool_max_overflow(1);
    let db = Database::connect(set(config)).await?;
    for _ in 0..2 {
        assert_eq!(number(&*db.connection().await?, "SELECT 1::bigint AS n").await?, 1);
    }
    Ok(())
}

/// Every way through a cache with this policy.
async fn cached(db: &Database, policy: Policy) -> Result<()> {
    for policy in [policy.clone(), policy.clone().eager(0.5)] {
        for has_database in [true, false] {
            let db = db.clone().with_cache(CacheOptions::default().database(has_database))?;
            let (cache, key) = (db.cache(), key());
            let fails = |_| async { Err::<u32, BoxError>("down".into()) };
            match cache.get_or_fetch::<u32>(&key, &policy, fails).await {
                Err(Error::Fetch { .. } | Error::Timeout { .. }) => {}
                other => return Err(other.expect_err("nothing was fetched")),
            }
            for n in 0..2 {
                match cache.get_or_fetch::<u32>(&key, &policy, gives(Fetched::new(n))).await {
                    Ok(_)
                    | Err(Error::BackingOff { .. } | Error::Timeout { .. } | Error::Fetch { .. }) =>
                        {}
                    Err(other) => return Err(other),
                }
            }
            cache.put(&key, 3_u32, &policy).await?;
            cache.put(&key, None::<u32>, &policy).await?;
            for n in [Some(4_u32), None] {
                let fetch = move |_| async move { Ok::<_, BoxError>(n) };
                match cache.get_or_fetch::<Option<u32>>(&key, &policy, fetch).await {
                    Ok(_) | Err(Error::BackingOff { .. } | Error::Timeout { .. }) => {}
                    Err(other) => return Err(other),
                }
            }
            let many = |keys: Vec<CacheKey>| async move {
                Ok::<_, BoxError>(keys.into_iter().map(|key| (key, Some(5_u32))).collect())
            };
            cache.get_many_or_fetch::<Option<u32>>(&[key], &policy, many).await?;
        }
    }
    let key = AnalysisKey::new(&parsed::<Ticker>("AAPL"), AnalysisType::Value);
    let compute =
        |_| async { Ok::<_, BoxError>(NewAnalysis::new(parsed("AAPL"), AnalysisType::Value)) };
    match db.get_or_compute(&key, &policy, compute).await {
        Err(error) if !matches!(error, Error::Timeout { .. }) => Err(error),
        _ => Ok(()),
    }
}

/// A cache of these levels, in use.
async fn levels(db: &Database, options: CacheOptions) -> Result<()> {
    let db = db.clone().with_cache(options)?;
    let key = key();
    for n in 0..2 {
        db.cache().get_or_fetch::<u32>(&key, &Policy::default(), gives(Fetched::new(n))).await?;
    }
    Ok(())
}

/// A transaction that finds out, within this time, what became of a COMMIT under which its backend ends.
async fn unanswered(db: &Database, span: Duration) -> Result<()> {
    let options = TransactionOptions::default().resolve_within(span);
    let unit = db.begin_with(options).await?;
    let ends = "CREATE TABLE ends (id int);
        CREATE FUNCTION ends() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(60); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER ends AFTER INSERT ON ends DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION ends();
        INSERT INTO ends VALUES (1)";
    crate::support::batch(&*unit.connection().await?, ends).await?;
    match unit.commit().await {
        Err(Error::Unavailable { .. }) => Ok(()),
        Err(Error::OutcomeUnknown { receipt: Some(_), .. }) if span <= DAY => Ok(()),
        other => panic!("{span:?}: {other:?}"),
    }
}

/// Uses the setting, or the method, with this span.
async fn tried(db: &TestDatabase, name: &str, span: Duration) -> Result<()> {
    let policy = || Policy::ttl(DAY);
    let options = CacheOptions::default;
    let analysis = || NewAnalysis::new(parsed("MSFT"), AnalysisType::Value);
    let document = Document::encode(&1)?;
    match name {
        "config::pool_timeout" => connected(db, |c| c.pool_timeout(span)).await,
        "config::pool_recycle" => connected(db, |c| c.pool_recycle(Some(span))).await,
        "config::ping_after" => connected(db, |c| c.ping_after(span)).await,
        "config::connect_timeout" => {
            // Whoever cannot connect is tried again until the pool's limit.
            let patience = if span < DAY { DAY / 86_400 } else { DAY };
            connected(db, |c| c.connect_timeout(span).pool_timeout(patience)).await
        }
        "config::statement_timeout" => connected(db, |c| c.statement_timeout(span)).await,
        "config::answer_timeout" => connected(db, |c| c.answer_timeout(span)).await,
        "config::lock_timeout" => connected(db, |c| c.lock_timeout(span)).await,
        "config::idle_in_transaction_timeout" => {
            connected(db, |c| c.idle_in_transaction_timeout(span)).await
        }
        "config::slow_query" => connected(db, |c| c.slow_query(Some(span))).await,
        "cache/policy::ttl" => {
            cached(db, Policy::ttl(span)).await?;
            cached(db, Policy::ttl(span).stale_for(span)).await
        }
        "cache/policy::stale_for" => cached(db, policy().stale_for(span)).await,
        "cache/policy::negative_ttl" => cached(db, policy().negative_ttl(span)).await,
        "cache/policy::soft_timeout" => {
            let stale = Policy::ttl(Duration::from_nanos(1)).stale_for(DAY);
            cached(db, stale.soft_timeout(span)).await
        }
        "cache/policy::hard_timeout" => {
            cached(db, policy().hard_timeout(span).soft_timeout(span)).await
        }
        "cache/policy::retry_after" => cached(db, policy().retry_after(span)).await,
        "cache/policy::retry_at_most" => cached(db, policy().retry_at_most(span)).await,
        "cache/options::poll_every" => levels(db, options().poll_every(span)).await,
        "cache/options::max_staleness" => levels(db, options().max_staleness(span)).await,
        "cache/options::lease" => levels(db, options().lease(span)).await,
        "cache/options::database_timeout" => levels(db, options().database_timeout(span)).await,
        "cache/redis/options::timeout" => {
            let redis = RedisOptions::new("redis://127.0.0.1:1")?;
            levels(db, options().redis(redis.timeout(span))).await
        }
        "cache/fetched::ttl" => {
            let cache = db.cache();
            let fetch = gives(Fetched::new(1).ttl(span));
            cache.get_or_fetch::<u32>(&key(), &policy().stale_for(span), fetch).await?;
            let own = Policy::ttl(span.max(Duration::from_nanos(1))).stale_for(span);
            let fetch = gives(Fetched::new(1).policy(own));
            cache.get_or_fetch::<u32>(&key(), &policy(), fetch).await.map(drop)
        }
        "market_cache/entry::ttl" => {
            let options = PutOptions::ttl(span).stale_for(span);
            db.market_cache().put(&key(), &document, &options).await.map(drop)
        }
        "market_cache/entry::stale_for" => {
            let options = PutOptions::ttl(DAY).stale_for(span);
            let new = NewCacheEntry::new(key(), document, options);
            db.market_cache().put_many(&[new]).await.map(drop)
        }
        "analyses/result::ttl" => {
            db.analyses().create(&analysis().ttl(span).stale_for(span)).await.map(drop)
        }
        "analyses/result::stale_for" => {
            db.analyses().create(&analysis().ttl(DAY).stale_for(span)).await.map(drop)
        }
        "analyses/key::older_than" => {
            let selector = AnalysisSelector { older_than: Some(span), ..Default::default() };
            db.analyses().invalidate(&selector).await.map(drop)
        }
        "store/retention::older_than" => {
            let retention = Retention::older_than(span);
            db.options().sweep(10, &retention).await?;
            db.options().sweep(10, &retention.keep_last_of_day()).await.map(drop)
        }
        "market_cache/repository::refresh" => {
            let key = key();
            db.market_cache().put(&key, &document, &PutOptions::ttl(DAY)).await?;
            db.market_cache().refresh(&key, span).await.map(drop)
        }
        "market_cache/repository::sweep_expired" => {
            db.market_cache().sweep_expired(10, span).await.map(drop)
        }
        "market_cache/repository::list_stale" => {
            db.market_cache().list_stale(10, span).await.map(drop)
        }
        "users/repository::erase_inactive" => db.users().erase_inactive(10, span).await.map(drop),
        "audit/repository::sweep" => db.audit().sweep(10, span).await.map(drop),
        "prices/repository::sweep_revisions" => {
            db.prices().sweep_revisions(10, span).await.map(drop)
        }
        "analyses/repository::sweep_expired" => {
            db.analyses().sweep_expired(10, span).await.map(drop)
        }
        "postgres/transaction_options::resolve_within" => unanswered(db, span).await,
        "database/event_log::sweep" => db.events().sweep(10, span).await.map(drop),
        _ => panic!("a new setting that is not tried: {name}"),
    }
}

#[tokio::test]
async fn c1_every_setting_takes_or_refuses_every_length() {
    let db = database(4).await;
    let mut wrong = Vec::new();
    for name in settings() {
        let refused = NEVER_ZERO.contains(&&*name);
        for span in SPANS {
            // A limit that has passed before anything can be done is an error of its own kind.
            let is_short = span <= Duration::from_millis(1);
            match tried(&db, &name, span).await {
                Ok(()) if !(refused && span.is_zero()) => {}
                Err(Error::Invalid { field, .. }) if refused && span.is_zero() => {
                    assert!(name.ends_with(&*field) || field == "ttl", "{name}: {field}");
                }
                Err(Error::Config { variable, .. }) if refused && span.is_zero() => {
                    assert!(variable.to_lowercase().ends_with(name.rsplit("::").next().unwrap()));
                }
                Err(
                    Error::Busy { .. }
                    | Error::Unavailable { .. }
                    | Error::OutcomeUnknown { .. }
                    | Error::Timeout { .. },
                ) if is_short && !span.is_zero() && name.contains("timeout") => {}
                other => wrong.push(format!("{name} of {span:?}: {other:?}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn c1_limits_of_the_server_are_rounded_up_and_end_with_its_longest() {
    let db = database(1).await;
    for (span, milliseconds) in
        SPANS.into_iter().zip([0, 1, 1, 1, 2_147_483_647, 2_147_483_647, 2_147_483_647])
    {
        let config = Config::new(db.url()).expect("a URL");
        // The one that is short has no statement of this test end.
        let config = config.statement_timeout(span.max(DAY)).lock_timeout(span);
        let other = Database::connect(config.idle_in_transaction_timeout(span)).await;
        let other = other.expect("connected");
        let connection = other.connection().await.expect("a connection");
        for name in ["lock_timeout", "idle_in_transaction_session_timeout"] {
            let sql = format!("SELECT setting::bigint AS n FROM pg_settings WHERE name = '{name}'");
            assert_eq!(number(&connection, &sql).await.expect("read"), milliseconds, "{name}");
        }
    }
    let config = Config::new(db.url()).expect("a URL");
    let short = Database::connect_lazy(config.statement_timeout(Duration::from_micros(900)));
    let connection = short.expect("a pool").connection().await.expect("a connection");
    let slow = number(&connection, "SELECT pg_sleep(30) IS NULL, 1::bigint AS n").await;
    assert!(matches!(slow, Err(Error::Timeout { limit: Limit::Statement })), "{slow:?}");
}

#[tokio::test]
async fn c1_what_is_never_recycled_stays() {
    let db = database(1).await;
    for age in [Some(Duration::MAX), None] {
        let config = Config::new(db.url()).expect("a URL").pool_size(1).pool_max_overflow(0);
        let other = Database::connect(config.pool_recycle(age)).await.expect("connected");
        let first = pid(&other.connection().await.expect("a connection")).await;
        assert_eq!(pid(&other.connection().await.expect("the same")).await, first);
    }
}

#[tokio::test]
async fn c1_what_is_kept_for_ever_is_not_swept_for_its_age() {
    let db = database(1).await;
    let old = NewAnalysis::new(parsed("AAPL"), AnalysisType::Value)
        .calculated_at(parsed("1500-01-01T00:00:00Z"))
        .expires_at(parsed("1500-01-02T00:00:00Z"));
    let old = db.analyses().create(&old).await.expect("saved");
    assert_eq!(db.analyses().sweep_expired(10, Duration::MAX).await.expect("swept").deleted, 0);
    assert!(db.analyses().find(old.id).await.expect("read").is_some());
    assert_eq!(db.analyses().sweep_expired(10, DAY).await.expect("swept").deleted, 1);
}

#[tokio::test]
async fn c1_sizes_without_a_limit_are_taken() {
    let db = database(2).await;
    let config = Config::new(db.url()).expect("a URL");
    let config = config.pool_size(u32::MAX).pool_max_overflow(u32::MAX).statement_cache(usize::MAX);
    let other = Database::connect(config).await.expect("connected");
    let connection = other.connection().await.expect("a connection");
    for _ in 0..2 {
        assert_eq!(number(&connection, "SELECT 1::bigint AS n").await.expect("read"), 1);
    }
    levels(&other, CacheOptions::default().memory(u64::MAX)).await.expect("a cache");
    let consumer = other.events().consumer("c1", EventFilter::default()).await;
    let mut consumer = consumer.expect("registered").batch(usize::MAX);
    let bar = NewPriceBar::new(parsed("AAPL"), parsed::<TradingDay>("2024-01-02"), parsed("10"));
    other.prices().upsert_many(&[bar]).await.expect("stored");
    let delivery = tokio::time::timeout(GENEROUS, consumer.next()).await.expect("in time");
    delivery.expect("read").commit().await.expect("committed");
    let page = PageRequest::first(u32::MAX);
    other.users().list(&UserFilter::default(), &page).await.expect("read");
    assert_eq!(other.analyses().sweep_expired(u32::MAX, DAY).await.expect("swept").deleted, 0);
    other.market_cache().list_stale(u32::MAX, DAY).await.expect("read");
    other.market_cache().statistics(u32::MAX).await.expect("read");
}
