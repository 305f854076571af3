//! What stands in Redis: the keys, the fields of an entry, and the script that changes one.

use std::time::Duration;

use redis::{FromRedisValue, Pipeline, Value};
use serde::{Deserialize, Serialize};

use crate::cache::packed::Encoded;
use crate::cache::sync::KEPT;
use crate::store::EntryKeyRef;
use crate::types::canonical::canonical;
use crate::types::{Document, UnitInterval};

/// How long a tombstone keeps what is older from being put back: longer than any reader holds a value
/// between reading it and putting it.
const TOMBSTONE_LIFE: Duration = Duration::from_secs(120);

/// How long a result of a greater version than a change is kept out: longer than a reader holds one, as a
/// rule. It is no longer because most of them are simply newer.
const UNORDERED_LIFE: Duration = Duration::from_secs(10);

/// The longest life, some 30 years: Redis refuses what overflows its clock.
const LONGEST_LIFE_MS: u64 = 1_000_000_000_000;

/// Digits of a version: any `i64`, so that texts compare as the numbers do. Lua's numbers are inexact
/// from 2^53 on.
const VERSION_DIGITS: usize = 19;

/// Changes one entry, and returns the generation, or nil.
///
/// KEYS: entry, generation. ARGV: version, life of a tombstone, and to put an entry also the generation
/// that its value was read under, its life, meta and body. Lives are in milliseconds.
///
/// What is newer stays. A value that was read under another generation is not stored, but what is older
/// than it goes, as by a tombstone. A tombstone may also say that versions are `unordered`, and for how long
/// a value of a greater version than its own is to be kept out then.
pub(super) const CHANGE: &str = "
local held = redis.pcall('HGET', KEYS[1], 'version')
if type(held) ~= 'string' or #held ~= #ARGV[1] then held = '' end
local generation = redis.call('GET', KEYS[2])
if ARGV[3] and ARGV[3] == generation then
  if held <= ARGV[1] then
    redis.call('DEL', KEYS[1])
    redis.call('HSET', KEYS[1], 'version', ARGV[1], 'generation', generation,
      'meta', ARGV[5], 'body', ARGV[6])
    redis.call('PEXPIRE', KEYS[1], ARGV[4])
  end
elseif held < ARGV[1] then
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'version', ARGV[1])
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
elseif ARGV[3] == 'unordered' and held > ARGV[1] and redis.call('HEXISTS', KEYS[1], 'body') == 1 then
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'version', '9999999999999999999')
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
return generation
";

/// The keys of one database's values.
pub(super) struct Keys {
    /// `{prefix:namespace}`: a hash tag, by which a cluster keeps all of them on one server.
    tag: String,
    pub generation: String,
    /// Of the snapshot up to which the level has applied changes.
    pub position: String,
}

impl Keys {
    pub fn new(prefix: &str, namespace: &str) -> Self {
        let tag = format!("{{{}:{}}}", escaped(prefix), escaped(namespace));
        let (generation, position) = (format!("{tag}:generation"), format!("{tag}:position"));
        Keys { tag, generation, position }
    }

    /// `{prefix:namespace}:space:ticker:name:portfolio:parameters`. The last part may hold anything.
    pub fn entry(&self, address: EntryKeyRef<'_>) -> String {
        format!(
            "{}:{}:{}:{}:{}:{}",
            self.tag,
            address.space.as_str(),
            escaped(address.ticker.as_str()),
            escaped(address.name),
            address.portfolio.map(|id| id.to_string()).unwrap_or_default(),
            canonical(address.parameters)
        )
    }
}

/// `part` of a key without its separators.
fn escaped(part: &str) -> String {
    let mut out = String::with_capacity(part.len());
    for character in part.chars() {
        match character {
            '%' | ':' | '{' | '}' => out.push_str(&format!("%{:02X}", u32::from(character))),
            other => out.push(other),
        }
    }
    out
}

/// What is known of a value, but for its version. Milliseconds.
#[derive(Serialize, Deserialize)]
struct Meta {
    revision: i64,
    age: u64,
    fresh_for: u64,
    kept_for: u64,
    source: Option<Box<str>>,
    quality: Option<UnitInterval>,
}

/// Adds the call that puts an entry, or where its life is over, a tombstone.
pub(super) fn put(
    pipe: &mut Pipeline,
    hash: &str,
    keys: [&str; 2],
    generation: &str,
    packed: &Encoded,
) {
    tombstone(pipe, hash, keys, packed.version);
    let kept_for = millis(packed.kept_for);
    let meta = Meta {
        revision: packed.revision,
        age: millis(packed.age),
        fresh_for: millis(packed.fresh_for),
        kept_for,
        source: packed.source.clone(),
        quality: packed.quality.clone(),
    };
    match serde_json::to_string(&meta) {
        Ok(meta) if kept_for > 0 => {
            pipe.arg(generation).arg(kept_for).arg(meta).arg(packed.body.as_str());
        }
        _ => {}
    }
}

/// Adds the call that leaves a tombstone of `version` where what is there is older.
pub(super) fn tombstone(pipe: &mut Pipeline, hash: &str, keys: [&str; 2], version: i64) {
    pipe.cmd("EVALSHA")
        .arg(hash)
        .arg(keys.len())
        .arg(&keys)
        .arg(format!("{:0VERSION_DIGITS$}", version.max(0)))
        .arg(millis(TOMBSTONE_LIFE));
}

/// Makes the tombstone that was added last one among versions that are in no order.
pub(super) fn unordered(pipe: &mut Pipeline) {
    pipe.arg("unordered").arg(millis(UNORDERED_LIFE));
}

/// Adds the command that leaves a position for a time that the log surely goes back.
pub(super) fn set_position(pipe: &mut Pipeline, key: &str, snapshot: &str) {
    pipe.cmd("SET").arg(key).arg(snapshot).arg("PX").arg(millis(KEPT / 2));
}

/// The position of this reply, if it is one: what PostgreSQL would not read is none of ours.
pub(super) fn position(reply: Value) -> Option<String> {
    let snapshot = Option::<String>::from_redis_value(reply).ok()??;
    let (from, rest) = snapshot.split_once(':')?;
    let (to, running) = rest.split_once(':')?;
    let (from, to) = (from.parse::<u64>().ok()?, to.parse::<u64>().ok()?);
    let mut last = from;
    for transaction in running.split(',').filter(|_| !running.is_empty()) {
        let transaction = transaction.parse::<u64>().ok()?;
        (last..to).contains(&transaction).then_some(())?;
        last = transaction + 1;
    }
    (from > 0 && from <= to).then_some(snapshot)
}

/// Adds the commands that [`read`] reads. The life comes first: where the entry is replaced between the
/// two, the lesser of both lives is right.
pub(super) fn get(pipe: &mut Pipeline, key: &str) {
    pipe.cmd("PTTL").arg(key);
    pipe.cmd("HMGET").arg(key).arg(&["version", "generation", "meta", "body"]);
}

/// The entry of these replies; `None`: no entry of this generation exists, or this crate did not write it.
pub(super) fn read(life: Value, fields: Value, generation: &str) -> Option<Encoded> {
    type Fields = (Option<String>, Option<String>, Option<String>, Option<String>);
    let (Some(version), Some(written_under), Some(meta), Some(body)) =
        Fields::from_redis_value(fields).ok()?
    else {
        return None;
    };
    // Below zero: there is no such key, or it never expires, so that this crate did not write it.
    let life = u64::try_from(i64::from_redis_value(life).ok()?).ok()?;
    if written_under != generation {
        return None;
    }
    let meta: Meta = serde_json::from_str(&meta).ok()?;
    // No clock but that of Redis: what is gone of the life is what has passed since it was written.
    let kept_for = life.min(meta.kept_for);
    let elapsed = meta.kept_for - kept_for;
    (kept_for > 0).then_some(())?;
    Some(Encoded {
        version: version.parse().ok()?,
        revision: meta.revision,
        age: Duration::from_millis(meta.age.saturating_add(elapsed)),
        fresh_for: Duration::from_millis(meta.fresh_for.saturating_sub(elapsed).min(kept_for)),
        kept_for: Duration::from_millis(kept_for),
        source: meta.source,
        quality: meta.quality,
        body: Document::parse(body).ok()?,
    })
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX).min(LONGEST_LIFE_MS)
}
