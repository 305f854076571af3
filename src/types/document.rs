//! JSON documents, kept as received until somebody asks for a type.

use std::fmt;
use std::io::Write;

use diesel::deserialize::{self, FromSql};
use diesel::pg::{Pg, PgValue};
use diesel::serialize::{self, IsNull, Output, ToSql};
use diesel::sql_types::{Jsonb, Text};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::canonical::canonical;
use super::{finite, jsonb};
use crate::error::{Error, Result, Unreadable};

/// The version byte that precedes the text in JSONB's binary form.
pub(crate) const JSONB_VERSION: u8 = 1;

/// A JSON document, not yet decoded: valid, and such as JSONB holds, without NUL characters, halves of surrogate pairs,
/// numbers beyond NUMERIC (131,072 digits before the point, 16,383 after it) and more than 127
/// levels, which is as deep as serde_json reads. Reading one from the database copies its text and parses nothing;
/// [`decode`](Document::decode) goes from there straight into the caller's type.
///
/// Repositories and the cache store documents of up to 120 levels, so that whatever holds one, such as a result or an
/// export, can be decoded, too: a deeper one is [`Error::Invalid`] of its field. One of up to 127 levels that is stored
/// already is read.
///
/// Equality is that of PostgreSQL's JSONB: the order of keys does not matter, of a key that comes twice the last counts,
/// and numbers are equal by value, however they are written.
#[derive(Clone, diesel::expression::AsExpression, diesel::deserialize::FromSqlRow)]
#[diesel(sql_type = Jsonb)]
#[diesel(sql_type = Text)]
pub struct Document(Box<str>);

impl Document {
    /// The document of `value`.
    ///
    /// # Errors
    /// [`Error::Invalid`] of field `json`: NaN or infinite numbers (plain serde_json turns them into
    /// null), NUL characters, map keys that are not strings, or the value's own serialization error.
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Self> {
        finite::check(value)?;
        let text =
            serde_json::to_string(value).map_err(|e| Error::invalid("json", described(&e)))?;
        Document::parse(text)
    }

    /// The document of this JSON text.
    ///
    /// # Errors
    /// [`Error::Invalid`] of field `json`: no JSON, or such as PostgreSQL does not hold.
    pub fn parse(text: impl Into<String>) -> Result<Self> {
        let raw = RawValue::from_string(text.into())
            .map_err(|e| Error::invalid("json", described(&e)))?;
        jsonb::check(raw.get()).map_err(|reason| Error::invalid("json", reason))?;
        Ok(Document(raw.into()))
    }

    /// The document as a `T`.
    ///
    /// # Errors
    /// [`Error::Corrupt`]: it does not have the shape of `T`; the message gives line and column.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(&self.0).map_err(|e| Error::Corrupt {
            table: Unreadable::UNKNOWN.into(),
            key: Unreadable::UNKNOWN.into(),
            column: "document".into(),
            reason: format!(
                "does not decode into {}: {}",
                std::any::type_name::<T>(),
                described(&e)
            ),
        })
    }

    /// As [`decode`](Self::decode), with the error naming the column and the row that the document came from.
    pub(crate) fn decode_column<T: DeserializeOwned>(
        &self,
        table: &str,
        key: impl fmt::Display,
        column: &str,
    ) -> Result<T> {
        self.decode().map_err(|error| match error {
            Error::Corrupt { reason, .. } => Error::Corrupt {
                table: table.into(),
                key: key.to_string(),
                column: column.into(),
                reason,
            },
            other => other,
        })
    }

    /// Whether the document is a JSON object.
    pub fn is_object(&self) -> bool {
        self.as_str().trim_start().starts_with('{')
    }

    /// # Errors
    /// [`Error::Invalid`] of `field`: it has more levels than are stored.
    pub(crate) fn check_storable(&self, field: &'static str) -> Result<()> {
        if jsonb::is_deeper_than(jsonb::STORED_DEPTH, &self.0) {
            return Err(Error::invalid(field, "nested deeper than 120 levels"));
        }
        Ok(())
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A serde_json error without the data that its message may quote.
fn described(error: &serde_json::Error) -> String {
    let category = match error.classify() {
        serde_json::error::Category::Syntax => "no valid JSON",
        serde_json::error::Category::Eof => "JSON ends early",
        _ => "unexpected shape",
    };
    format!("{category} at line {} column {}", error.line(), error.column())
}

impl PartialEq for Document {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str() || canonical(Some(self)) == canonical(Some(other))
    }
}

/// Shows the size only: documents can be private and large.
impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Document({} bytes)", self.as_str().len())
    }
}

impl TryFrom<serde_json::Value> for Document {
    type Error = Error;
    fn try_from(value: serde_json::Value) -> Result<Self> {
        Document::encode(&value)
    }
}

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Document::parse(String::from(Box::<str>::from(raw))).map_err(serde::de::Error::custom)
    }
}

impl ToSql<Jsonb, Pg> for Document {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        out.write_all(&[JSONB_VERSION])?;
        out.write_all(self.as_str().as_bytes())?;
        Ok(IsNull::No)
    }
}

impl FromSql<Jsonb, Pg> for Document {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        match value.as_bytes() {
            [JSONB_VERSION, text @ ..] => {
                // What comes out of a JSONB column is valid: it is not parsed again.
                Ok(Document(std::str::from_utf8(text)?.into()))
            }
            _ => Err(Box::new(Error::invalid("jsonb", "unknown version"))),
        }
    }
}

/// Users' preferences are JSON in a TEXT column.
impl ToSql<Text, Pg> for Document {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        out.write_all(self.as_str().as_bytes())?;
        Ok(IsNull::No)
    }
}

impl FromSql<Text, Pg> for Document {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        let text = std::str::from_utf8(value.as_bytes())?.to_owned();
        Document::parse(text).map_err(Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_json_cannot_hold_is_refused() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(Document::encode(&serde_json::json!({"a": 1})).is_ok());
            assert!(Document::encode(&vec![Some(value)]).is_err());
            assert!(Document::encode(&(1, [value as f32])).is_err());
        }
        assert!(Document::encode("a\0b").is_err());
        assert!(Document::parse(r#"{"a":"\u0000"}"#).is_err());
        assert!(Document::parse(r#"{"a":"\\u0000"}"#).is_ok());
        assert!(Document::parse(r#"{"a":"\\\u0000"}"#).is_err());
        assert!(Document::parse("{").is_err());
        assert!(Document::parse("NaN").is_err());
    }

    #[test]
    fn equality_is_that_of_values() {
        let a = Document::parse(r#"{"a": 1, "b": [2]}"#).expect("JSON");
        assert_eq!(a, Document::parse(r#"{"b":[2],"a":1}"#).expect("JSON"));
        assert_ne!(a, Document::parse(r#"{"b":[2],"a":2}"#).expect("JSON"));
    }

    #[test]
    fn a_decode_error_shows_no_data() {
        let error = Document::parse(r#"{"secret": "hunter2"}"#).expect("JSON").decode::<Vec<i32>>();
        let text = format!("{error:?}");
        assert!(!text.contains("hunter2") && text.contains("line 1"), "{text}");
    }
}
