//! Whether a live database keeps tenants apart.

use std::fmt;

use diesel::QueryableByName;
use diesel::sql_types::Text;

use crate::Database;
use crate::error::Result;

/// One statement over the catalog, so that all of it is of one moment.
const EXAMINE: &str = include_str!("doctor.sql");

/// How bad a [`Finding`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Somebody can see or change what is not theirs, or cannot what is.
    Danger,
    /// To be known; right in some deployments.
    Warning,
}

/// Something that [`Database::doctor`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What was examined: `migrations`, `tables`, `role`, `login`, `policies`, `privileges`, `views` or
    /// `search_path`.
    pub what: String,
    /// The table, role, function or schema that it is about.
    pub object: String,
    /// What is wrong and how to mend it.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Danger => "danger",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}: {}: {}: {}", self.what, self.object, self.message)
    }
}

/// What [`Database::doctor`] found, dangers first.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Diagnosis {
    /// Nothing, where all is well.
    pub findings: Vec<Finding>,
}

impl Diagnosis {
    /// Whether no finding is a [`Severity::Danger`].
    pub fn is_healthy(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity != Severity::Danger)
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

impl Database {
    /// Examines the database that is connected to: whether every migration is applied; whether every table in which
    /// somebody owns rows (found by its foreign keys and columns, also if it is not this crate's) has row-level
    /// security, forced, with policies that ask for the user; the roles' attributes, memberships and privileges;
    /// views and functions that would go around the policies; who may create objects on the search path. Changes
    /// nothing, and shows no row.
    ///
    /// ```no_run
    /// # async fn example(db: &buffetbot_db::Database) -> buffetbot_db::Result<()> {
    /// let diagnosis = db.doctor().await?;
    /// for finding in &diagnosis.findings {
    ///     eprintln!("{finding}");
    /// }
    /// assert!(diagnosis.is_healthy());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of a query.
    pub async fn doctor(&self) -> Result<Diagnosis> {
        let pending = self.pending().await?.into_iter().map(|migration| Finding {
            severity: Severity::Danger,
            what: "migrations".into(),
            object: migration,
            message: "is not applied: run Database::migrate".into(),
        });
        let query = diesel::sql_query(EXAMINE).bind::<Text, _>(&*self.config().application_role);
        let rows: Vec<FindingRow> = self.pool().checkout().await?.fetch_all(query).await?;
        let examined = rows.into_iter().map(|row| Finding {
            severity: match &*row.severity {
                "danger" => Severity::Danger,
                _ => Severity::Warning,
            },
            what: row.what,
            object: row.object,
            message: row.message,
        });
        Ok(Diagnosis { findings: pending.chain(examined).collect() })
    }
}
