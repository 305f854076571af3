//! Storing documents, one and many.

use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use diesel::data_types::PgInterval;
use diesel::pg::Pg;
use diesel::prelude::QueryableByName;
use diesel::query_builder::{BoxedSqlQuery, SqlQuery};
use diesel::sql_types::{
    Array, BigInt, Bytea, Interval, Jsonb, Nullable, Numeric, Text, Timestamptz, Uuid as SqlUuid,
};
use futures_util::FutureExt;

use super::upsert::{insert, upsert};
use crate::error::{Entity, Error, Result};
use crate::market_cache::entry::{Backfill, Backfilled, CacheEntry, NewCacheEntry, PutOptions};
use crate::market_cache::key::CacheKey;
use crate::store::{Session, batch};
use crate::types::{CacheEntryId, Count, Document, Tag, span, tag};

/// One row of values.
const VALUES: &str = "VALUES ($1, $2, $3, $4, $5, $6, $7, now(), now() + $8::INTERVAL,
    now() + $8::INTERVAL + $9::INTERVAL, $10)";

/// The columns of entries that are given as arrays, stored at `now`.
fn columns(now: &str) -> String {
    format!(
        "id, ticker, data_type, parameters, data, data_source, quality, {now}, {now} + ttl, {now} + ttl + stale,
            tags::TEXT[]"
    )
}

/// Those arrays as rows, with one more where `array` and `column` name it.
fn rows(array: &str, column: &str) -> String {
    format!(
        "FROM unnest($1::UUID[], $2::TEXT[], $3::TEXT[], $4::JSONB[], $5::JSONB[], $6::TEXT[],
            $7::NUMERIC[], $8::INTERVAL[], $9::INTERVAL[], $10::TEXT[]{array})
        WITH ORDINALITY AS n (id, ticker, data_type, parameters, data, data_source, quality, ttl, stale, tags{column},
            place)"
    )
}

/// A key, by bytes whatever the database's collation: one row per key, in its order, so that batches wait for each other
/// instead of deadlocking.
const KEY: &str = "ticker COLLATE \"C\", data_type COLLATE \"C\", cache_parameters_key(parameters)";

const RETURNING: &str = "RETURNING id, cached_at, expires_at, stale_until, version, revision";

static CREATE: LazyLock<String> = LazyLock::new(|| insert(VALUES) + " " + RETURNING);

static PUT: LazyLock<String> = LazyLock::new(|| upsert(VALUES, RETURNING));

static CREATE_MANY: LazyLock<String> = LazyLock::new(|| {
    let (columns, rows) = (columns("now()"), rows("", ""));
    insert(&format!("SELECT {columns} {rows} ORDER BY place {RETURNING}"))
});

/// Of each key the last of the batch.
static PUT_MANY: LazyLock<String> = LazyLock::new(|| {
    let (columns, rows) = (columns("now()"), rows("", ""));
    let last = format!("SELECT DISTINCT ON ({KEY}) {columns} {rows} ORDER BY {KEY}, place DESC");
    upsert(&last, "")
});

/// Of each key the one that was fetched last.
static BACKFILL: LazyLock<String> = LazyLock::new(|| {
    let (columns, rows) =
        (columns("LEAST(fetched, now())"), rows(", $11::TIMESTAMPTZ[]", ", fetched"));
    let last = format!(
        "SELECT DISTINCT ON ({KEY}) {columns} {rows} WHERE LEAST(fetched, now()) + ttl > now()
        ORDER BY {KEY}, fetched DESC, place DESC"
    );
    let written = upsert(&last, "WHERE stored.cached_at < excluded.cached_at RETURNING stored.id");
    format!(
        "WITH written AS ({written})
        SELECT (SELECT count(*) FROM written) AS written,
            (SELECT count(*) FROM unnest($8::INTERVAL[], $11::TIMESTAMPTZ[]) AS n (ttl, fetched)
                WHERE LEAST(fetched, now()) + ttl <= now()) AS expired"
    )
});

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
    write_one(session, &CREATE, entry.id, &entry.key, &entry.data, &entry.options).await
}

pub(super) async fn put(
    session: &Session,
    key: &CacheKey,
    data: &Document,
    options: &PutOptions,
) -> Result<CacheEntry> {
    write_one(session, &PUT, CacheEntryId::generate(), key, data, options).await
}

async fn write_one(
    session: &Session,
    statement: &str,
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
    let stored = session.replace_optional::<_, Stamp, _>(statement).await?;
    let stored = stored.ok_or_else(|| Error::not_found(Entity::CacheEntry, id))?;
    let stamp = stored.of(|stamp| (key.into(), stamp.version)).await;
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
                let stamps: Vec<Stamp> = connection.write_all(arrays(&CREATE_MANY, &rows)).await?;
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
        async move { Ok(vec![connection.run(arrays(&PUT_MANY, &rows)).await?]) }.boxed()
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
                let statement = arrays(&BACKFILL, &entries).bind::<Array<Timestamptz>, _>(fetched);
                connection.write_all(statement).await
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
