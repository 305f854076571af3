//! Results of analyses, as one of the things that are cached.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use diesel::prelude::QueryableByName;
use diesel::sql_types::{BigInt, Interval, Nullable, Timestamptz, Uuid as SqlUuid};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::Cache;
use super::cached::{Cached, Entry, Origin};
use super::database::DatabaseLevel;
use super::documents::until;
use super::fetched::{Fetch, Fetched};
use super::fetching::failed;
use super::kind::{Cacheable, Job, Read, Settled};
use super::lease::{RELEASE, keyed};
use super::packed::Encoded;
use super::policy::Policy;
use crate::analyses::{
    AnalysisKey, AnalysisRepository, AnalysisResult, Expiry, NewAnalysis, pg as stored,
};
use crate::error::{Entity, Error, Result, Unreadable};
use crate::postgres::PgConnection;
use crate::store::{EntryKey, EntryKeyRef, Session, tables};
use crate::types::{AnalysisType, Document, span};

/// How long a result without an expiry is kept in memory and Redis; then its row is read again.
const FOR_EVER: Duration = span::LONGEST;

/// What a row weighs in memory beside its documents, about.
const ROW: usize = 600;

/// Results of analyses. They have no place but their table: without the database nothing is stored.
pub(crate) enum Analyses {}

/// The result stays, its times are renewed.
const EXTEND: &str = "
    UPDATE analysis_results SET
        expires_at = now() + $2::INTERVAL, stale_until = now() + $3::INTERVAL
    WHERE id = $1 RETURNING *";

#[derive(QueryableByName)]
struct Now {
    #[diesel(sql_type = Timestamptz)]
    now: DateTime<Utc>,
}

fn entry(row: AnalysisResult, seen_at: DateTime<Utc>, loaded: Instant) -> Entry<AnalysisResult> {
    let fresh_for = row.expires_at.map_or(FOR_EVER, |expires| until(seen_at, expires));
    let window = row.stale_until.map_or(Duration::ZERO, |end| until(seen_at, end));
    let documents = [&row.metadata, &row.parameters].into_iter().flatten();
    let size = ROW + documents.map(|d| d.as_str().len()).sum::<usize>();
    Entry {
        version: row.version,
        revision: 0,
        loaded,
        age: until(row.calculated_at, seen_at),
        fresh_for,
        kept_for: fresh_for.max(window),
        source: None,
        quality: row.data_quality_score.clone(),
        size: size + row.summary.as_ref().map_or(0, String::len),
        value: Arc::new(row),
    }
}

/// A result whose text is not a valid document, because another program stored one too deep, is not kept in Redis.
fn read(
    row: AnalysisResult,
    seen_at: DateTime<Utc>,
    loaded: Instant,
    pack: bool,
) -> Read<AnalysisResult> {
    let entry = entry(row, seen_at, loaded);
    let body = pack.then(|| Document::encode(&*entry.value).ok()).flatten();
    Read { packed: body.map(|body| entry.pack(body)), entry }
}

/// What is to be stored under a key, by a policy.
fn prepared(key: &AnalysisKey, mut new: NewAnalysis, policy: &Policy) -> NewAnalysis {
    new.ticker = key.ticker.clone();
    new.analysis_type = key.analysis_type;
    new.portfolio_id = key.portfolio;
    new.parameters = key.parameters.clone();
    if new.expiry == Expiry::Never {
        new.expiry = Expiry::After(policy.jittered(policy.ttl));
    }
    if new.stale_for.is_zero() {
        new.stale_for = policy.stale_for;
    }
    new.data_quality_score = new.data_quality_score.or(policy.quality.clone());
    new
}

/// The result that a computation would have stored, had nobody come before it.
fn unstored(new: NewAnalysis, now: DateTime<Utc>) -> AnalysisResult {
    let stored = new.stored_at(now);
    AnalysisResult { expires_at: Some(now), version: 0, stale_until: None, ..stored }
}

/// The key of an address of this space.
fn key_of(address: EntryKeyRef<'_>) -> Result<AnalysisKey> {
    Ok(AnalysisKey {
        ticker: address.ticker.clone(),
        analysis_type: address.name.parse::<AnalysisType>()?,
        portfolio: address.portfolio,
        parameters: address.parameters.cloned(),
    })
}

/// Stores what a computation returned; `None` where its lease is no longer held.
async fn store(
    session: &Session,
    address: &EntryKey,
    token: Option<i64>,
    outcome: &Outcome,
) -> Result<Option<AnalysisResult>> {
    let scope = session.atomic().await?;
    if token.is_some() {
        let release = keyed(RELEASE, address.as_ref()).bind::<Nullable<BigInt>, _>(token);
        if scope.run(release).await? == 0 {
            return Ok(None);
        }
    }
    let row = match outcome {
        Outcome::New(new) => scope.write_optional(stored::insert(&[new.as_ref()])).await?,
        Outcome::Unchanged { previous, ttl, stale_for } => {
            let kept = (!stale_for.is_zero()).then(|| span::interval_of_sum(*ttl, *stale_for));
            let statement = diesel::sql_query(EXTEND)
                .bind::<SqlUuid, _>(previous.value.id)
                .bind::<Interval, _>(span::interval(*ttl))
                .bind::<Nullable<Interval>, _>(kept);
            scope.write_optional(statement).await?
        }
    };
    scope.commit().await?;
    Ok(row)
}

enum Outcome {
    New(Box<NewAnalysis>),
    Unchanged { previous: Arc<Entry<AnalysisResult>>, ttl: Duration, stale_for: Duration },
}

impl Outcome {
    /// # Errors
    /// `Invalid` of a field, or where the computation returns "unchanged" although there was no result
    /// before.
    fn new(
        key: &AnalysisKey,
        mut computed: Fetched<NewAnalysis>,
        policy: &Policy,
        previous: Option<Arc<Entry<AnalysisResult>>>,
    ) -> Result<Self> {
        let policy = computed.settle(policy)?;
        match (computed.value, previous) {
            (Some(new), _) => {
                let new = prepared(key, new, &policy);
                new.validate()?;
                Ok(Outcome::New(Box::new(new)))
            }
            (None, Some(previous)) => {
                let ttl = policy.jittered(policy.ttl);
                Ok(Outcome::Unchanged { previous, ttl, stale_for: policy.stale_for })
            }
            (None, None) => {
                Err(Error::invalid("computed", "unchanged, but there was no result before"))
            }
        }
    }
}

impl Cacheable for Analyses {
    type Value = AnalysisResult;
    type New = Fetched<NewAnalysis>;
    const TABLE: &'static str = "analysis_results";

    fn read<'a>(
        connection: &'a PgConnection,
        address: EntryKeyRef<'a>,
        pack: bool,
    ) -> BoxFuture<'a, Result<Option<Read<AnalysisResult>>>> {
        async move {
            let loaded = Instant::now();
            let found = stored::newest(connection, &key_of(address)?).await?;
            Ok(found.map(|(row, seen_at)| read(row, seen_at, loaded, pack)))
        }
        .boxed()
    }

    fn unpack(packed: Encoded, loaded: Instant) -> Result<Entry<AnalysisResult>> {
        Entry::unpack(packed, loaded, |packed| {
            packed.body.decode_column(Self::TABLE, Unreadable::UNKNOWN, "*")
        })
    }

    fn settle<'a>(
        database: Option<&'a DatabaseLevel>,
        address: &'a EntryKey,
        token: Option<i64>,
        new: Fetched<NewAnalysis>,
        policy: &'a Policy,
        previous: Option<Arc<Entry<AnalysisResult>>>,
        pack: bool,
    ) -> BoxFuture<'a, Result<Settled<AnalysisResult>>> {
        async move {
            let unavailable = || Error::unavailable("results need the database");
            let database = database.ok_or_else(unavailable)?;
            let outcome = Outcome::new(&key_of(address.as_ref())?, new, policy, previous)?;
            let loaded = Instant::now();
            let session = &database.session.about(&tables::ANALYSIS_RESULTS);
            if let Some(row) = database.write(store(session, address, token, &outcome)).await? {
                // Stored in the transaction that has just ended: it is as old as that.
                let seen_at = row.updated_at;
                return Ok(Settled {
                    read: read(row, seen_at, loaded, pack),
                    is_current: true,
                    failure: None,
                });
            }
            let row = match outcome {
                Outcome::New(new) => {
                    let now = diesel::sql_query("SELECT now() AS now");
                    let now: Now = database.run(session.fetch_one(now)).await?;
                    unstored(*new, now.now)
                }
                Outcome::Unchanged { previous, .. } => (*previous.value).clone(),
            };
            let seen_at = row.updated_at;
            let read = read(row, seen_at, loaded, false);
            Ok(Settled { read, is_current: false, failure: None })
        }
        .boxed()
    }
}

/// The computation with its types put away: futures that hold them are not known to be `Send`.
fn job(compute: impl Fetch<AnalysisResult, NewAnalysis>) -> Job<Analyses> {
    Box::new(|previous| {
        async move { compute(previous).await.map(Into::into).map_err(Into::into) }.boxed()
    })
}

/// See [`RepositorySet::get_or_compute`](crate::RepositorySet::get_or_compute).
pub(crate) async fn get_or_compute(
    session: &Session,
    key: &AnalysisKey,
    policy: &Policy,
    compute: impl Fetch<AnalysisResult, NewAnalysis>,
) -> Result<Cached<AnalysisResult>> {
    let job = job(compute);
    match session
        .cache()
        .and_then(|copies| copies.as_any().downcast_ref::<Cache>())
        .filter(|cache| cache.has_database())
    {
        Some(cache) => cache.get_or_compute(key, policy, job).await,
        None => {
            let computed = within(session, key, policy, job).await;
            session.settled(computed).await
        }
    }
}

/// As [`get_or_compute`], on any implementation of the repository: without levels, leases or stale results.
pub(crate) async fn get_or_compute_by(
    analyses: &dyn AnalysisRepository,
    key: &AnalysisKey,
    policy: &Policy,
    compute: impl Fetch<AnalysisResult, NewAnalysis>,
) -> Result<Cached<AnalysisResult>> {
    policy.validate()?;
    let given = |row: AnalysisResult, origin| {
        // Of whose clock the row's times are is not known: its age counts from its last change.
        let (seen_at, loaded) = (row.updated_at, Instant::now());
        Cached::new(Arc::new(entry(row, seen_at, loaded)), origin, loaded)
    };
    if let Some(row) = analyses.latest_fresh(key).await? {
        return Ok(given(row, Origin::Database));
    }
    let computed = job(compute)(None).await.map_err(failed)?;
    match Outcome::new(key, computed, policy, None)? {
        Outcome::New(new) => Ok(given(analyses.create(&new).await?, Origin::Fetched)),
        Outcome::Unchanged { previous, .. } => {
            Ok(Cached::new(previous, Origin::Stale, Instant::now()))
        }
    }
}

impl Cache {
    /// As the function of this name, through the levels.
    async fn get_or_compute(
        &self,
        key: &AnalysisKey,
        policy: &Policy,
        job: Job<Analyses>,
    ) -> Result<Cached<AnalysisResult>> {
        self.core.get_or::<Analyses>(key.into(), policy, job).await
    }

    /// Whether results can be stored.
    fn has_database(&self) -> bool {
        self.core.database.is_some()
    }
}

/// As [`Cache::get_or_compute`], within a transaction: what it does not see is computed and written there;
/// nothing is shared with anybody before the commit.
async fn within(
    session: &Session,
    key: &AnalysisKey,
    policy: &Policy,
    job: Job<Analyses>,
) -> Result<Cached<AnalysisResult>> {
    policy.validate()?;
    let loaded = Instant::now();
    let found = stored::newest(&*session.connection().await?, key).await;
    let found = found.map_err(|error| session.named(error))?;
    let previous = found.map(|(row, seen_at)| Arc::new(entry(row, seen_at, loaded)));
    let now = Instant::now();
    if let Some(fresh) = previous.clone().filter(|entry| entry.is_fresh_at(now)) {
        return Ok(Cached::new(fresh, Origin::Database, now));
    }
    EntryKeyRef::from(key).check_storable()?;
    let given = previous.clone().map(|entry| Cached::new(entry, Origin::Stale, now));
    let new = job(given).await.map_err(failed)?;
    let outcome = Outcome::new(key, new, policy, previous)?;
    let address = EntryKeyRef::from(key).to_owned();
    let row = store(session, &address, None, &outcome).await?;
    let row = row.ok_or_else(|| Error::not_found(Entity::AnalysisResult, &key.ticker))?;
    let seen_at = row.updated_at;
    Ok(Cached::new(Arc::new(entry(row, seen_at, Instant::now())), Origin::Fetched, Instant::now()))
}
