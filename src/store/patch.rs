//! Nullable columns of a patch.

use serde::{Deserialize, Deserializer};

/// A new value of a nullable column, or `None` to clear it. The setters of patches accept whatever becomes one: a value, an
/// `Option` of it, and `&str` for text.
///
/// ```
/// use buffetbot_db::portfolios::PositionPatch;
/// let noted = PositionPatch::default().notes("core holding");
/// let cleared = PositionPatch::default().notes(None);
/// assert_eq!(noted.notes, Some(Some("core holding".to_owned())));
/// assert_eq!(cleared.notes, Some(None));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Clearable<T>(pub Option<T>);

impl<T> From<T> for Clearable<T> {
    fn from(value: T) -> Self {
        Clearable(Some(value))
    }
}

impl<T> From<Option<T>> for Clearable<T> {
    fn from(value: Option<T>) -> Self {
        Clearable(value)
    }
}

impl From<&str> for Clearable<String> {
    fn from(text: &str) -> Self {
        Clearable(Some(text.to_owned()))
    }
}

/// For `deserialize_with` on an `Option<Option<T>>` with a default: serde alone reads `null` as
/// the outer `None`, which would leave the column that is to be cleared.
pub(crate) fn nullable<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Some)
}
