//! Soft deletion, as a choice of rows.

use serde::{Deserialize, Serialize};

/// Which rows of a table with soft deletion a call includes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activity {
    /// Only those in use.
    #[default]
    Active,
    /// Only those deactivated or removed.
    Inactive,
    /// All.
    Any,
}

/// Restricts a boxed Diesel query to an [`Activity`]. The column stands in the statement bare, not
/// compared with a bind: only so a generic plan can use an index on the active rows.
macro_rules! of_activity {
    ($query:expr, $activity:expr, $is_active:expr) => {
        match $activity {
            $crate::types::activity::Activity::Active => $query.filter($is_active),
            $crate::types::activity::Activity::Inactive => {
                $query.filter(diesel::dsl::not($is_active))
            }
            $crate::types::activity::Activity::Any => $query,
        }
    };
}
pub(crate) use of_activity;
