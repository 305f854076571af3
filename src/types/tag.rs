//! Names under which cached documents are invalidated together.

use std::collections::BTreeSet;
use std::str::FromStr;

use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::pg::{Pg, PgValue};
use diesel::sql_types::{Array, Nullable, Text};
use serde::{Deserialize, Serialize};

use super::text;
use super::text::text_type;
use crate::error::{Error, Result};

/// A name that cached documents have in common: 1 to 100 characters, kept as given but for white
/// space around it.
///
/// ```
/// use buffetbot_db::types::Tag;
/// let tag: Tag = " earnings:2024-Q4 ".parse()?;
/// assert_eq!(tag.as_str(), "earnings:2024-Q4");
/// assert!("".parse::<Tag>().is_err());
/// # Ok::<(), buffetbot_db::Error>(())
/// ```
#[derive(
    Debug,
    Clone,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    diesel::expression::AsExpression,
    diesel::deserialize::FromSqlRow,
)]
#[diesel(sql_type = Text)]
#[serde(try_from = "String", into = "String")]
pub struct Tag(Box<str>);

impl Tag {
    /// Maximum length of a tag, in characters.
    pub const MAX_LENGTH: usize = 100;

    /// The tag of this name.
    ///
    /// # Errors
    /// [`Error::Invalid`] of field `tag`: empty, longer than 100 characters, or with control
    /// or invisible characters.
    pub fn new(name: &str) -> Result<Self> {
        let name = name.trim();
        text::check_required("tag", name, Self::MAX_LENGTH)?;
        Ok(Tag(name.into()))
    }

    /// The tag's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = Error;
    fn from_str(name: &str) -> Result<Self> {
        Tag::new(name)
    }
}

text_type!(Tag);

/// Tags as they are stored: sorted, each once.
pub(crate) fn sorted(tags: &[Tag]) -> Vec<Tag> {
    tags.iter().collect::<BTreeSet<_>>().into_iter().cloned().collect()
}

/// Tags, sorted and each once, as the text of a PostgreSQL array. Rows that are sent as arrays of columns
/// cannot hold arrays themselves: those of PostgreSQL are rectangular.
pub(crate) fn array_text(tags: &[Tag]) -> String {
    let mut text = String::from("{");
    for tag in tags.iter().collect::<BTreeSet<_>>() {
        text.push_str(if text.len() > 1 { ",\"" } else { "\"" });
        for c in tag.as_str().chars() {
            if matches!(c, '"' | '\\') {
                text.push('\\');
            }
            text.push(c);
        }
        text.push('"');
    }
    text.push('}');
    text
}

/// A column of tags, for `deserialize_as` on a field of type `Vec<Tag>`. Diesel knows of no array without
/// NULLs; the column has none. Public for the traits of a public row only: the module is not.
#[derive(FromSqlRow)]
pub struct Tags(Vec<Tag>);

impl FromSql<Array<Nullable<Text>>, Pg> for Tags {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        let tags = <Vec<Option<Tag>> as FromSql<Array<Nullable<Text>>, Pg>>::from_sql(value)?;
        Ok(Tags(tags.into_iter().flatten().collect()))
    }
}

impl From<Tags> for Vec<Tag> {
    fn from(tags: Tags) -> Vec<Tag> {
        tags.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_trimmed_short_and_printable() {
        assert_eq!(Tag::new("\t a b \n").expect("a tag").as_str(), "a b");
        assert!(Tag::new(&"ü".repeat(100)).is_ok());
        for refused in ["", "  ", "a\nb", "a\0", &"x".repeat(101)] {
            match Tag::new(refused) {
                Err(Error::Invalid { field, .. }) => assert_eq!(field, "tag"),
                other => panic!("{refused:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn tags_are_written_sorted_and_each_once() {
        let tags = ["b", "a", "b", r#"q"\,{}"#].map(|name| Tag::new(name).expect("a tag"));
        assert_eq!(array_text(&tags), r#"{"a","b","q\"\\,{}"}"#);
        assert_eq!(array_text(&[]), "{}");
        assert_eq!(sorted(&tags).len(), 3);
    }
}
