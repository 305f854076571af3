//! Storing documents, one and many.

use chrono::{DateTime, Utc};
use diesel::data_types::PgInterval;
use diesel::pg::Pg;
use diesel::prelude::QueryableByName;
use diesel::query_builder::{BoxedSqlQuery, SqlQuery};
use diesel::sql_types::{
    Array, BigInt, Bytea, Interval, Jsonb, Nullable, Numeric, Text, Timestamptz, Uuid as SqlUuid,
};
use futures_util::FutureExt;

use crate::error::Result;
use crate::market_cache::entry::{Backfill, Backfilled, CacheEntry, NewCacheEntry, PutOptions};
use crate::market_cache::key::CacheKey;
use crate::store::{Session, batch};
use crate::types::{CacheEntryId, Count, Document, Tag, span, tag};

/// An INSERT from one row of values or from arrays, and what follows it. `now()` stands in the source
/// only: on a conflict both times come from `excluded`.
macro_rules! insert {
    ($($part:expr),*) => {
        concat!(
            "INSERT INTO market_data_cache (id, ticker, data_type, parameters, data, data_source, \
             data_quality_score, cached_at, expires_at, stale_until, tags) ",
            $($part, " "),*
        )
    };
}

macro_rules! values {
    () => {
        "VALUES ($1, $2, $3, $4, $5, $6, $7, now(), now() + $8::INTERVAL, \
         now() + $8::INTERVAL + $9::INTERVAL, $10)"
    };
}

macro_rules! arrays {
    () => {
        arrays!("now()", "", "")
    };
    ($now:literal, $array:literal, $column:literal) => {
        concat!(
            "id, ticker, data_type, parameters, data, data_source, quality, ",
            concat!($now, ", ", $now, " + ttl, ", $now, " + ttl + stale, tags::TEXT[] "),
            "FROM unnest($1::UUID[], $2::TEXT[], $3::TEXT[], $4::JSONB[], $5::JSONB[], $6::TEXT[], \
             $7::NUMERIC[], $8::INTERVAL[], $9::INTERVAL[], $10::TEXT[]",
            concat!($array, ") WITH ORDINALITY AS n (id, ticker, data_type, parameters, data, "),
            concat!("data_source, quality, ttl, stale, tags", $column, ", place)")
        )
    };
}

/// One row per key, in the order of the key, whatever the database's collation, so that batches wait for
/// each other instead of deadlocking.
macro_rules! distinct {
    () => {
        "SELECT DISTINCT ON \
         (ticker COLLATE \"C\", data_type COLLATE \"C\", cache_parameters_key(parameters))"
    };
}

macro_rules! in_order {
    () => {
        "ORDER BY ticker COLLATE \"C\", data_type COLLATE \"C\", cache_parameters_key(parameters), "
    };
}

/// The parameters are replaced, too: equal ones may be spelled differently, and of two that collide
/// in their key the older entry gives way.
macro_rules! or_replace {
    () => {
        "ON CONFLICT (ticker, data_type, parameters_key) DO UPDATE SET \
         parameters = excluded.parameters, data = excluded.data, \
         data_source = excluded.data_source, data_quality_score = excluded.data_quality_score, \
         cached_at = excluded.cached_at, expires_at = excluded.expires_at, \
         stale_until = excluded.stale_until, tags = excluded.tags"
    };
}

macro_rules! returning {
    () => {
        "RETURNING id, cached_at, expires_at, stale_until, version, revision"
    };
}

const CREATE: &str = insert!(values!(), returning!());
const PUT: &str = insert!(values!(), or_replace!(), returning!());
const CREATE_MANY: &str = insert!("SELECT", arrays!(), "ORDER BY place", returning!());
/// Of each key the last of the batch.
const PUT_MANY: &str = insert!(distinct!(), arrays!(), in_order!(), "place DESC", or_replace!());
/// Of each key the one that was fetched last.
const BACKFILL: &str = concat!(
    "WITH written AS (",
    insert!(
        distinct!(),
        arrays!("LEAST(fetched, now())", ", $11::TIMESTAMPTZ[]", ", fetched"),
        "WHERE LEAST(fetched, now()) + ttl > now()",
        in_order!(),
        "fetched DESC, place DESC",
        or_replace!(),
        "WHERE market_data_cache.cached_at < excluded.cached_at RETURNING id"
    ),
    ") SELECT (SELECT count(*) FROM written) AS written, \
     (SELECT count(*) FROM unnest($8::INTERVAL[], $11::TIMESTAMPTZ[]) AS n (ttl, fetched) \
     WHERE LEAST(fetched, now()) + ttl <= now()) AS expired"
);

/// What the database decides of an entry.
#[derive(QueryableByName)]
struct Stamp {
    #[diesel(sql_type = SqlUuid)]
    id: CacheEntryId,
    #[diesel(sql_type = Timestamptz)]
    cached_at: DateTime<Utc>,
    #[diesel(sql_type = Timestamptz)]
    expires_at: DateTime<Utc>,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    stale_until: Option<DateTime<Utc>>,
    #[diesel(sql_type = BigInt)]
    version: i64,
    #[diesel(sql_type = BigInt)]
    revision: i64,
}

impl Stamp {
    /// The document is not sent back: it can be large, and the caller has it.
    fn entry(self, key: &CacheKey, data: &Document, options: &PutOptions) -> CacheEntry {
        CacheEntry {
            id: self.id,
            ticker: key.ticker.clone(),
            data_type: key.data_type.clone(),
            data: data.clone(),
            data_source: options.source.clone(),
            data_quality_score: options.quality.clone(),
            cached_at: self.cached_at,
            expires_at: self.expires_at,
            parameters: key.parameters.clone(),
            stale_until: self.stale_until,
            tags: tag::sorted(&options.tags),
            version: self.version,
            revision: self.revision,
        }
    }
}

/// # Errors
/// The error of the first entry that breaks a rule, with its index.
pub(super) fn validate<'a>(entries: impl IntoIterator<Item = &'a NewCacheEntry>) -> Result<()> {
    for (index, entry) in entries.into_iter().enumerate() {
        entry.validate().map_err(|e| e.at(index))?;
    }
    Ok(())
}

pub(super) async fn create(session: &Session, entry: &NewCacheEntry) -> Result<CacheEntry> {
    write_one(session, CREATE, entry.id, &entry.key, &entry.data, &entry.options).await
}

pub(super) async fn put(
    session: &Session,
    key: &CacheKey,
    data: &Document,
    options: &PutOptions,
) -> Result<CacheEntry> {
    write_one(session, PUT, CacheEntryId::generate(), key, data, options).await
}

async fn write_one(
    session: &Session,
    statement: &'static str,
    id: CacheEntryId,
    key: &CacheKey,
    data: &Document,
    options: &PutOptions,
) -> Result<CacheEntry> {
    let statement = diesel::sql_query(statement)
        .bind::<SqlUuid, _>(id)
        .bind::<Text, _>(&key.ticker)
        .bind::<Text, _>(&key.data_type)
        .bind::<Nullable<Jsonb>, _>(key.parameters.as_ref())
        .bind::<Jsonb, _>(data)
        .bind::<Nullable<Text>, _>(options.source.as_deref())
        .bind::<Nullable<Numeric>, _>(options.quality.as_ref())
        .bind::<Interval, _>(span::interval(options.ttl))
        .bind::<Nullable<Interval>, _>(stale(options))
        .bind::<Array<Text>, Vec<Tag>>(tag::sorted(&options.tags));
    let stamp: Stamp = session.write_one(statement).await?;
    Ok(stamp.entry(key, data, options))
}

pub(super) async fn create_many(
    session: &Session,
    entries: &[NewCacheEntry],
) -> Result<Vec<CacheEntry>> {
    batch::insert_many_weighed(
        session,
        entries,
        |entry| (entry.key.ticker.clone(), entry.key.data_type.clone(), entry.id),
        NewCacheEntry::weight,
        |connection, rows| {
            async move {
                let stamps: Vec<Stamp> = connection.fetch_all(arrays(CREATE_MANY, &rows)).await?;
                let stored = stamps.into_iter().zip(rows);
                Ok(stored.map(|(stamp, e)| stamp.entry(&e.key, &e.data, &e.options)).collect())
            }
            .boxed()
        },
    )
    .await
}

pub(super) async fn put_many(session: &Session, entries: &[NewCacheEntry]) -> Result<u64> {
    let order = order(session, &entries.iter().collect::<Vec<_>>()).await?;
    let chunks = batch::chunks_by_weight(&order, |i| entries[i].weight());
    let written = batch::write_chunks(session, entries, &chunks, |connection, rows| {
        async move { Ok(vec![connection.run(arrays(PUT_MANY, &rows)).await?]) }.boxed()
    });
    Ok(written.await?.into_iter().sum())
}

/// What a statement made of its rows.
#[derive(QueryableByName)]
struct Outcome {
    #[diesel(sql_type = BigInt, deserialize_as = Count)]
    written: u64,
    #[diesel(sql_type = BigInt, deserialize_as = Count)]
    expired: u64,
}

pub(super) async fn backfill_many(session: &Session, given: &[Backfill]) -> Result<Backfilled> {
    let order = order(session, &given.iter().map(|b| &b.entry).collect::<Vec<_>>()).await?;
    let chunks = batch::chunks_by_weight(&order, |i| given[i].entry.weight());
    let outcomes: Vec<Outcome> =
        batch::write_chunks(session, given, &chunks, |connection, rows| {
            async move {
                let entries: Vec<_> = rows.iter().map(|b| &b.entry).collect();
                let fetched: Vec<_> = rows.iter().map(|b| b.cached_at).collect();
                let statement = arrays(BACKFILL, &entries).bind::<Array<Timestamptz>, _>(fetched);
                connection.fetch_all(statement).await
            }
            .boxed()
        })
        .await?;
    let mut filled = Backfilled::default();
    for outcome in outcomes {
        filled.written += outcome.written;
        filled.expired += outcome.expired;
    }
    filled.kept = given.len() as u64 - filled.written - filled.expired;
    Ok(filled)
}

/// The indexes of the entries in an order in which batches wait for each other instead of
/// deadlocking. Of one key the order given stays.
async fn order(session: &Session, entries: &[&NewCacheEntry]) -> Result<Vec<usize>> {
    let mut order: Vec<usize> = (0..entries.len()).collect();
    // A statement sorts its own rows; only for an order between chunks are the keys needed here.
    if batch::chunks_by_weight(&order, |i| entries[i].weight()).len() > 1 {
        let keys = parameters_keys(session, entries).await?;
        let key = |i: usize| (&entries[i].key.ticker, &entries[i].key.data_type, &keys[i]);
        order.sort_by(|&a, &b| key(a).cmp(&key(b)));
    }
    Ok(order)
}

#[derive(QueryableByName)]
struct ParametersKey {
    #[diesel(sql_type = Bytea)]
    key: Vec<u8>,
}

/// The database's keys of the entries' parameters, in the order of the entries.
async fn parameters_keys(session: &Session, entries: &[&NewCacheEntry]) -> Result<Vec<Vec<u8>>> {
    const KEYS: &str = "
        SELECT cache_parameters_key(parameters) AS key
        FROM unnest($1::JSONB[]) WITH ORDINALITY AS n (parameters, place) ORDER BY place";
    let parameters: Vec<_> = entries.iter().map(|e| e.key.parameters.as_ref()).collect();
    let order: Vec<usize> = (0..entries.len()).collect();
    let mut keys = Vec::with_capacity(entries.len());
    for chunk in batch::chunks_by_weight(&order, |i| parameters[i].map_or(0, |p| p.as_str().len()))
    {
        let chunk: Vec<_> = chunk.iter().map(|&i| parameters[i]).collect();
        let statement = diesel::sql_query(KEYS).bind::<Array<Nullable<Jsonb>>, _>(chunk);
        let rows: Vec<ParametersKey> = session.fetch_all(statement).await?;
        keys.extend(rows.into_iter().map(|row| row.key));
    }
    Ok(keys)
}

type Statement<'a> = BoxedSqlQuery<'a, Pg, SqlQuery>;

/// A statement with the entries as arrays, one per column; more may be bound behind the ten.
fn arrays<'a>(statement: &str, entries: &[&'a NewCacheEntry]) -> Statement<'a> {
    macro_rules! column {
        ($field:expr) => {
            entries.iter().map($field).collect::<Vec<_>>()
        };
    }
    diesel::sql_query(statement)
        .into_boxed()
        .bind::<Array<SqlUuid>, _>(column!(|e| e.id))
        .bind::<Array<Text>, _>(column!(|e| &e.key.ticker))
        .bind::<Array<Text>, _>(column!(|e| &e.key.data_type))
        .bind::<Array<Nullable<Jsonb>>, _>(column!(|e| e.key.parameters.as_ref()))
        .bind::<Array<Jsonb>, _>(column!(|e| &e.data))
        .bind::<Array<Nullable<Text>>, _>(column!(|e| e.options.source.as_deref()))
        .bind::<Array<Nullable<Numeric>>, _>(column!(|e| e.options.quality.as_ref()))
        .bind::<Array<Interval>, _>(column!(|e| -> PgInterval { span::interval(e.options.ttl) }))
        .bind::<Array<Nullable<Interval>>, _>(column!(|e| stale(&e.options)))
        .bind::<Array<Text>, _>(column!(|e| tag::array_text(&e.options.tags)))
}

/// The length of the stale window; none of no length.
fn stale(options: &PutOptions) -> Option<PgInterval> {
    (!options.stale_for.is_zero()).then(|| span::interval(options.stale_for))
}
