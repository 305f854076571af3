//! Serde of a patch's nullable columns.

use serde::{Deserialize, Deserializer};

/// For `deserialize_with` on an `Option<Option<T>>` with a default: serde alone reads `null` as
/// the outer `None`, which would leave the column that is to be cleared.
pub(crate) fn nullable<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Some)
}
