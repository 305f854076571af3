//! A row's fields as values.

use std::str::FromStr;

use bigdecimal::{BigDecimal, RoundingMode, ToPrimitive};
use csv::ByteRecord;

use crate::error::{Error, shown};
use crate::types::{
    AdjustedPrice, Delta, DividendAmount, Greek, ImpliedVolatility, Premium, Price, SplitShares,
};

/// Why a row is rejected: the column and what is wrong.
pub(super) type Reason = String;

/// Longer than any number that means something.
const NUMBER_LENGTH: usize = 64;

/// A row that is being read.
pub(super) struct Fields<'a> {
    pub record: &'a ByteRecord,
    /// How many values of the row were quantised.
    pub quantised: u64,
}

/// A column: its name in reasons, and its place where the file has it.
pub(super) type Column = (&'static str, Option<usize>);

impl Fields<'_> {
    /// The text of a field; `None` where it is absent.
    pub fn text(&self, (name, place): Column) -> Result<Option<&str>, Reason> {
        let Some(bytes) = place.and_then(|place| self.record.get(place)) else {
            return Ok(None);
        };
        let text = std::str::from_utf8(bytes).map_err(|_| format!("{name}: not UTF-8"))?.trim();
        Ok((!text.is_empty() && !text.eq_ignore_ascii_case("null")).then_some(text))
    }

    /// A field by its own parser.
    pub fn parsed<T: FromStr<Err = Error>>(&self, column: Column) -> Result<Option<T>, Reason> {
        self.parsed_by(column, T::from_str)
    }

    /// A field by another parser.
    pub fn parsed_by<T>(
        &self,
        column: Column,
        parse: impl Fn(&str) -> Result<T, Error>,
    ) -> Result<Option<T>, Reason> {
        self.text(column)?.map(|text| parse(text).map_err(|e| reason(column.0, e))).transpose()
    }

    /// A decimal, exact or quantised.
    pub fn decimal<T: Decimal>(&mut self, column: Column) -> Result<Option<T>, Reason> {
        let Some(value) = self.number(column)? else {
            return Ok(None);
        };
        let refused = match T::exact(value.clone()) {
            Ok(exact) => return Ok(Some(exact)),
            Err(refused) => refused,
        };
        let rounded = T::nearest(&value).map_err(|_| reason(column.0, refused))?;
        self.quantised += 1;
        Ok(Some(rounded))
    }

    /// A number of things: `8381600.0` is exact, a fraction is quantised.
    pub fn count(&mut self, column: Column) -> Result<Option<i64>, Reason> {
        let Some(value) = self.number(column)? else {
            return Ok(None);
        };
        let exponent = value.as_bigint_and_exponent().1;
        // Of at most 64 digits and a larger exponent the order of magnitude alone decides.
        let count = match exponent {
            ..-64 if value != BigDecimal::default() => None,
            128.. => Some(0),
            _ => value.with_scale_round(0, RoundingMode::HalfEven).to_i64(),
        };
        let too_large = || format!("{}: {}: too large", column.0, shown(&format!("{value:e}")));
        let count = count.ok_or_else(too_large)?;
        if value != count {
            self.quantised += 1;
        }
        Ok(Some(count))
    }

    /// A number as it is written.
    pub fn number(&self, column: Column) -> Result<Option<BigDecimal>, Reason> {
        let Some(text) = self.text(column)? else {
            return Ok(None);
        };
        let is_numeric =
            |b: u8| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E');
        let plain = text.len() <= NUMBER_LENGTH && text.bytes().all(is_numeric);
        let value = plain.then(|| BigDecimal::from_str(text).ok()).flatten();
        value.map(Some).ok_or_else(|| format!("{}: {}: not a finite number", column.0, shown(text)))
    }
}

/// The reason of a refused value, with the file's column instead of the type's field.
pub(super) fn reason(column: &str, error: Error) -> Reason {
    match error {
        Error::Invalid { reason, .. } => format!("{column}: {reason}"),
        other => format!("{column}: {other}"),
    }
}

/// What a row must have.
pub(super) fn required<T>(column: &str, value: Option<T>) -> Result<T, Reason> {
    value.ok_or_else(|| format!("{column}: missing"))
}

/// The decimals of the columns that are imported.
pub(super) trait Decimal: Sized {
    fn exact(value: BigDecimal) -> Result<Self, Error>;
    fn nearest(value: &BigDecimal) -> Result<Self, Error>;
}

macro_rules! decimals {
    ($($name:ident)*) => {
        $(impl Decimal for $name {
            fn exact(value: BigDecimal) -> Result<Self, Error> {
                $name::new(value)
            }
            fn nearest(value: &BigDecimal) -> Result<Self, Error> {
                $name::rounded(value)
            }
        })*
    };
}

decimals!(Price AdjustedPrice Premium Delta Greek ImpliedVolatility SplitShares DividendAmount);
