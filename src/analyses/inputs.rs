//! What results of analyses were computed from.

use std::io::Write;

use diesel::pg::Pg;
use diesel::serialize::{self, IsNull, Output, ToSql};
use diesel::sql_types::Jsonb;
use serde::{Deserialize, Deserializer, Serialize};

use crate::error::Result;
use crate::market_cache::CacheKey;
use crate::prices::BarsDigest;
use crate::types::{DataType, Document, JSONB_VERSION, Ticker};

/// Watermarks of what a result was computed from: by them it is found to be outdated
/// ([`invalidate_stale_inputs`](crate::analyses::AnalysisRepository::invalidate_stale_inputs)). In JSON
/// `{"documents": [{"ticker", "data_type", "parameters", "revision"}], "bars": [{"ticker", "digest"}]}`,
/// where what is empty is left out.
///
/// ```
/// use buffetbot_db::analyses::Inputs;
/// use buffetbot_db::market_cache::CacheKey;
/// use buffetbot_db::prices::BarsDigest;
/// use buffetbot_db::types::{DataType, Ticker};
/// let aapl: Ticker = "AAPL".parse()?;
/// let inputs = Inputs::new()
///     .document(&CacheKey::new(&aapl, DataType::FUNDAMENTALS), 7)
///     .bars(BarsDigest { ticker: aapl, digest: -3 });
/// assert_eq!(
///     serde_json::to_value(&inputs).unwrap(),
///     serde_json::json!({
///         "documents": [{"ticker": "AAPL", "data_type": "fundamentals", "revision": 7}],
///         "bars": [{"ticker": "AAPL", "digest": -3}],
///     })
/// );
/// # Ok::<(), buffetbot_db::Error>(())
/// ```
#[derive(
    Debug, Clone, PartialEq, Default, Serialize, Deserialize, diesel::expression::AsExpression,
)]
#[diesel(sql_type = Jsonb)]
#[serde(default, deny_unknown_fields)]
pub struct Inputs {
    /// Cached documents.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub documents: Vec<DocumentRevision>,
    /// All bars of these tickers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bars: Vec<BarsDigest>,
}

impl Inputs {
    /// Nothing yet.
    pub fn new() -> Self {
        Inputs::default()
    }

    /// And from the document of this key in this revision, that of the entry which was read.
    pub fn document(mut self, key: &CacheKey, revision: i64) -> Self {
        let CacheKey { ticker, data_type, parameters } = key.clone();
        self.documents.push(DocumentRevision { ticker, data_type, parameters, revision });
        self
    }

    /// And from the stored bars of a ticker. The digest is to be read before the bars: what changes
    /// between the two reads then makes the result outdated, at worst for nothing. Read after them,
    /// it would cover a change that the result has not seen.
    pub fn bars(mut self, digest: BarsDigest) -> Self {
        self.bars.push(digest);
        self
    }

    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) of parameters that have more levels than are stored.
    pub(crate) fn check_storable(&self) -> Result<()> {
        let mut parameters = self.documents.iter().filter_map(|d| d.parameters.as_ref());
        parameters.try_for_each(|p| p.check_storable("inputs"))
    }

    /// About what it weighs in a statement, in bytes.
    pub(crate) fn weight(&self) -> usize {
        /// An item without parameters; names and numbers are shorter than this.
        const ITEM: usize = 200;
        let parameters = self.documents.iter().filter_map(|d| d.parameters.as_ref());
        let items = self.documents.len() + self.bars.len();
        parameters.map(|p| p.as_str().len()).sum::<usize>() + items * ITEM
    }
}

/// A cached document as it was when it was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DocumentRevision {
    /// What the document is about.
    pub ticker: Ticker,
    /// What the document is.
    pub data_type: DataType,
    /// Parameters of the request; part of the key, as in [`CacheKey`].
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub parameters: Option<Document>,
    /// The entry's revision, which grows whenever the document changes.
    pub revision: i64,
}

/// Parameters that are there, `null` included: absent ones are another key.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Document>, D::Error> {
    Document::deserialize(deserializer).map(Some)
}

impl ToSql<Jsonb, Pg> for Inputs {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        out.write_all(&[JSONB_VERSION])?;
        serde_json::to_writer(out, self)?;
        Ok(IsNull::No)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_goes_both_ways() {
        let key = |parameters: Option<&str>| CacheKey {
            ticker: "AAPL".parse().expect("a ticker"),
            data_type: DataType::FUNDAMENTALS,
            parameters: parameters.map(|text| Document::parse(text).expect("JSON")),
        };
        let keys = [None, Some("null"), Some("{}"), Some(r#"{"period":"1y"}"#)].map(key);
        let inputs = keys.iter().fold(Inputs::new(), |inputs, key| inputs.document(key, i64::MAX));
        let digest = BarsDigest { ticker: keys[0].ticker.clone(), digest: i64::MIN };
        for inputs in [Inputs::new(), inputs.clone(), inputs.bars(digest)] {
            let text = serde_json::to_string(&inputs).expect("JSON");
            let read: Inputs = serde_json::from_str(&text).expect("inputs");
            assert_eq!(read, inputs, "{text}");
        }
        assert_eq!(serde_json::to_string(&Inputs::new()).expect("JSON"), "{}");
        assert!(serde_json::from_str::<Inputs>(r#"{"fundamentals": 7}"#).is_err());
    }
}
