//! No tenant sees another's rows: the scope, the roles, and the check of a live database.

mod accounts;
mod bookkeeping;
mod bound;
mod cross;
mod definers;
mod doctor;
mod own;
mod scope;
mod statements;
mod untried;
mod wrong;

use buffetbot_db::analyses::{AnalysisResult, NewAnalysis};
use buffetbot_db::portfolios::{NewPosition, Portfolio, Position};
use buffetbot_db::tenancy::{Finding, Severity};
use buffetbot_db::testing::TestDatabase;
use buffetbot_db::types::{AnalysisType, Shares};
use buffetbot_db::users::User;
use buffetbot_db::{Config, Database, Repositories};

use tokio_postgres::Client;

use crate::catalog::connect;
use crate::support::{parsed, portfolio, user};

/// Somebody with one of everything that can be owned.
pub struct Person {
    pub user: User,
    pub portfolio: Portfolio,
    pub position: Position,
    pub analysis: AnalysisResult,
}

/// Made by a handle that sees everything.
pub async fn person(db: &impl Repositories, email: &str) -> Person {
    let user = user(db, email).await;
    let portfolio = portfolio(db, &user, "Core").await;
    let position = NewPosition::new(portfolio.id, parsed("AAPL"), parsed::<Shares>("10"));
    let position = db.positions().create(&position).await.expect("a position");
    let analysis =
        NewAnalysis::new(parsed("AAPL"), AnalysisType::Risk).portfolio(portfolio.id).summary(email);
    let analysis = db.analyses().create(&analysis).await.expect("an analysis");
    Person { user, portfolio, position, analysis }
}

/// A result that nobody owns.
pub async fn public(db: &impl Repositories) -> AnalysisResult {
    let analysis = NewAnalysis::new(parsed("AAPL"), AnalysisType::Risk).summary("public");
    db.analyses().create(&analysis).await.expect("an analysis")
}

/// A login that is a member of one role and has nothing else.
pub struct Login {
    pub url: String,
    name: String,
    admin: Client,
}

impl Login {
    /// After what it was connected with is closed.
    pub async fn drop(self) {
        let name = &self.name;
        let end = format!("DROP OWNED BY {name} CASCADE; DROP ROLE {name}");
        self.admin.batch_execute(&end).await.expect("gone");
    }
}

/// Makes a login that is a member of `role` alone.
pub async fn member(db: &TestDatabase, role: &str) -> Login {
    login(db, &format!("IN ROLE {role}")).await
}

/// Makes a login with these options.
pub async fn login(db: &TestDatabase, options: &str) -> Login {
    let (name, admin) = (format!("login_{}", uuid::Uuid::new_v4().simple()), connect(db).await);
    let create = format!("CREATE ROLE {name} LOGIN PASSWORD 'x' {options}");
    admin.batch_execute(&create).await.expect("a login");
    let url = db.url().replace("postgres@", &format!("{name}:x@"));
    assert_ne!(url, db.url());
    Login { url, name, admin }
}

/// What is open in every database: PUBLIC may make temporary tables.
pub const MEND: &str = "DO $mend$ BEGIN
        EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
    END $mend$";

/// A database in which the doctor has nothing to object to.
pub async fn sound() -> TestDatabase {
    sound_with(|config| config).await
}

/// As [`sound`], by a handle of another configuration.
pub async fn sound_with(configure: impl FnOnce(Config) -> Config) -> TestDatabase {
    let db = TestDatabase::with(configure).await.expect("a database");
    connect(&db).await.batch_execute(MEND).await.expect("mended");
    db
}

/// What the doctor tells of one severity, as text. A diagnosis with a danger, or with what could not be tried, is not
/// healthy.
pub async fn told(db: &Database, severity: Severity) -> Vec<String> {
    let diagnosis = db.doctor().await.expect("examined");
    let findings = &diagnosis.findings;
    assert!(findings.is_sorted_by_key(|finding| finding.severity), "dangers first: {findings:?}");
    let ill = |f: &Finding| matches!(f.severity, Severity::Danger | Severity::Unknown);
    assert_eq!(diagnosis.is_healthy(), !findings.iter().any(ill));
    assert_eq!(
        findings.iter().filter(|f| f.what == "login").count(),
        1,
        "as which login: {findings:?}"
    );
    findings.iter().filter(|f| f.severity == severity).map(ToString::to_string).collect()
}
