//! One file of a cache as a document with its key and its times.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::options::{FileCacheOptions, Shape};
use crate::error::{Error, shown};
use crate::import::field::{Reason, reason, required};
use crate::market_cache::{Backfill, CacheKey, NewCacheEntry, PutOptions};
use crate::types::{DataType, Document, Tag, Ticker, UnitInterval, parse_time};

/// What is in a file.
pub(super) struct Parsed {
    /// `None`: it had expired when it was fetched.
    pub document: Option<Backfill>,
    pub nulled: u64,
    pub ignored: Vec<String>,
}

/// Reads a file's bytes, decompressed; `modified` is when it was written.
pub(super) fn parse(
    path: &Path,
    bytes: &[u8],
    modified: DateTime<Utc>,
    options: &FileCacheOptions,
) -> Result<Parsed, Reason> {
    let text = text(bytes)?;
    let (text, nulled) = match options.non_finite_as_null {
        true => with_nulls(text),
        false => (Cow::Borrowed(text), 0),
    };
    let key = || match (options.keys)(path) {
        Ok(key) => required("key", key),
        Err(e) => Err(reason("key", e)),
    };
    let (file, ignored) = match options.shape {
        Shape::Documents => {
            let (kept, data) = (options.kept.clone(), document(&text)?);
            (File { key: key()?, data, fetched: modified, expires_at: None, kept }, Vec::new())
        }
        Shape::Envelopes => Envelope::parse(&text)?.file(key, modified, &options.kept)?,
    };
    Ok(Parsed { document: file.living()?, nulled, ignored })
}

/// The file's text, without the mark that Windows puts before it.
fn text(bytes: &[u8]) -> Result<&str, Reason> {
    // How a pickle of protocol 2 or later begins.
    if matches!(bytes, [0x80, 2..=5, ..]) {
        return Err(
            "is a Python pickle, not JSON: examples/import_cache/unpickle.py converts it".into()
        );
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "is not UTF-8")?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

fn document(text: &str) -> Result<Document, Reason> {
    Document::parse(text).map_err(|e| match with_nulls(text).1 {
        0 => reason("document", e),
        _ => "document: contains NaN or Infinity, which JSON cannot represent".into(),
    })
}

/// `json` with null for the `NaN` and `Infinity` that Python writes, and how many there were.
fn with_nulls(json: &str) -> (Cow<'_, str>, u64) {
    const WORDS: [&str; 3] = ["NaN", "Infinity", "-Infinity"];
    let (mut out, mut copied, mut count) = (String::new(), 0, 0);
    let (bytes, mut at, mut in_string) = (json.as_bytes(), 0, false);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => in_string = !in_string,
            b'\\' if in_string => at += 1,
            b'N' | b'I' | b'-' if !in_string => {
                // A byte of ASCII: a character begins here.
                if let Some(word) = WORDS.iter().find(|word| json[at..].starts_with(**word)) {
                    out.push_str(&json[copied..at]);
                    out.push_str("null");
                    at += word.len();
                    copied = at;
                    count += 1;
                    continue;
                }
            }
            _ => {}
        }
        at += 1;
    }
    if count == 0 {
        return (Cow::Borrowed(json), 0);
    }
    out.push_str(&json[copied..]);
    (Cow::Owned(out), count)
}

/// What a file says; every part is optional.
struct File {
    key: CacheKey,
    data: Document,
    fetched: DateTime<Utc>,
    /// Where the file gives it and not a lifetime.
    expires_at: Option<DateTime<Utc>>,
    kept: PutOptions,
}

impl File {
    /// `None`: it had expired when it was fetched. Else the database's clock decides.
    fn living(self) -> Result<Option<Backfill>, Reason> {
        let mut options = self.kept;
        if let Some(end) = self.expires_at {
            options.ttl = (end - self.fetched).to_std().unwrap_or_default();
        }
        if options.ttl.is_zero() {
            return Ok(None);
        }
        let entry = NewCacheEntry::new(self.key, self.data, options);
        entry.validate().map_err(of_field)?;
        Ok(Some(Backfill { entry, cached_at: self.fetched }))
    }
}

/// An error as the reason of a file; its field is a name that the user knows.
pub(super) fn of_field(error: Error) -> Reason {
    match error {
        Error::Invalid { field, reason } => format!("{field}: {reason}"),
        other => other.to_string(),
    }
}

/// The members of an envelope that are not taken yet.
struct Envelope<'a>(HashMap<String, &'a RawValue>);

impl<'a> Envelope<'a> {
    fn parse(text: &'a str) -> Result<Self, Reason> {
        match serde_json::from_str(text) {
            Ok(members) => Ok(Envelope(members)),
            // A text that is not JSON is reported as for a document, with the place.
            Err(_) => Err(document(text).err().unwrap_or_else(|| "is not a JSON object".into())),
        }
    }

    /// The file, and the names of the members that mean nothing.
    fn file(
        mut self,
        key: impl Fn() -> Result<CacheKey, Reason>,
        modified: DateTime<Utc>,
        kept: &PutOptions,
    ) -> Result<(File, Vec<String>), Reason> {
        let data = self.0.remove("data").ok_or("data: missing")?;
        let data = document(data.get())?;
        let fetched = self.time("timestamp", &["cached_at", "fetched_at"])?.unwrap_or(modified);
        let expires_at = self.time("expires_at", &[])?;
        let stale_until = self.time("stale_until", &[])?;
        let mut kept = kept.clone();
        if let Some(lifetime) = self.member("expiration", &["ttl"])? {
            kept.ttl = seconds(lifetime).map_err(|e| format!("expiration: {e}"))?;
        }
        if let Some(source) = self.typed("data_source", &["source"])? {
            kept.source = Some(source);
        }
        if let Some(quality) = self.member("data_quality_score", &["quality"])? {
            kept.quality = Some(fraction(quality).map_err(|e| format!("data_quality_score: {e}"))?);
        }
        if let Some(tags) = self.typed::<Vec<String>>("tags", &[])? {
            let tags = tags.iter().map(|tag| Tag::new(tag)).collect::<Result<_, _>>();
            kept.tags = tags.map_err(|e| reason("tags", e))?;
        }
        if let Some(stale_until) = stale_until {
            let lifetime = TimeDelta::from_std(kept.ttl).unwrap_or(TimeDelta::MAX);
            let end = expires_at.or_else(|| fetched.checked_add_signed(lifetime));
            let window = end.and_then(|end| (stale_until - end).to_std().ok());
            kept.stale_for = window.unwrap_or_default();
        }
        let ticker: Option<Ticker> = self.parsed("ticker", &["symbol"])?;
        let data_type: Option<DataType> = self.parsed("data_type", &["type"])?;
        let parameters = self.member("parameters", &["params"])?;
        let key = match (ticker, data_type) {
            (Some(ticker), Some(data_type)) => {
                let parameters = parameters.map(|raw| document(raw.get())).transpose()?;
                CacheKey { ticker, data_type, parameters }
            }
            (None, None) if parameters.is_none() => key()?,
            (ticker, _) => {
                let missing = if ticker.is_none() { "ticker" } else { "data_type" };
                return Err(format!(
                    "{missing}: missing, although another part of the key is given"
                ));
            }
        };
        let file = File { key, data, fetched, expires_at, kept };
        Ok((file, self.0.into_keys().collect()))
    }

    /// Takes the member of this name or of another one for it; null is absent.
    fn member(&mut self, name: &str, others: &[&str]) -> Result<Option<&'a RawValue>, Reason> {
        let mut found = None;
        for known in [name].iter().chain(others) {
            let Some(raw) = self.0.remove(*known).filter(|raw| raw.get() != "null") else {
                continue;
            };
            if found.replace(raw).is_some() {
                return Err(format!("{name}: given twice, also as {known}"));
            }
        }
        Ok(found)
    }

    fn typed<T: DeserializeOwned>(
        &mut self,
        name: &str,
        others: &[&str],
    ) -> Result<Option<T>, Reason> {
        let raw = self.member(name, others)?;
        let value = raw.map(|raw| serde_json::from_str(raw.get())).transpose();
        value.map_err(|_| format!("{name}: of another type than expected"))
    }

    fn parsed<T: FromStr<Err = Error>>(
        &mut self,
        name: &str,
        others: &[&str],
    ) -> Result<Option<T>, Reason> {
        let text: Option<String> = self.typed(name, others)?;
        text.map(|text| text.parse().map_err(|e| reason(name, e))).transpose()
    }

    fn time(&mut self, name: &str, others: &[&str]) -> Result<Option<DateTime<Utc>>, Reason> {
        let raw = self.member(name, others)?;
        raw.map(|raw| time(raw).map_err(|e| format!("{name}: {e}"))).transpose()
    }
}

/// A time as text, or as the seconds or milliseconds since 1970.
fn time(raw: &RawValue) -> Result<DateTime<Utc>, Reason> {
    /// Seconds would be those of the year 5138, milliseconds are those of 1973.
    const MILLISECONDS: f64 = 1e11;
    if let Ok(text) = serde_json::from_str::<String>(raw.get()) {
        return parse_time(&text).map_err(of_value);
    }
    let number: f64 = number(raw)?;
    let micros = if number.abs() < MILLISECONDS { number * 1e6 } else { number * 1e3 };
    // A float beyond the integers becomes their last, which is not a valid time.
    DateTime::from_timestamp_micros(micros.round() as i64)
        .ok_or_else(|| format!("{}: no time", shown(raw.get())))
}

fn seconds(raw: &RawValue) -> Result<Duration, Reason> {
    let not = || format!("{}: no number of seconds", shown(raw.get()));
    Duration::try_from_secs_f64(number(raw)?).map_err(|_| not())
}

fn number(raw: &RawValue) -> Result<f64, Reason> {
    serde_json::from_str(raw.get()).map_err(|_| format!("{}: no number", shown(raw.get())))
}

/// A quality, rounded to what its column holds; as a number or as its text.
fn fraction(raw: &RawValue) -> Result<UnitInterval, Reason> {
    let text = raw.get().trim_matches('"');
    let number = text.parse().map_err(|_| format!("{}: no number", shown(text)))?;
    UnitInterval::quantised(number).map_err(of_value)
}

/// The reason alone, where the member is named already.
fn of_value(error: Error) -> Reason {
    match error {
        Error::Invalid { reason, .. } => reason,
        other => other.to_string(),
    }
}
