//! What PostgreSQL's JSONB refuses of valid JSON.
//!
//! The limits of numbers are those of NUMERIC (PostgreSQL's documentation, table 8.2).

/// Levels of arrays and objects: as many as serde_json decodes into any type. The server's own limit depends on its stack:
/// with the default `max_stack_depth` of 2 MB version 15 takes 13,000.
const DEPTH: usize = 127;

/// Levels of what is stored. Inputs, results, events and exports hold it up to six levels down, and are to be documents, too.
pub(super) const STORED_DEPTH: usize = 120;

/// Decimal digits before the point.
const INTEGER_DIGITS: i64 = 131_072;

/// Decimal digits after the point, zeros at the end included.
const SCALE: i64 = 16_383;

/// The largest power of ten that is read at all, also of zero.
const EXPONENT: i64 = (i32::MAX as i64 - 1) / 2 - 1;

/// Why JSONB does not hold `json`, which is valid.
///
/// # Errors
/// What is wrong, without quoting the document.
pub(super) fn check(json: &str) -> Result<(), &'static str> {
    let bytes = json.as_bytes();
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'"' => at = string(bytes, at)?,
            b'[' | b'{' => {
                depth += 1;
                if depth > DEPTH {
                    return Err("nested deeper than 127 levels");
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'-' | b'0'..=b'9' => {
                let is_number =
                    |b: &u8| matches!(b, b'+' | b'-' | b'.' | b'e' | b'E' | b'0'..=b'9');
                let end = bytes[at..].iter().position(|b| !is_number(b));
                let end = end.map_or(bytes.len(), |length| at + length);
                if !is_held(&json[at - 1..end]) {
                    return Err("holds a number of more digits than PostgreSQL's NUMERIC");
                }
                at = end;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether `json`, which is valid, has more levels of arrays and objects than these.
pub(super) fn is_deeper_than(levels: usize, json: &str) -> bool {
    let (mut depth, mut in_string) = (0_usize, false);
    let mut bytes = json.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => in_string = !in_string,
            // What is escaped ends no string.
            b'\\' => _ = bytes.next(),
            b'[' | b'{' if !in_string => {
                depth += 1;
                if depth > levels {
                    return true;
                }
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// Where the string ends that begins at `at`, behind its quote.
fn string(bytes: &[u8], mut at: usize) -> Result<usize, &'static str> {
    loop {
        let special = bytes[at..].iter().position(|b| matches!(b, b'"' | b'\\'));
        // Valid JSON ends every string.
        let Some(found) = special.map(|length| at + length) else { return Ok(bytes.len()) };
        if bytes[found] == b'"' {
            return Ok(found + 1);
        }
        at = found + 2;
        let Some(unit) = unit(bytes, found) else { continue };
        at = found + 6;
        match unit {
            0 => return Err("must not contain NUL characters"),
            0xD800..=0xDBFF if matches!(self::unit(bytes, at), Some(0xDC00..=0xDFFF)) => at += 6,
            0xD800..=0xDFFF => return Err("must not contain half a surrogate pair"),
            _ => {}
        }
    }
}

/// The UTF-16 unit of the escape `\uXXXX` at `at`, if it is one.
fn unit(bytes: &[u8], at: usize) -> Option<u32> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Whether NUMERIC holds this number.
fn is_held(number: &str) -> bool {
    let number = number.trim_start_matches('-');
    let (digits, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let Some(exponent) = exponent.parse().ok().filter(|e: &i64| e.abs() <= EXPONENT) else {
        return false;
    };
    let (integer, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let length = |digits: &str| i64::try_from(digits.len()).unwrap_or(i64::MAX);
    // Places of the first digit that is not zero before the point; zero or negative where it stands after the point.
    let places = match integer.trim_start_matches('0') {
        "" => match fraction.trim_start_matches('0') {
            "" => i64::MIN,
            significant => length(significant) - length(fraction) + exponent,
        },
        significant => length(significant) + exponent,
    };
    places <= INTEGER_DIGITS && length(fraction) - exponent <= SCALE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_counted_outside_of_strings() {
        let json = r#"{"[[\"[[": [1, "]]]]]", {"a\\": []}], "b": [[], []]}"#;
        assert!(is_deeper_than(3, json) && !is_deeper_than(4, json));
        assert!(!is_deeper_than(0, r#""[\\""#) && is_deeper_than(0, "[]"));
    }

    #[test]
    fn what_jsonb_holds_is_told() {
        let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        let zeros = |count: usize| format!("1{}", "0".repeat(count));
        let held = [
            r#"{"a":"\\u0000","b":["\ud83e\udd80","\u00e4"]}"#.to_owned(),
            deep(127),
            format!("[{}]", vec!["[[]]"; 2_000].join(",")),
            zeros(131_071),
            "[1e131071, 0.0001e131075, 1e-16383, 1.5e-16382, 0e1073741822, -0.0, 1E+2]".into(),
        ];
        for json in held {
            assert_eq!(check(&json), Ok(()), "{json:.80}");
        }
        let refused = [
            r#""a\u0000""#.to_owned(),
            r#""\\\u0000""#.into(),
            r#"["\ud800"]"#.into(),
            r#"{"\udc00":1}"#.into(),
            r#""\ud800x""#.into(),
            r#""\ud800\ud800""#.into(),
            deep(128),
            zeros(131_072),
            "1e131072".into(),
            "[0.1e131073]".into(),
            "1e-16384".into(),
            "0e-16384".into(),
            "1.5e-16383".into(),
            "0e1073741823".into(),
            "1e99999999999999999999".into(),
        ];
        for json in refused {
            assert!(check(&json).is_err(), "{json:.80}");
        }
    }
}
