//! A Diesel query as what goes over the wire: its text, binds and bind types.

use std::error::Error as StdError;
use std::sync::Arc;

use bytes::BytesMut;
use diesel::QueryResult;
use diesel::pg::{Pg, PgMetadataLookup, PgQueryBuilder, PgTypeMetadata};
use diesel::query_builder::bind_collector::RawBytesBindCollector;
use diesel::query_builder::{QueryBuilder, QueryFragment};
use diesel::result::Error as DieselError;
use tokio_postgres::types::{IsNull, Kind, ToSql, Type};

use crate::error::Error;

/// The protocol counts binds in 16 bits.
const MAX_BINDS: usize = 65_535;

/// One statement, ready to be sent.
pub(crate) struct Built {
    pub sql: Arc<str>,
    pub binds: Vec<Bind>,
    pub types: Vec<Type>,
}

impl Built {
    /// Whether the text begins as a query that cannot write: not `WITH`, which can.
    pub fn only_reads(&self) -> bool {
        self.sql.trim_ascii_start().starts_with("SELECT")
    }

    /// Renders a Diesel query.
    ///
    /// # Errors
    /// A bind that does not serialize; more binds than the protocol can count.
    pub fn new<Q: QueryFragment<Pg>>(query: &Q) -> QueryResult<Self> {
        let mut sql = PgQueryBuilder::default();
        query.to_sql(&mut sql, &Pg)?;
        let mut collector = RawBytesBindCollector::<Pg>::new();
        query.collect_binds(&mut collector, &mut LeftToServer, &Pg)?;
        if collector.binds.len() > MAX_BINDS {
            let reason = format!("{} binds; PostgreSQL takes {MAX_BINDS}", collector.binds.len());
            return Err(DieselError::SerializationError(Box::new(Error::invalid("query", reason))));
        }
        Ok(Built {
            sql: sql.finish().into(),
            types: collector.metadata.iter().map(bind_type).collect::<QueryResult<_>>()?,
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

fn bind_type(metadata: &PgTypeMetadata) -> QueryResult<Type> {
    let oid = metadata.oid().map_err(|e| DieselError::SerializationError(Box::new(e)))?;
    Ok(Type::from_oid(oid)
        .unwrap_or_else(|| Type::new(String::new(), oid, Kind::Simple, String::new())))
}
