//! Row counts.

use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::pg::{Pg, PgValue};
use diesel::sql_types::BigInt;

/// PostgreSQL's `count(*)`, which is never negative, for `deserialize_as` on a field of type `u64`.
#[derive(FromSqlRow)]
pub(crate) struct Count(u64);

impl FromSql<BigInt, Pg> for Count {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        Ok(Count(<i64 as FromSql<BigInt, Pg>>::from_sql(value)?.unsigned_abs()))
    }
}

impl From<Count> for u64 {
    fn from(count: Count) -> u64 {
        count.0
    }
}
