//! What every text column refuses, said before the round trip.

use crate::error::{Error, Result};

/// Checks a text against its column: at most `max` characters, no NUL (PostgreSQL stores none).
///
/// # Errors
/// [`Error::Invalid`] of `field`; the text itself is not shown, it may be private.
pub(crate) fn check(field: &'static str, value: &str, max: usize) -> Result<()> {
    if value.contains('\0') {
        return Err(Error::invalid(field, "must not contain NUL characters"));
    }
    let length = value.chars().count();
    if length > max {
        return Err(Error::invalid(field, format!("{length} characters, at most {max} fit")));
    }
    Ok(())
}

/// The text as a part of a LIKE pattern that matches itself.
pub(crate) fn escape_like(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '\\' | '%' | '_') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

/// As [`check`], of a text that may be absent.
pub(crate) fn check_optional(field: &'static str, value: Option<&str>, max: usize) -> Result<()> {
    value.map_or(Ok(()), |value| check(field, value, max))
}

/// As [`check`], of a name or another text of one line: nothing in it may be unseen, so that two that look alike
/// are alike.
///
/// # Errors
/// As [`check`]; white space at an end, control characters, characters of no width or that change the
/// direction of writing.
pub(crate) fn check_line(field: &'static str, value: &str, max: usize) -> Result<()> {
    check(field, value, max)?;
    if value.trim() != value {
        return Err(Error::invalid(field, "must not begin or end with white space"));
    }
    let mut before = None;
    for character in value.chars() {
        if is_unseen(character) && !is_shown_behind(before, character) {
            return Err(unseen(field));
        }
        before = Some(character);
    }
    Ok(())
}

/// As [`check_line`], of a text that identifies an account: no character in it has two forms.
///
/// # Errors
/// As [`check_line`]; variation selectors.
pub(crate) fn check_identity(field: &'static str, value: &str, max: usize) -> Result<()> {
    check_line(field, value, max)?;
    match value.chars().any(is_unseen) {
        true => Err(unseen(field)),
        false => Ok(()),
    }
}

fn unseen(field: &'static str) -> Error {
    Error::invalid(field, "must not contain control or invisible characters")
}

/// As [`check_line`], of a text that may be absent.
pub(crate) fn check_optional_line(
    field: &'static str,
    value: Option<&str>,
    max: usize,
) -> Result<()> {
    value.map_or(Ok(()), |value| check_line(field, value, max))
}

/// As [`check_line`], and there must be something besides white space.
pub(crate) fn check_required(field: &'static str, value: &str, max: usize) -> Result<()> {
    if value.trim().is_empty() {
        return Err(Error::invalid(field, "must not be empty"));
    }
    check_line(field, value, max)
}

/// Characters without an image of their own: controls, line and paragraph separators, marks of direction, joiners and
/// other characters of no width, fillers, blanks that are not white space, variation selectors, tags. The function `is_line`
/// of the database has the same.
pub(crate) fn is_unseen(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffc}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d159}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// Whether an unseen character shows by what it does to the one before it: the selectors of text and of emoji, which keyboards
/// send behind a symbol. Digits and letters have no such form.
fn is_shown_behind(before: Option<char>, character: char) -> bool {
    matches!(character, '\u{fe0e}' | '\u{fe0f}')
        && before.is_some_and(|symbol| {
            !is_unseen(symbol)
                && matches!(symbol,
                    '\u{a9}' | '\u{ae}' | '\u{203c}'..='\u{2bff}' | '\u{3030}' | '\u{303d}' | '\u{3297}'
                    | '\u{3299}' | '\u{1f000}'..='\u{1faff}')
        })
}

/// `value` as a literal of SQL, where a statement takes no binds; the same in either setting of
/// `standard_conforming_strings`. It must not contain NUL.
pub(crate) fn quote_literal(value: &str) -> String {
    let mut literal = String::with_capacity(value.len() + 3);
    if value.contains('\\') {
        literal.push('E');
    }
    literal.push('\'');
    for character in value.chars() {
        // Doubled, both stand for themselves.
        if matches!(character, '\'' | '\\') {
            literal.push(character);
        }
        literal.push(character);
    }
    literal.push('\'');
    literal
}

/// Length limit of columns of type TEXT: PostgreSQL's limit of one value, far above any sensible one.
pub(crate) const UNLIMITED: usize = 1 << 28;

/// Diesel and serde for a type that is a checked text: it goes out by `as_str` and comes in by
/// `FromStr`, whose error of a stored value becomes [`Error::Corrupt`].
macro_rules! text_type {
    ($name:ident) => {
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl TryFrom<String> for $name {
            type Error = crate::error::Error;
            fn try_from(text: String) -> crate::error::Result<Self> {
                text.parse()
            }
        }

        impl TryFrom<&str> for $name {
            type Error = crate::error::Error;
            fn try_from(text: &str) -> crate::error::Result<Self> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.as_str().to_owned()
            }
        }

        impl diesel::serialize::ToSql<diesel::sql_types::Text, diesel::pg::Pg> for $name {
            fn to_sql<'b>(
                &'b self,
                out: &mut diesel::serialize::Output<'b, '_, diesel::pg::Pg>,
            ) -> diesel::serialize::Result {
                use std::io::Write;
                out.write_all(self.as_str().as_bytes())?;
                Ok(diesel::serialize::IsNull::No)
            }
        }

        impl diesel::deserialize::FromSql<diesel::sql_types::Text, diesel::pg::Pg> for $name {
            fn from_sql(value: diesel::pg::PgValue<'_>) -> diesel::deserialize::Result<Self> {
                Ok(std::str::from_utf8(value.as_bytes())?.parse::<Self>()?)
            }
        }
    };
}
pub(crate) use text_type;

#[cfg(test)]
mod tests {
    use super::{check_identity, check_line, check_required, quote_literal};

    #[test]
    fn a_line_shows_all_that_is_in_it() {
        for fine in
            ["ada", "Zoë O’Hara", "李小龍", "a b", "🚀 core", "❤\u{fe0f}", "نوش آذر", "x\u{301}"]
        {
            assert!(check_line("name", fine, 50).is_ok(), "{fine}");
        }
        for wrong in [
            " a",
            "a ",
            "a\u{2003}",
            "a\nb",
            "a\u{1b}[31m",
            "a\u{200d}b",
            "a\u{2028}b",
            "\u{e0041}a",
            "a\0",
            "ada\u{fe0f}",
            "\u{fe0f}",
            "1\u{fe0f}",
            "❤\u{fe0f}\u{fe0f}",
            "❤\u{fe00}",
            "\u{2800}",
            "\u{2800}\u{fe0f}",
            "a\u{fffc}",
            "a\u{1d159}",
            "a\u{1d173}",
            "a\u{3164}b",
            "a\u{115f}",
            "a\u{1160}",
            "a\u{17b4}",
            "a\u{180b}",
            "葛\u{e0100}",
        ] {
            assert!(check_line("name", wrong, 50).is_err(), "{wrong:?}");
            assert!(check_identity("name", wrong, 50).is_err(), "{wrong:?}");
        }
        assert!(check_identity("name", "❤", 50).is_ok());
        assert!(check_identity("name", "❤\u{fe0f}", 50).is_err());
        assert!(check_line("name", "", 50).is_ok() && check_required("name", "", 50).is_err());
    }

    #[test]
    fn no_literal_ends_early() {
        for (value, literal) in [
            ("BRK.B", "'BRK.B'"),
            ("", "''"),
            ("'", "''''"),
            ("'; DROP TABLE USERS; --", "'''; DROP TABLE USERS; --'"),
            (r"\", r"E'\\'"),
            (r"\'", r"E'\\'''"),
            (r"A\' OR 1=1 --", r"E'A\\'' OR 1=1 --'"),
            ("$$ $1 %s {}", "'$$ $1 %s {}'"),
        ] {
            assert_eq!(quote_literal(value), literal);
        }
    }
}
