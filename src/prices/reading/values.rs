//! The values of an archived batch, one column each: their canonical bytes, and their form in a COPY.

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{
    Array, BooleanArray, Decimal128Array, FixedSizeBinaryArray, Int64Array, RecordBatch,
    StringArray, TimestampMicrosecondArray,
};
use bigdecimal::BigDecimal;
use bigdecimal::num_bigint::BigInt;
use sha2::{Digest, Sha256};

use super::arrow::{ARCHIVED, Column, Kind};
use super::columns::EPOCH;
use crate::error::{Error, Result};
use crate::postgres::RowWriter;

/// Decimals of a price.
const SCALE: i64 = 10;

/// One column of a batch.
pub(crate) enum Values<'a> {
    Text(&'a StringArray),
    Time(&'a TimestampMicrosecondArray),
    Price(&'a Decimal128Array),
    Count(&'a Int64Array),
    Flag(&'a BooleanArray),
    Id(&'a FixedSizeBinaryArray),
}

impl<'a> Values<'a> {
    /// The columns of a batch of an archive, in the order of its schema.
    ///
    /// # Errors
    /// [`Error::Invalid`] of a batch with other columns.
    pub fn of_batch(batch: &'a RecordBatch) -> Result<Vec<Self>> {
        if batch.num_columns() != ARCHIVED.len() {
            return Err(Error::invalid("batch", "has another number of columns than archives"));
        }
        ARCHIVED.iter().zip(batch.columns()).map(|(c, array)| Self::of(c, array)).collect()
    }

    fn of(column: &Column, array: &'a dyn Array) -> Result<Self> {
        let values = match column.kind {
            Kind::Text => array.as_string_opt().map(Values::Text),
            Kind::Time => array.as_primitive_opt::<TimestampMicrosecondType>().map(Values::Time),
            Kind::Price => array.as_primitive_opt::<Decimal128Type>().map(Values::Price),
            Kind::Count => array.as_primitive_opt::<Int64Type>().map(Values::Count),
            Kind::Flag => array.as_boolean_opt().map(Values::Flag),
            Kind::Id => array.as_fixed_size_binary_opt().map(Values::Id),
            // No column of an archive: its days are times.
            Kind::Day => None,
        };
        values
            .ok_or_else(|| Error::invalid("batch", format!("column {}: another type", column.name)))
    }

    fn array(&self) -> &dyn Array {
        match self {
            Values::Text(it) => it,
            Values::Time(it) => it,
            Values::Price(it) => it,
            Values::Count(it) => it,
            Values::Flag(it) => it,
            Values::Id(it) => it,
        }
    }

    /// Takes every value into the checksum: of NULL a byte 0; of another a byte 1 and then a text's
    /// length (8 bytes) and UTF-8, an id's 16 bytes, a flag's byte 0 or 1, a time's microseconds since 1970
    /// or a count (8 bytes), a price's units of 10^-10 (16 bytes). Integers are little-endian.
    pub fn digest(&self, checksum: &mut Sha256) {
        let mut buffer = Vec::new();
        for row in 0..self.array().len() {
            if self.array().is_null(row) {
                buffer.push(0);
                continue;
            }
            buffer.push(1);
            match self {
                Values::Text(it) => {
                    let text = it.value(row).as_bytes();
                    buffer.extend_from_slice(&(text.len() as u64).to_le_bytes());
                    buffer.extend_from_slice(text);
                }
                Values::Time(it) => buffer.extend_from_slice(&it.value(row).to_le_bytes()),
                Values::Price(it) => buffer.extend_from_slice(&it.value(row).to_le_bytes()),
                Values::Count(it) => buffer.extend_from_slice(&it.value(row).to_le_bytes()),
                Values::Flag(it) => buffer.push(u8::from(it.value(row))),
                Values::Id(it) => buffer.extend_from_slice(it.value(row)),
            }
        }
        checksum.update(&buffer);
    }

    /// Writes the value of a row as a COPY takes it.
    pub fn encode(&self, row: usize, out: &mut RowWriter<'_>) {
        if self.array().is_null(row) {
            return out.raw(None);
        }
        match self {
            Values::Text(it) => out.text(it.value(row)),
            // No time within PostgreSQL's range is so near to the end of an i64.
            Values::Time(it) => {
                out.raw(Some(&it.value(row).saturating_sub(EPOCH).to_be_bytes()));
            }
            Values::Price(it) => {
                let value = BigDecimal::new(BigInt::from(it.value(row)), SCALE);
                out.numeric(Some(&value));
            }
            Values::Count(it) => out.bigint(Some(it.value(row))),
            Values::Flag(it) => out.bool(it.value(row)),
            Values::Id(it) => out.raw(Some(it.value(row))),
        }
    }
}
