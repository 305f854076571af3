//! A Diesel query as what goes over the wire: its text, binds and bind types.

use std::error::Error as StdError;
use std::ops::Range;
use std::sync::Arc;

use bytes::BytesMut;
use diesel::QueryResult;
use diesel::pg::{Pg, PgMetadataLookup, PgQueryBuilder, PgTypeMetadata};
use diesel::query_builder::bind_collector::RawBytesBindCollector;
use diesel::query_builder::{QueryBuilder, QueryFragment};
use diesel::result::Error as DieselError;
use tokio_postgres::types::{IsNull, Kind, ToSql, Type};

use super::reads;
use crate::error::Error;

/// The protocol counts binds in 16 bits.
const MAX_BINDS: usize = 65_535;

/// What a statement does, as its author says. A statement that only reads can be repeated, and rolled back, without a
/// trace; of one that writes and is not answered the outcome is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    Reads,
    Writes,
    /// A borrower's: its text is all that is known of it.
    Unstated,
}

/// One statement, ready to be sent.
pub(crate) struct RenderedQuery {
    pub effect: Effect,
    pub sql: Arc<str>,
    pub binds: Vec<Bind>,
    pub types: Vec<Type>,
}

impl RenderedQuery {
    /// Renders a Diesel query that only reads.
    ///
    /// # Errors
    /// A bind that does not serialize, or that the server would refuse; more binds than the protocol can count.
    pub fn reading<Q: QueryFragment<Pg>>(query: &Q) -> QueryResult<Self> {
        let built = Self::new(query, Effect::Reads)?;
        debug_assert!(!reads::has_writing_word(&built.sql), "not a reading: {}", built.sql);
        Ok(built)
    }

    /// As [`reading`](Self::reading), of one that writes.
    ///
    /// # Errors
    /// As [`reading`](Self::reading).
    pub fn writing<Q: QueryFragment<Pg>>(query: &Q) -> QueryResult<Self> {
        Self::new(query, Effect::Writes)
    }

    /// As [`reading`](Self::reading), of a borrower's.
    ///
    /// # Errors
    /// As [`reading`](Self::reading).
    pub fn of_borrower<Q: QueryFragment<Pg>>(query: &Q) -> QueryResult<Self> {
        Self::new(query, Effect::Unstated)
    }

    fn new<Q: QueryFragment<Pg>>(query: &Q, effect: Effect) -> QueryResult<Self> {
        let mut sql = PgQueryBuilder::default();
        query.to_sql(&mut sql, &Pg)?;
        let mut collector = RawBytesBindCollector::<Pg>::new();
        query.collect_binds(&mut collector, &mut LeftToServer, &Pg)?;
        if collector.binds.len() > MAX_BINDS {
            let reason = format!("{} binds; PostgreSQL takes {MAX_BINDS}", collector.binds.len());
            return Err(DieselError::SerializationError(Box::new(Error::invalid("query", reason))));
        }
        let types = collector.metadata.iter().map(bind_type).collect::<QueryResult<Vec<_>>>()?;
        for (ty, bytes) in types.iter().zip(&collector.binds) {
            if let Some(reason) = bytes.as_ref().and_then(|bytes| refused(ty, bytes)) {
                let error = Error::invalid("value", reason);
                return Err(DieselError::SerializationError(Box::new(error)));
            }
        }
        Ok(RenderedQuery {
            effect,
            sql: sql.finish().into(),
            types,
            binds: collector.binds.into_iter().map(Bind).collect(),
        })
    }
}

/// A value in PostgreSQL's binary form, as Diesel serialized it; `None` is NULL. Its `Debug`
/// shows no value.
pub(crate) struct Bind(Option<Vec<u8>>);

impl std::fmt::Debug for Bind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bind(..)")
    }
}

impl ToSql for Bind {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        Ok(match &self.0 {
            Some(bytes) => {
                out.extend_from_slice(bytes);
                IsNull::No
            }
            None => IsNull::Yes,
        })
    }

    // Diesel checked the type when the query was compiled.
    fn accepts(_: &Type) -> bool {
        true
    }

    fn to_sql_checked(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        self.to_sql(ty, out)
    }
}

/// Types known by name only (enums, domains) get OID 0: the server infers them, which saves a
/// lookup query and its cache.
struct LeftToServer;

impl PgMetadataLookup for LeftToServer {
    fn lookup_type(&mut self, _: &str, _: Option<&str>) -> PgTypeMetadata {
        PgTypeMetadata::new(0, 0)
    }
}

/// Microseconds and days since 2000 that a timestamp and a date can hold, as in PostgreSQL's `datatype/timestamp.h`.
const TIMESTAMPS: Range<i64> = -211_813_488_000_000_000..9_223_371_331_200_000_000;
const DATES: Range<i32> = -2_451_545..2_145_031_949;

/// Why the server would refuse a value in binary form. An error of the server aborts the statement's
/// transaction; what is refused before it is sent harms nothing.
fn refused(ty: &Type, bytes: &[u8]) -> Option<&'static str> {
    match *ty {
        Type::TEXT | Type::VARCHAR | Type::BPCHAR if bytes.contains(&0) => {
            Some("contains a NUL character")
        }
        Type::TIMESTAMPTZ | Type::TIMESTAMP => {
            let micros = i64::from_be_bytes(bytes.try_into().ok()?);
            let is_held = TIMESTAMPS.contains(&micros) || [i64::MIN, i64::MAX].contains(&micros);
            (!is_held)
                .then_some("is a time that PostgreSQL does not hold: 4714-11-24 BC to 294276 AD")
        }
        Type::DATE => {
            let days = i32::from_be_bytes(bytes.try_into().ok()?);
            let is_held = DATES.contains(&days) || [i32::MIN, i32::MAX].contains(&days);
            (!is_held)
                .then_some("is a day that PostgreSQL does not hold: 4714-11-24 BC to 5874897 AD")
        }
        _ => match ty.kind() {
            Kind::Array(of) => elements(bytes).find_map(|element| refused(of, element)),
            _ => None,
        },
    }
}

/// The elements of an array in binary form, without those that are NULL: the number of dimensions, a flag, the type, of
/// each dimension its length and first index, then each element behind its length.
fn elements(array: &[u8]) -> impl Iterator<Item = &[u8]> {
    let dimensions = int(array).and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
    let mut rest = array.get(12 + 8 * dimensions..).unwrap_or_default();
    std::iter::from_fn(move || {
        let length = int(rest)?;
        rest = &rest[4..];
        // Of NULL the length is -1.
        let (element, behind) = rest.split_at_checked(usize::try_from(length).unwrap_or(0))?;
        rest = behind;
        Some((length >= 0).then_some(element))
    })
    .flatten()
}

fn int(bytes: &[u8]) -> Option<i32> {
    bytes.first_chunk().map(|bytes| i32::from_be_bytes(*bytes))
}

fn bind_type(metadata: &PgTypeMetadata) -> QueryResult<Type> {
    let oid = metadata.oid().map_err(|e| DieselError::SerializationError(Box::new(e)))?;
    Ok(Type::from_oid(oid)
        .unwrap_or_else(|| Type::new(String::new(), oid, Kind::Simple, String::new())))
}
