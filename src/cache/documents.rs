//! Documents of providers, as one of the things that are cached.

use std::marker::PhantomData;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use diesel::prelude::QueryableByName;
use diesel::sql_types::{
    Array, BigInt, Interval, Jsonb, Nullable, Numeric, Text, Timestamptz, Uuid as SqlUuid,
};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::cached::Entry;
use super::database::{DatabaseLevel, is_down};
use super::fetched::Fetched;
use super::kind::{Cacheable, Read, Settled};
use super::lease::{Keyed, keyed};
use super::packed::Encoded;
use super::policy::Policy;
use crate::error::{Error, Result, Unreadable};
use crate::market_cache::{CacheKey, PutOptions, upsert};
use crate::postgres::PgConnection;
use crate::store::{EntryKey, EntryKeyRef};
use crate::types::{CacheEntryId, Document, Listed, Tag, UnitInterval, span, tag};

/// A type that can be cached as a document: any that serde can write and read.
pub trait CacheValue: Serialize + DeserializeOwned + Send + Sync + 'static {}

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> CacheValue for T {}

/// Documents that are read as `T`.
pub(crate) struct Documents<T>(PhantomData<fn() -> T>);

/// With the id, which errors name.
const READ: &str = "
    SELECT id, data, data_source, data_quality_score, version, revision,
        cached_at, expires_at, stale_until, now() AS seen_at
    FROM market_data_cache
    WHERE ticker = $1 AND data_type = $2
        AND parameters_key = cache_parameters_key($3) AND parameters IS NOT DISTINCT FROM $3";

#[derive(QueryableByName)]
pub(super) struct Row {
    #[diesel(sql_type = Jsonb)]
    data: Document,
    #[diesel(sql_type = Nullable<Text>)]
    data_source: Option<String>,
    #[diesel(sql_type = Nullable<Numeric>)]
    data_quality_score: Option<UnitInterval>,
    #[diesel(sql_type = BigInt)]
    version: i64,
    #[diesel(sql_type = BigInt)]
    revision: i64,
    #[diesel(sql_type = Timestamptz)]
    cached_at: DateTime<Utc>,
    #[diesel(sql_type = Timestamptz)]
    expires_at: DateTime<Utc>,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    stale_until: Option<DateTime<Utc>>,
    #[diesel(sql_type = Timestamptz)]
    seen_at: DateTime<Utc>,
}

/// The span from one time to a later one; none where it is not later.
pub(super) fn until(from: DateTime<Utc>, to: DateTime<Utc>) -> Duration {
    (to - from).to_std().unwrap_or_default()
}

impl Row {
    pub fn packed(self) -> Encoded {
        let kept_until = self.stale_until.map_or(self.expires_at, |s| s.max(self.expires_at));
        Encoded {
            version: self.version,
            revision: self.revision,
            age: until(self.cached_at, self.seen_at),
            fresh_for: until(self.seen_at, self.expires_at),
            kept_for: until(self.seen_at, kept_until),
            source: self.data_source.map(Into::into),
            quality: self.data_quality_score,
            body: self.data,
        }
    }
}

/// The document is stored by the rows of `held`, over a row that is there `only_where` that holds.
fn store(held: &str, only_where: &str) -> String {
    let document = upsert(
        "SELECT $7, $2, $3, $4, $8, $9, $10, now(), now() + $12::INTERVAL, now() + $13::INTERVAL, $11
        FROM held",
        &format!("{only_where} RETURNING version, revision"),
    );
    format!("WITH held AS ({held}) {document}")
}

/// The lease is given up and the document stored by one statement; only the lease's holder stores, and over a row that was
/// written since the lease was taken not even that.
static STORE_LEASED: LazyLock<String> = LazyLock::new(|| {
    store(
        "DELETE FROM cache_leases WHERE space = $1 AND ticker = $2 AND name = $3
            AND parameters_key = cache_parameters_key($4) AND portfolio_id IS NOT DISTINCT FROM $5::UUID
            AND token = $6 RETURNING 1",
        "WHERE stored.version < $6",
    )
});

/// Without a token anybody stores.
static STORE: LazyLock<String> =
    LazyLock::new(|| store("SELECT $1::TEXT, $5::UUID, $6::BIGINT", ""));

/// The document stays, its times are renewed.
const EXTEND: &str = "
    WITH held AS (
        DELETE FROM cache_leases WHERE space = $1 AND ticker = $2 AND name = $3
            AND parameters_key = cache_parameters_key($4)
            AND portfolio_id IS NOT DISTINCT FROM $5::UUID AND token = $6 RETURNING 1
    )
    UPDATE market_data_cache c SET
        cached_at = now(), expires_at = now() + $7::INTERVAL, stale_until = now() + $8::INTERVAL
    FROM held
    WHERE c.ticker = $2 AND c.data_type = $3 AND c.parameters_key = cache_parameters_key($4)
        AND c.parameters IS NOT DISTINCT FROM $4 AND c.version < $6
    RETURNING version, revision";

#[derive(QueryableByName)]
struct Stamp {
    #[diesel(sql_type = BigInt)]
    version: i64,
    #[diesel(sql_type = BigInt)]
    revision: i64,
}

/// A document on its way into the levels.
struct PendingWrite<T> {
    value: Arc<T>,
    /// `None`: the row has it already.
    body: Option<Document>,
    ttl: Duration,
    stale_for: Duration,
    source: Option<String>,
    quality: Option<UnitInterval>,
    tags: Vec<Tag>,
    size: usize,
    revision: i64,
}

impl<T: CacheValue> PendingWrite<T> {
    /// # Errors
    /// `Invalid`: the value is not JSON, or the policy's source is too long; or the fetch returns "unchanged"
    /// although there was no value before.
    fn new(mut new: Fetched<T>, policy: &Policy, previous: Option<&Entry<T>>) -> Result<Self> {
        let policy = new.settle(policy)?;
        let Some(value) = new.value else {
            let Some(previous) = previous else {
                return Err(Error::invalid("fetched", "unchanged, but there was no value before"));
            };
            return Ok(PendingWrite {
                value: previous.value.clone(),
                body: None,
                ttl: policy.jittered(policy.ttl),
                stale_for: policy.stale_for,
                source: previous.source.as_deref().map(Into::into),
                quality: previous.quality.clone(),
                tags: Vec::new(),
                size: previous.size,
                revision: previous.revision,
            });
        };
        let body = Document::encode(&value)?;
        body.check_storable("data")?;
        let is_negative = body.as_str() == "null";
        let ttl = policy.jittered(if is_negative { policy.negative_ttl } else { policy.ttl });
        let options = PutOptions { source: policy.source, ..PutOptions::ttl(ttl) };
        options.validate()?;
        Ok(PendingWrite {
            value: Arc::new(value),
            size: body.as_str().len(),
            body: Some(body),
            ttl,
            // That there is nothing is not held on to when it might be wrong.
            stale_for: if is_negative { Duration::ZERO } else { policy.stale_for },
            source: options.source,
            quality: policy.quality,
            tags: tag::sorted(&policy.tags),
            revision: 0,
        })
    }

    async fn store(
        &self,
        database: &DatabaseLevel,
        address: &EntryKey,
        token: Option<i64>,
    ) -> Result<Option<Stamp>> {
        let kept =
            (!self.stale_for.is_zero()).then(|| span::interval_of_sum(self.ttl, self.stale_for));
        let with = |statement| -> Keyed<'_> {
            keyed(statement, address.as_ref()).bind::<Nullable<BigInt>, _>(token)
        };
        let statement = match &self.body {
            Some(body) => with(if token.is_some() { &*STORE_LEASED } else { &*STORE })
                .bind::<SqlUuid, _>(CacheEntryId::generate())
                .bind::<Jsonb, _>(body)
                .bind::<Nullable<Text>, _>(self.source.as_deref())
                .bind::<Nullable<Numeric>, _>(self.quality.as_ref())
                .bind::<Array<Text>, _>(&self.tags),
            None => with(EXTEND),
        };
        let statement = statement
            .bind::<Interval, _>(span::interval(self.ttl))
            .bind::<Nullable<Interval>, _>(kept);
        let stamp = database.write(database.session.write_optional(statement)).await?;
        Ok(stamp)
    }

    fn settled(
        self,
        stamp: Option<Stamp>,
        started: Instant,
        is_current: bool,
        pack: bool,
    ) -> Settled<T> {
        let (version, revision) = stamp.map_or((0, self.revision), |s| (s.version, s.revision));
        let entry = Entry {
            value: self.value,
            version,
            revision,
            loaded: started,
            age: Duration::ZERO,
            fresh_for: self.ttl,
            kept_for: span::sum(self.ttl, self.stale_for),
            source: self.source.map(Into::into),
            quality: self.quality,
            size: self.size,
        };
        let body = match (pack, self.body) {
            (false, _) => None,
            (true, Some(body)) => Some(body),
            // It is stored: what cannot be written as text is not kept in Redis.
            (true, None) => Document::encode(&*entry.value).ok(),
        };
        let packed = body.map(|body| entry.pack(body));
        Settled { read: Read { entry, packed }, is_current, failure: None }
    }
}

const READ_MANY: &str = "
    SELECT wanted.n, c.id, c.data, c.data_source, c.data_quality_score, c.version, c.revision,
        c.cached_at, c.expires_at, c.stale_until, now() AS seen_at
    FROM unnest($1::TEXT[], $2::TEXT[], $3::JSONB[]) WITH ORDINALITY
        AS wanted (ticker, data_type, parameters, n)
    JOIN market_data_cache c ON c.ticker = wanted.ticker AND c.data_type = wanted.data_type
        AND c.parameters_key = cache_parameters_key(wanted.parameters)
        AND c.parameters IS NOT DISTINCT FROM wanted.parameters";

#[derive(QueryableByName)]
struct Numbered {
    #[diesel(sql_type = BigInt)]
    n: i64,
    #[diesel(embed)]
    row: Row,
}

impl<T: CacheValue> Documents<T> {
    /// The rows of these keys, in their order, in one round trip. One that cannot be read counts as absent: it is fetched
    /// again.
    pub async fn read_many(
        database: &DatabaseLevel,
        keys: &[&CacheKey],
    ) -> Result<Vec<Option<Encoded>>> {
        let statement = diesel::sql_query(READ_MANY)
            .bind::<Array<Text>, _>(keys.iter().map(|k| &k.ticker).collect::<Vec<_>>())
            .bind::<Array<Text>, _>(keys.iter().map(|k| &k.data_type).collect::<Vec<_>>())
            .bind::<Array<Nullable<Jsonb>>, _>(
                keys.iter().map(|k| k.parameters.as_ref()).collect::<Vec<_>>(),
            );
        let rows: Listed<Numbered> = database.session.fetch_list(statement).await?;
        rows.unreadable.iter().for_each(|_| database.counters.corrupt.one());
        let mut found = vec![None; keys.len()];
        for Numbered { n, row } in rows {
            // WITH ORDINALITY counts from 1.
            if let Some(place) = usize::try_from(n - 1).ok().and_then(|i| found.get_mut(i)) {
                *place = Some(row.packed());
            }
        }
        Ok(found)
    }
}

impl<T: CacheValue> Cacheable for Documents<T> {
    type Value = T;
    type New = Fetched<T>;
    const TABLE: &'static str = "market_data_cache";

    fn read<'a>(
        connection: &'a PgConnection,
        address: EntryKeyRef<'a>,
        pack: bool,
    ) -> BoxFuture<'a, Result<Option<Read<T>>>> {
        async move {
            let loaded = Instant::now();
            let statement = diesel::sql_query(READ)
                .bind::<Text, _>(address.ticker)
                .bind::<Text, _>(address.name)
                .bind::<Nullable<Jsonb>, _>(address.parameters);
            let row: Option<Row> = connection.fetch_optional(statement).await?;
            row.map(|row| {
                let packed = row.packed();
                let copy = pack.then(|| packed.clone());
                Ok(Read { entry: Self::unpack(packed, loaded)?, packed: copy })
            })
            .transpose()
        }
        .boxed()
    }

    fn unpack(packed: Encoded, loaded: Instant) -> Result<Entry<T>> {
        Entry::unpack(packed, loaded, |packed| {
            packed.body.decode_column(Self::TABLE, Unreadable::UNKNOWN, "data")
        })
    }

    fn settle<'a>(
        database: Option<&'a DatabaseLevel>,
        address: &'a EntryKey,
        token: Option<i64>,
        new: Fetched<T>,
        policy: &'a Policy,
        previous: Option<Arc<Entry<T>>>,
        pack: bool,
    ) -> BoxFuture<'a, Result<Settled<T>>> {
        async move {
            let draft = PendingWrite::new(new, policy, previous.as_deref())?;
            let started = Instant::now();
            let Some(database) = database else {
                return Ok(draft.settled(None, started, true, pack));
            };
            match draft.store(database, address, token).await {
                Ok(Some(stamp)) => Ok(draft.settled(Some(stamp), started, true, pack)),
                Ok(None) => Ok(draft.settled(None, started, false, pack)),
                // The value is good all the same; this process's memory keeps it.
                Err(error) if is_down(&error) => {
                    let settled = draft.settled(None, started, true, false);
                    Ok(Settled { failure: Some(error), ..settled })
                }
                Err(error) => Err(error),
            }
        }
        .boxed()
    }
}
