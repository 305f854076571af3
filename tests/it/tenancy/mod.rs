//! No tenant sees another's rows: the scope, the roles, and the check of a live database.

mod bound;
mod cross;
mod doctor;
mod own;
mod scope;
mod untried;
mod wrong;

use buffetbot_db::testing::TestDatabase;
use buffetbot_db::{AnalysisRepository, PositionRepository};
use buffetbot_db::{
    AnalysisResult, AnalysisType, Config, Database, Finding, NewAnalysis, NewPosition, Portfolio,
    Position, Repositories, Severity, Shares, User,
};

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

/// What the migrations leave open: functions with the owner's rights are PUBLIC's, `erase_audit` answers where no user is
/// named, and users change what the programs keep for themselves. Every database lets PUBLIC make temporary tables.
pub const MEND: &str = "
    DO $mend$
    DECLARE
        definer REGPROCEDURE;
    BEGIN
        FOR definer IN SELECT oid FROM pg_proc WHERE prosecdef LOOP
            EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', definer);
        END LOOP;
        EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
        EXECUTE replace(pg_get_functiondef('erase_audit(uuid)'::regprocedure), 'tenant_id() <> account',
            'tenant_id() IS DISTINCT FROM account');
    END $mend$;
    GRANT EXECUTE ON FUNCTION erase_audit(uuid) TO buffetbot_app, buffetbot_maintenance;
    REVOKE UPDATE, DELETE ON event_consumers, cache_changes, cache_leases, price_revisions FROM buffetbot_app;";

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
