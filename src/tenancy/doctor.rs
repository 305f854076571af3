//! Whether a live database keeps tenants apart.

use std::fmt;

use diesel::QueryableByName;
use diesel::sql_types::{Array, Text};

use super::owned::{ASKS, KEPT};
use super::rights::{Grantee, callable, of_tables};
use super::{effect, legible, triggers};
use crate::error::{Error, Result};
use crate::postgres::Pool;
use crate::store::tables::{Rows, TABLES};

/// One statement over the catalog, so that it reads one consistent snapshot.
const EXAMINE: &str = concat!(
    include_str!("doctor/subjects.sql"),
    include_str!("doctor/roles.sql"),
    " UNION ALL ",
    include_str!("doctor/policies.sql"),
    " UNION ALL ",
    include_str!("doctor/privileges.sql"),
    " UNION ALL ",
    include_str!("doctor/code.sql"),
    ") SELECT severity, what, object::text AS object, message FROM findings",
);

/// Where Diesel writes down what is applied.
const TABLE_OF_MIGRATIONS: &str = "__diesel_schema_migrations";

/// How bad a [`Finding`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Somebody can see or change what is not theirs, or cannot what is.
    Danger,
    /// It could not be tried whether tenants are kept apart.
    Unknown,
    /// To be known; right in some deployments.
    Warning,
    /// Information.
    Note,
}

/// Something that [`Database::doctor`](crate::Database::doctor) found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What was examined: `migrations`, `tables`, `role`, `login`, `policies`, `privileges`, `views`, `rules`,
    /// `functions`, `triggers`, `search_path` or `database`, by the catalog; `effect`, by trying; `rows`, by looking for such as cannot
    /// be read.
    pub what: String,
    /// The table, role, function, schema or database that it is about.
    pub object: String,
    /// What is wrong and how to fix it.
    pub message: String,
}

impl Finding {
    pub(super) fn new(
        severity: Severity,
        what: &str,
        object: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Finding { severity, what: what.into(), object: object.into(), message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Danger => "danger",
            Severity::Unknown => "unknown",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        write!(f, "{severity}: {}: {}: {}", self.what, self.object, self.message)
    }
}

/// What [`Database::doctor`](crate::Database::doctor) found, dangers first.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Diagnosis {
    /// The findings; one of them says as which login the database was examined.
    pub findings: Vec<Finding>,
}

impl Diagnosis {
    /// Whether tenants were tried and found to be kept apart: no finding is a [`Severity::Danger`] or
    /// [`Severity::Unknown`].
    pub fn is_healthy(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity > Severity::Unknown)
    }
}

#[derive(QueryableByName)]
struct FindingRow {
    #[diesel(sql_type = Text)]
    severity: String,
    #[diesel(sql_type = Text)]
    what: String,
    #[diesel(sql_type = Text)]
    object: String,
    #[diesel(sql_type = Text)]
    message: String,
}

/// Whether what was known of bars goes by transactions of another cluster.
const FOREIGN_HISTORY: &str = "
    SELECT 'warning' AS severity, 'database' AS what, 'knowledge_points' AS object,
        'the transactions that stored bars are of another cluster, as after dump and restore: reads as of a time go by '
        'the times of the statements; docs/schema.md, Audit, has the statements that forget the old numbers' AS message
    WHERE (SELECT system_identifier FROM knowledge_points ORDER BY known_at LIMIT 1)
        <> (SELECT system_identifier FROM pg_control_system())";

/// # Errors
/// Those of the statement, but that the login may not read the points.
async fn foreign_history(pool: &Pool) -> Result<Vec<Finding>> {
    let connection = pool.checkout().await?;
    match connection.fetch_all::<_, FindingRow, _>(diesel::sql_query(FOREIGN_HISTORY)).await {
        Ok(rows) => Ok(rows.into_iter().map(Finding::from).collect()),
        Err(Error::Denied { .. }) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

impl From<FindingRow> for Finding {
    fn from(row: FindingRow) -> Self {
        let severity = match &*row.severity {
            "danger" => Severity::Danger,
            "note" => Severity::Note,
            _ => Severity::Warning,
        };
        Finding { severity, what: row.what, object: row.object, message: row.message }
    }
}

/// Examines the database as this pool's login; `pending` are the migrations that are not applied.
///
/// # Errors
/// Those of a query of the catalog.
pub(crate) async fn examine(
    pool: &Pool,
    application_role: &str,
    pending: Result<Vec<String>>,
) -> Result<Diagnosis> {
    let mut findings = match pending {
        Ok(pending) => pending
            .into_iter()
            .map(|migration| {
                let message = "is not applied: run Database::migrate";
                Finding::new(Severity::Danger, "migrations", migration, message)
            })
            .collect(),
        // A login without any right gets a finding that says so.
        Err(error @ Error::Denied { .. }) => {
            let message = format!("cannot be read: {error}");
            vec![Finding::new(Severity::Unknown, "migrations", TABLE_OF_MIGRATIONS, message)]
        }
        Err(error) => return Err(error),
    };
    if findings.is_empty() {
        findings.extend(foreign_history(pool).await?);
    }
    let owned = TABLES.iter().filter(|table| table.rows == Rows::Owned).map(|table| table.name);
    let query = diesel::sql_query(EXAMINE.replace("{asks}", ASKS))
        .bind::<Text, _>(application_role)
        .bind::<Array<Text>, _>(callable(Grantee::Application))
        .bind::<Array<Text>, _>(owned.collect::<Vec<_>>())
        .bind::<Array<Text>, _>(KEPT.map(|table| table.name).to_vec())
        .bind::<Array<Text>, _>(of_tables());
    let rows: Vec<FindingRow> = pool.checkout().await?.fetch_all(query).await?;
    findings.extend(rows.into_iter().map(Finding::from));
    findings.extend(triggers::missing(pool).await?);
    findings.extend(legible::looked_for(pool).await?);
    findings.extend(effect::tried(pool, application_role).await);
    findings.sort_by(|a, b| {
        let (one, other) = (a.severity, b.severity);
        (one, &a.what, &a.object, &a.message).cmp(&(other, &b.what, &b.object, &b.message))
    });
    Ok(Diagnosis { findings })
}
