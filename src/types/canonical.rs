//! One spelling for JSON documents that PostgreSQL's JSONB holds equal, for levels that find a value
//! by bytes.

use super::document::Document;

/// The one spelling of key parameters: equal for two documents exactly if they are equal as JSONB
/// values. Absent parameters are the empty string, which no document is.
///
/// - Objects: keys in the order of their bytes, of duplicates the last.
/// - Strings: escaped is only what must be; control characters as `\u00xx`.
/// - Numbers: digits without zeros at either end, and the power of ten: 1.50 is `15e-1`, -0 is `0`.
pub(crate) fn canonical(parameters: Option<&Document>) -> String {
    parameters.map_or_else(String::new, |document| spelled(document.as_str()))
}

/// An object being written.
struct Object {
    /// Where it, and where its next member, begins in the output.
    start: usize,
    next: usize,
    members: Vec<Member>,
}

/// `"key":value` in the output.
struct Member {
    start: usize,
    key_end: usize,
    end: usize,
}

/// As [`canonical`], of valid JSON. Without recursion: a document may be nested deeper than the stack.
fn spelled(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    // `None`: an array.
    let mut open: Vec<Option<Object>> = Vec::new();
    let mut rest = json;
    while let Some(first) = rest.bytes().next() {
        match first {
            b' ' | b'\t' | b'\n' | b'\r' => {
                rest = &rest[1..];
                continue;
            }
            b'"' => {
                rest = string(rest, &mut out);
                continue;
            }
            b'-' | b'0'..=b'9' => {
                let end =
                    rest.find(|c: char| !matches!(c, '+' | '-' | '.' | 'e' | 'E' | '0'..='9'));
                let (text, after) = rest.split_at(end.unwrap_or(rest.len()));
                number(text, &mut out);
                rest = after;
                continue;
            }
            b'[' => open.push(None),
            b'{' => {
                let start = out.len();
                open.push(Some(Object { start, next: start + 1, members: Vec::new() }));
            }
            b':' => {
                if let Some(Some(object)) = open.last_mut() {
                    let (start, key_end) = (object.next, out.len());
                    object.members.push(Member { start, key_end, end: 0 });
                }
            }
            b',' => {
                if let Some(Some(object)) = open.last_mut() {
                    object.end_member(out.len());
                }
            }
            b']' => drop(open.pop()),
            b'}' => {
                if let Some(Some(mut object)) = open.pop() {
                    object.end_member(out.len());
                    object.sort(&mut out);
                }
            }
            // `true`, `false`, `null`.
            _ => {}
        }
        // The text is valid JSON, so what stands here outside of strings is ASCII.
        let (same, after) = rest.split_at(1);
        out.push_str(same);
        rest = after;
    }
    out
}

impl Object {
    fn end_member(&mut self, at: usize) {
        if let Some(member) = self.members.last_mut() {
            member.end = at;
        }
        self.next = at + 1;
    }

    /// Puts the members in order, where they are not.
    fn sort(mut self, out: &mut String) {
        let key = |member: &Member| &out[member.start..member.key_end];
        if self.members.is_sorted_by(|a, b| key(a) < key(b)) {
            return;
        }
        // Stable: the last of equal keys stays the last.
        self.members.sort_by(|a, b| key(a).cmp(key(b)));
        let mut sorted = String::with_capacity(out.len() - self.start);
        for (i, member) in self.members.iter().enumerate() {
            if self.members.get(i + 1).is_some_and(|next| key(next) == key(member)) {
                continue;
            }
            sorted.push(if sorted.is_empty() { '{' } else { ',' });
            sorted.push_str(&out[member.start..member.end]);
        }
        out.truncate(self.start);
        out.push_str(&sorted);
    }
}

/// Writes the string that `rest` begins with; returns what follows it.
fn string<'a>(rest: &'a str, out: &mut String) -> &'a str {
    let mut rest = &rest[1..];
    out.push('"');
    while let Some(at) = rest.find(['"', '\\']) {
        out.push_str(&rest[..at]);
        let mut after = rest[at..].chars();
        if after.next() == Some('"') {
            out.push('"');
            return after.as_str();
        }
        match after.next() {
            Some('b') => control(8, out),
            Some('f') => control(12, out),
            Some('n') => control(10, out),
            Some('r') => control(13, out),
            Some('t') => control(9, out),
            Some('u') => {
                let (unit, tail) = unit(after.as_str());
                after = tail.chars();
                let pair = tail.strip_prefix("\\u").map(self::unit);
                let both = pair.and_then(|(low, tail)| Some((surrogates(unit, low)?, tail)));
                match both {
                    Some((character, tail)) => {
                        out.push(character);
                        after = tail.chars();
                    }
                    None => match char::from_u32(unit) {
                        Some(escaped @ ('"' | '\\')) => out.extend(['\\', escaped]),
                        Some(other @ ' '..) => out.push(other),
                        // Half of a pair, which JSONB refuses, keeps its escape, too.
                        _ => control(unit, out),
                    },
                }
            }
            Some(escaped @ ('"' | '\\')) => out.extend(['\\', escaped]),
            Some(other) => out.push(other),
            None => {}
        }
        rest = after.as_str();
    }
    ""
}

/// The UTF-16 unit of an escape's four digits, and what follows them.
fn unit(digits: &str) -> (u32, &str) {
    let (digits, rest) = digits.split_at_checked(4).unwrap_or((digits, ""));
    (u32::from_str_radix(digits, 16).unwrap_or_default(), rest)
}

/// The character of a surrogate pair.
fn surrogates(high: u32, low: u32) -> Option<char> {
    let is_pair = (0xD800..0xDC00).contains(&high) && (0xDC00..0xE000).contains(&low);
    if is_pair { char::from_u32(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00)) } else { None }
}

fn control(unit: u32, out: &mut String) {
    out.push_str(&format!("\\u{unit:04x}"));
}

/// Writes the number `text` as digits and a power of ten, without expanding either.
fn number(text: &str, out: &mut String) {
    let (sign, unsigned) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = [whole, fraction].concat();
    digits.truncate(digits.trim_end_matches('0').len());
    let trimmed = whole.len() + fraction.len() - digits.len();
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return out.push('0');
    }
    let Ok(exponent) = exponent.parse::<i64>() else {
        // Far beyond what JSONB holds: as it is.
        return out.push_str(text);
    };
    // Wider than the exponent, and the lengths of texts fit.
    let exponent = i128::from(exponent) + trimmed as i128 - fraction.len() as i128;
    out.push_str(sign);
    out.push_str(digits);
    if exponent != 0 {
        out.push_str(&format!("e{exponent}"));
    }
}

#[cfg(test)]
mod tests;
