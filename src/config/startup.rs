//! The server's options at connect, as the server reads them.

use std::time::Duration;

/// The switches of `postgres` that are followed by a value.
const WITH_VALUE: &str = "BCDcdfhkNprStvW-";

/// The `statement_timeout` that these options set: `None` where they do not, `Some(None)` where its value is in no
/// form that is known here.
pub(super) fn statement_timeout(options: &str) -> Option<Option<Duration>> {
    let settings = settings(options);
    let (_, value) = settings.iter().rev().find(|(name, _)| name == "statement_timeout")?;
    Some(limit(value))
}

/// Names, in lower case, and values of `-c name=value`, `-cname=value` and `--name=value`. As in the server, a hyphen in
/// a name stands for an underscore.
fn settings(options: &str) -> Vec<(String, String)> {
    let mut settings = Vec::new();
    let mut words = split(options).into_iter();
    while let Some(word) = words.next() {
        let Some(switches) = word.strip_prefix('-').filter(|s| !s.is_empty()) else { break };
        for (i, switch) in switches.char_indices() {
            if !WITH_VALUE.contains(switch) {
                continue;
            }
            let rest = &switches[i + switch.len_utf8()..];
            let value = match rest.is_empty() {
                false => Some(rest.to_owned()),
                true => words.next(),
            };
            if let ('c' | '-', Some(setting)) = (switch, value) {
                let (name, value) = setting.split_once('=').unwrap_or((&setting, ""));
                settings.push((name.replace('-', "_").to_lowercase(), value.to_owned()));
            }
            break;
        }
    }
    settings
}

/// At white space, except behind a backslash, which also stands for itself behind another.
fn split(options: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = None;
    let mut characters = options.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => word.get_or_insert_with(String::new).extend(characters.next()),
            c if c.is_ascii_whitespace() || c == '\u{b}' => words.extend(word.take()),
            c => word.get_or_insert_with(String::new).push(c),
        }
    }
    words.extend(word);
    words
}

/// A span as the server's settings have it, in milliseconds where it has no unit.
fn limit(value: &str) -> Option<Duration> {
    let value = value.trim();
    let digits = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let (number, unit) = value.split_at(digits);
    let micros = match unit.trim() {
        "us" => 1,
        "" | "ms" => 1_000,
        "s" => 1_000_000,
        "min" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        _ => return None,
    };
    Some(Duration::from_micros(number.parse::<u64>().ok()?.checked_mul(micros)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_found_as_the_server_finds_them() {
        for (options, name, value) in [
            ("-c statement_timeout=5s", "statement_timeout", "5s"),
            ("-cstatement-timeout=5s", "statement_timeout", "5s"),
            ("--Statement-Timeout=5s", "statement_timeout", "5s"),
            ("-F -c a.b=c=d", "a.b", "c=d"),
            ("-Fc x=1", "x", "1"),
            (r"-c\ x=1", " x", "1"),
            (r"-c x=a\ b\\c\", "x", r"a b\c"),
        ] {
            assert_eq!(settings(options).last(), Some(&(name.into(), value.into())), "{options}");
        }
        for none in
            ["", "  ", "-", "statement_timeout=5", "-c", "-t statement_timeout=5", "-- -c a=b"]
        {
            let found = settings(none);
            assert!(found.iter().all(|(name, _)| name != "statement_timeout"), "{none}: {found:?}");
        }
    }

    #[test]
    fn the_last_statement_timeout_counts() {
        let seconds = |n| Some(Some(Duration::from_secs(n)));
        assert_eq!(statement_timeout("-c deadlock_timeout=2s"), None);
        assert_eq!(statement_timeout("-c application_name=statement_timeout"), None);
        assert_eq!(
            statement_timeout("-c statement_timeout=2s --statement-timeout=3000"),
            seconds(3)
        );
        assert_eq!(statement_timeout(r"-c statement_timeout=2\ min"), seconds(120));
        assert_eq!(statement_timeout("-c statement_timeout=0"), seconds(0));
        assert_eq!(statement_timeout("-c statement_timeout=0x10"), Some(None));
        assert_eq!(statement_timeout("-c statement_timeout=99999999999999999999d"), Some(None));
    }
}
