//! Who changed what of an account, when, and what it was before.

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::{Queryable, Selectable};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::schema::audit_log;
use crate::types::{AuditId, AuditedTable, Document, Operation, UserId};

/// One change of one row, written by a trigger in the transaction of the change.
#[derive(Debug, Clone, PartialEq, Serialize, Queryable, Selectable)]
#[diesel(table_name = audit_log, check_for_backend(Pg))]
pub struct AuditEntry {
    /// The entry's id.
    pub id: AuditId,
    /// When the row was changed, by the database's clock.
    pub recorded_at: DateTime<Utc>,
    /// Whose row it is; the account may be gone.
    pub user_id: UserId,
    /// In which user's name it was changed ([`Database::as_user`](crate::Database::as_user)); `None`: without a user.
    pub actor_id: Option<UserId>,
    /// The login of the session that changed it.
    pub login: String,
    /// The table.
    pub table_name: AuditedTable,
    /// The row's id.
    pub row_id: Uuid,
    /// What was done.
    pub operation: Operation,
    /// An object of the columns as they were, of an update those that changed; never a password hash. `None`:
    /// an insert, or erased.
    pub before: Option<Document>,
    /// An object of the columns as they are since, of an update those that changed; that another password was
    /// set is `"hashed_password": "changed"`. `None`: a deletion, or erased.
    pub after: Option<Document>,
}

/// Which entries of the log a list or a count includes; the default is all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct AuditFilter {
    /// On this user's rows.
    pub user_id: Option<UserId>,
    /// On this row.
    pub row_id: Option<Uuid>,
    /// On rows of this table.
    pub table_name: Option<AuditedTable>,
    /// Of changes in this user's name.
    pub actor_id: Option<UserId>,
    /// Recorded at this time or later.
    pub from: Option<DateTime<Utc>>,
    /// Recorded before this time.
    pub before: Option<DateTime<Utc>>,
}

impl AuditFilter {
    /// On this user's rows.
    pub fn user_id(self, user_id: impl Into<Option<UserId>>) -> Self {
        AuditFilter { user_id: user_id.into(), ..self }
    }

    /// On this row.
    pub fn row_id(self, row_id: impl Into<Option<Uuid>>) -> Self {
        AuditFilter { row_id: row_id.into(), ..self }
    }

    /// On rows of this table.
    pub fn table_name(self, table_name: impl Into<Option<AuditedTable>>) -> Self {
        AuditFilter { table_name: table_name.into(), ..self }
    }

    /// Of changes in this user's name.
    pub fn actor_id(self, actor_id: impl Into<Option<UserId>>) -> Self {
        AuditFilter { actor_id: actor_id.into(), ..self }
    }

    /// Recorded at this time or later.
    pub fn from(self, from: impl Into<Option<DateTime<Utc>>>) -> Self {
        AuditFilter { from: from.into(), ..self }
    }

    /// Recorded before this time.
    pub fn before(self, before: impl Into<Option<DateTime<Utc>>>) -> Self {
        AuditFilter { before: before.into(), ..self }
    }
}
