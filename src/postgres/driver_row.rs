//! The driver's rows as Diesel's, without copying and without `unsafe`.

use std::error::Error as StdError;
use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use diesel::pg::{Pg, PgValue};
use diesel::row::{Field, PartialRow, Row, RowIndex, RowSealed};
use tokio_postgres::Column;
use tokio_postgres::types::{FromSql, Type};

/// One received row.
pub struct PgRow {
    row: tokio_postgres::Row,
    /// The column that was asked for last by its name, counted from 1: Diesel does not say which did not decode.
    asked: AtomicUsize,
}

impl PgRow {
    pub(super) fn new(row: tokio_postgres::Row) -> Self {
        PgRow { row, asked: AtomicUsize::new(0) }
    }

    pub(super) fn columns(&self) -> &[Column] {
        self.row.columns()
    }

    /// The name of the column that was asked for last by its name.
    pub(super) fn asked(&self) -> Option<&str> {
        let index = self.asked.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.columns().get(index)?.name())
    }

    /// A value as the server sent it; `None` is NULL.
    pub(super) fn raw(&self, index: usize) -> Option<&[u8]> {
        self.row.try_get::<_, Option<Raw<'_>>>(index).ok()?.map(|raw| raw.0)
    }
}

impl RowSealed for PgRow {}

impl<'a> Row<'a, Pg> for PgRow {
    type InnerPartialRow = Self;
    type Field<'b>
        = PgField<'b>
    where
        Self: 'b,
        'a: 'b;

    fn field_count(&self) -> usize {
        self.row.len()
    }

    fn get<'b, I>(&'b self, index: I) -> Option<PgField<'b>>
    where
        'a: 'b,
        Self: RowIndex<I>,
    {
        let index = self.idx(index)?;
        // A column's type OID is never 0: every column has a type.
        let oid = NonZeroU32::new(self.row.columns()[index].type_().oid())?;
        Some(PgField { row: &self.row, index, oid })
    }

    fn partial_row(&self, range: Range<usize>) -> PartialRow<'_, Self> {
        PartialRow::new(self, range)
    }
}

impl RowIndex<usize> for PgRow {
    fn idx(&self, index: usize) -> Option<usize> {
        (index < self.row.len()).then_some(index)
    }
}

impl<'a> RowIndex<&'a str> for PgRow {
    fn idx(&self, name: &'a str) -> Option<usize> {
        let index = self.columns().iter().position(|c| c.name() == name)?;
        self.asked.store(index + 1, Ordering::Relaxed);
        Some(index)
    }
}

/// One field of a row. It owns the OID that [`PgValue`] borrows.
pub struct PgField<'a> {
    row: &'a tokio_postgres::Row,
    index: usize,
    oid: NonZeroU32,
}

impl<'a> Field<'a, Pg> for PgField<'a> {
    fn field_name(&self) -> Option<&str> {
        Some(self.row.columns()[self.index].name())
    }

    fn value(&self) -> Option<PgValue<'_>> {
        // `get` cannot fail: the index was checked and `Raw` accepts every type.
        let raw = self.row.get::<_, Option<Raw<'_>>>(self.index)?;
        Some(PgValue::new(raw.0, &self.oid))
    }
}

/// The bytes as received.
struct Raw<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Raw(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
