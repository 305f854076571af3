//! Exact decimals, one type per kind of column.

use std::iter::Sum;
use std::ops::{Add, Mul, Sub};
use std::str::FromStr;

use bigdecimal::{BigDecimal, ToPrimitive, Zero};
use diesel::sql_types::Numeric;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::numeric;
use crate::error::{Error, Result, shown};

/// Bounds on a decimal's value beside those of its precision.
enum Range {
    Any,
    /// Greater than zero.
    Positive,
    /// Zero or greater.
    NonNegative,
    /// Between the two, both included.
    Within(i64, i64),
}

/// What a column holds: NUMERIC(precision, scale) within a range.
struct Kind {
    field: &'static str,
    precision: i64,
    scale: i64,
    range: Range,
}

impl Kind {
    /// The value as the column stores it, or why it cannot.
    fn check(&self, value: BigDecimal) -> Result<BigDecimal> {
        let refused = |reason: String| {
            // In plain notation a value like 1e999999999 would fill the memory.
            Err(Error::invalid(self.field, format!("{}: {reason}", shown(&format!("{value:e}")))))
        };
        if self.is_huge(&value) || self.is_tiny(&value) {
            return refused(self.does_not_fit());
        }
        let stored = if value.is_zero() {
            BigDecimal::zero().with_scale(self.scale)
        } else {
            value.with_scale(self.scale)
        };
        if stored != value || stored.digits() as i64 > self.precision {
            return refused(self.does_not_fit());
        }
        match self.range {
            Range::Positive if stored <= BigDecimal::zero() => {
                refused("must be greater than 0".into())
            }
            Range::NonNegative if stored < BigDecimal::zero() => {
                refused("must not be negative".into())
            }
            Range::Within(least, most)
                if !(BigDecimal::from(least)..=BigDecimal::from(most)).contains(&stored) =>
            {
                refused(format!("must be between {least} and {most}"))
            }
            _ => Ok(stored),
        }
    }

    /// The value's order of magnitude, at most one too high. Of a huge exponent nothing else may be
    /// computed: 1e999999999 would fill the memory.
    fn magnitude(value: &BigDecimal) -> f64 {
        let (integer, exponent) = value.as_bigint_and_exponent();
        integer.bits() as f64 * std::f64::consts::LOG10_2 - exponent as f64
    }

    /// Surely too large.
    fn is_huge(&self, value: &BigDecimal) -> bool {
        !value.is_zero() && Self::magnitude(value) > (self.precision - self.scale + 1) as f64
    }

    /// Surely not zero and below half of the last digit.
    fn is_tiny(&self, value: &BigDecimal) -> bool {
        !value.is_zero() && Self::magnitude(value) < -(self.scale as f64) - 1.0
    }

    fn does_not_fit(&self) -> String {
        let before = self.precision - self.scale;
        format!("does not fit {before} digits before and {} after the point exactly", self.scale)
    }

    /// The number nearest to a float among those the column holds.
    fn quantised(&self, value: f64) -> Result<BigDecimal> {
        if !value.is_finite() {
            return Err(Error::invalid(self.field, format!("{value} is not a finite number")));
        }
        // The shortest text that names this float: 0.1 is 0.1, not 0.1000000000000000055.
        self.rounded(&parse(self.field, &format!("{value:e}"))?)
    }

    fn rounded(&self, value: &BigDecimal) -> Result<BigDecimal> {
        if self.is_huge(value) {
            // Refused there, by its magnitude.
            return self.check(value.clone());
        }
        if self.is_tiny(value) {
            return self.check(BigDecimal::zero());
        }
        self.check(value.with_scale_round(self.scale, bigdecimal::RoundingMode::HalfEven))
    }
}

fn parse(field: &'static str, text: &str) -> Result<BigDecimal> {
    let trimmed = text.trim();
    let number = is_number(trimmed).then(|| BigDecimal::from_str(trimmed).ok()).flatten();
    number.ok_or_else(|| Error::invalid(field, format!("{}: not a decimal number", shown(text))))
}

/// Whether the text is a decimal number as PostgreSQL reads one: a sign, digits with a point among or beside them, an
/// exponent. The parser of `BigDecimal` takes more, such as underscores.
fn is_number(text: &str) -> bool {
    let unsigned = |text: &str| text.strip_prefix(['+', '-']).unwrap_or(text).to_owned();
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let (number, exponent) = match text.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, unsigned(exponent)),
        None => (text, "0".into()),
    };
    let number = unsigned(number);
    let (whole, fraction) = number.split_once('.').unwrap_or((&number, ""));
    let has_digits = !(exponent.is_empty() || whole.is_empty() && fraction.is_empty());
    has_digits && digits(whole) && digits(fraction) && digits(&exponent)
}

/// An exact number: the amounts of this module, and [`BigDecimal`]. Amounts are added, subtracted and multiplied by reference
/// with any other; the result is a `BigDecimal`, which no column bounds.
///
/// ```
/// use buffetbot_db::types::{Price, Shares};
///
/// let (price, shares): (Price, Shares) = ("189.95".parse()?, "12.5".parse()?);
/// assert_eq!((&price * &shares).normalized().to_string(), "2374.375");
/// assert_eq!(price.to_f64(), 189.95);
/// # Ok::<(), buffetbot_db::Error>(())
/// ```
pub trait Amount {
    /// The number.
    fn as_decimal(&self) -> &BigDecimal;
}

impl Amount for BigDecimal {
    fn as_decimal(&self) -> &BigDecimal {
        self
    }
}

macro_rules! decimal {
    ($(
        $(#[$doc:meta])*
        $name:ident($field:literal, $precision:literal, $scale:literal, $range:expr);
    )*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, diesel::expression::AsExpression, diesel::deserialize::FromSqlRow)]
        #[diesel(sql_type = Numeric)]
        pub struct $name(BigDecimal);

        impl $name {
            /// Digits after the point that the column keeps.
            pub const SCALE: i64 = $scale;

            const KIND: Kind = Kind { field: $field, precision: $precision, scale: $scale, range: $range };

            /// The value, if the column holds it exactly and it is within the range.
            ///
            /// # Errors
            /// [`Error::Invalid`]; nothing is ever rounded.
            pub fn new(value: BigDecimal) -> Result<Self> {
                Self::KIND.check(value).map($name)
            }

            /// The value nearest to a float among those the column holds (half to even), for
            /// sources that deliver floats.
            ///
            /// # Errors
            /// [`Error::Invalid`]: NaN, infinite, too large, or out of the range after rounding.
            pub fn quantised(value: f64) -> Result<Self> {
                Self::KIND.quantised(value).map($name)
            }

            /// The value nearest to a decimal among those the column holds (half to even).
            ///
            /// # Errors
            /// [`Error::Invalid`]: too large, or out of the range after rounding.
            pub fn rounded(value: &BigDecimal) -> Result<Self> {
                Self::KIND.rounded(value).map($name)
            }

            /// The number.
            pub fn as_decimal(&self) -> &BigDecimal {
                &self.0
            }

            /// The number.
            pub fn into_decimal(self) -> BigDecimal {
                self.0
            }

            /// The float nearest to the number, for statistics; what the columns hold is far within the range of floats.
            pub fn to_f64(&self) -> f64 {
                self.0.to_f64().unwrap_or(f64::NAN)
            }

            /// This number divided by another, to 100 digits; `None` where that is zero.
            pub fn checked_div(&self, other: &impl Amount) -> Option<BigDecimal> {
                let other = other.as_decimal();
                (!other.is_zero()).then(|| &self.0 / other)
            }
        }

        impl Amount for $name {
            fn as_decimal(&self) -> &BigDecimal {
                &self.0
            }
        }

        impl<R: Amount> Add<&R> for &$name {
            type Output = BigDecimal;
            fn add(self, other: &R) -> BigDecimal {
                &self.0 + other.as_decimal()
            }
        }

        impl<R: Amount> Sub<&R> for &$name {
            type Output = BigDecimal;
            fn sub(self, other: &R) -> BigDecimal {
                &self.0 - other.as_decimal()
            }
        }

        impl<R: Amount> Mul<&R> for &$name {
            type Output = BigDecimal;
            fn mul(self, other: &R) -> BigDecimal {
                &self.0 * other.as_decimal()
            }
        }

        impl<'a> Sum<&'a $name> for BigDecimal {
            fn sum<I: Iterator<Item = &'a $name>>(numbers: I) -> BigDecimal {
                numbers.fold(BigDecimal::zero(), |sum, number| sum + &number.0)
            }
        }

        impl FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self> {
                Self::new(parse($field, text)?)
            }
        }

        impl TryFrom<BigDecimal> for $name {
            type Error = Error;
            fn try_from(value: BigDecimal) -> Result<Self> {
                Self::new(value)
            }
        }

        impl TryFrom<i64> for $name {
            type Error = Error;
            fn try_from(value: i64) -> Result<Self> {
                Self::new(BigDecimal::from(value))
            }
        }

        impl From<$name> for BigDecimal {
            fn from(value: $name) -> BigDecimal {
                value.0
            }
        }

        impl std::fmt::Display for $name {
            /// Without zeros at the end, unless a precision is asked for.
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match f.precision() {
                    Some(_) => std::fmt::Display::fmt(&self.0, f),
                    None => f.pad(&self.0.normalized().to_plain_string()),
                }
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0.normalized().to_plain_string())
            }
        }

        /// As a string, which no JSON reader rounds.
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        /// From a string or a number; a float stands for its shortest decimal form.
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = deserializer.deserialize_any(NumberText)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl diesel::serialize::ToSql<Numeric, diesel::pg::Pg> for $name {
            fn to_sql<'b>(
                &'b self,
                out: &mut diesel::serialize::Output<'b, '_, diesel::pg::Pg>,
            ) -> diesel::serialize::Result {
                use std::io::Write;
                let mut bytes = Vec::with_capacity(24);
                numeric::encode(&self.0, &mut bytes);
                out.write_all(&bytes)?;
                Ok(diesel::serialize::IsNull::No)
            }
        }

        impl diesel::deserialize::FromSql<Numeric, diesel::pg::Pg> for $name {
            fn from_sql(value: diesel::pg::PgValue<'_>) -> diesel::deserialize::Result<Self> {
                match numeric::decode(value.as_bytes()) {
                    // The column's own type and checks vouch for precision and range.
                    Some(decimal) => Ok($name(decimal)),
                    None => Err(Box::new(Error::invalid($field, "NaN"))),
                }
            }
        }
    )*};
}

/// Reads a string or a number as text.
struct NumberText;

impl serde::de::Visitor<'_> for NumberText {
    type Value = String;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a decimal number, as a string or a number")
    }
    fn visit_str<E>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }
    fn visit_u64<E>(self, n: u64) -> Result<String, E> {
        Ok(n.to_string())
    }
    fn visit_i64<E>(self, n: i64) -> Result<String, E> {
        Ok(n.to_string())
    }
    fn visit_f64<E>(self, n: f64) -> Result<String, E> {
        Ok(format!("{n:e}"))
    }
}

decimal! {
    /// A price above zero, in units of its currency: NUMERIC(20,10).
    Price("price", 20, 10, Range::Positive);
    /// A price adjusted for splits and dividends; large dividends can bring it below zero: NUMERIC(20,10).
    AdjustedPrice("adjusted_close", 20, 10, Range::Any);
    /// An option's price (last, bid or ask), zero or above: NUMERIC(20,10).
    Premium("premium", 20, 10, Range::NonNegative);
    /// One side of a split's ratio, above zero: NUMERIC(20,10).
    SplitShares("split", 20, 10, Range::Positive);
    /// Cash paid per share, above zero: NUMERIC(20,10).
    DividendAmount("amount", 20, 10, Range::Positive);
    /// Average cost of one share, zero or above: NUMERIC(20,10).
    Cost("average_cost", 20, 10, Range::NonNegative);
    /// A number of shares, zero or above, fractions included: NUMERIC(20,10).
    Shares("shares", 20, 10, Range::NonNegative);
    /// A percentage from 0 to 100 with two decimals: NUMERIC(5,2).
    Percentage("percentage", 5, 2, Range::Within(0, 100));
    /// A share of one, from 0 to 1 with two decimals (confidence, quality): NUMERIC(3,2).
    UnitInterval("unit_interval", 3, 2, Range::Within(0, 1));
    /// An analysis score from 0 to 999.99: NUMERIC(5,2).
    Score("score", 5, 2, Range::NonNegative);
    /// An option's delta from -1 to 1: NUMERIC(8,6).
    Delta("delta", 8, 6, Range::Within(-1, 1));
    /// Gamma, theta or vega: NUMERIC(14,6).
    Greek("greek", 14, 6, Range::Any);
    /// Annualised implied volatility as a fraction (0.25 is 25%), zero or above: NUMERIC(10,6).
    ImpliedVolatility("implied_volatility", 10, 6, Range::NonNegative);
}
