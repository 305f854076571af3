//! Every method of every repository of what users own, with another user's ids: nothing is there, and nothing
//! changes.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::api::*;
use buffetbot_db::testing::TestDatabase;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};

use super::{Person, person, public};
use crate::catalog::connect;
use crate::support::methods::methods;
use crate::support::{hash, parsed};

/// The repositories of what users own.
const OWNED: [&str; 5] = ["users", "portfolios", "positions", "analyses", "audit"];

/// What shows nothing of anybody.
trait Nothing {
    fn is_nothing(&self) -> bool;
}

impl Nothing for bool {
    fn is_nothing(&self) -> bool {
        !self
    }
}

impl Nothing for u64 {
    fn is_nothing(&self) -> bool {
        *self == 0
    }
}

impl Nothing for SweepReport {
    fn is_nothing(&self) -> bool {
        self.deleted == 0
    }
}

impl<T> Nothing for Option<T> {
    fn is_nothing(&self) -> bool {
        self.is_none()
    }
}

impl<T> Nothing for Page<T> {
    fn is_nothing(&self) -> bool {
        self.items.is_empty() && self.next.is_none() && self.unreadable.is_empty()
    }
}

impl Nothing for Listed<AnalysisSummary> {
    fn is_nothing(&self) -> bool {
        self.is_empty() && self.unreadable.is_empty()
    }
}

impl<T> Nothing for Listed<Option<T>> {
    fn is_nothing(&self) -> bool {
        self.iter().all(Option::is_none) && self.unreadable.is_empty()
    }
}

/// Of a result that is none of these, nothing may come.
macro_rules! never {
    ($($ty:ty),*) => {$(impl Nothing for $ty {
        fn is_nothing(&self) -> bool {
            false
        }
    })*};
}
never!(User, Portfolio, Position, AnalysisResult, Document, ());
never!(Vec<User>, Vec<Portfolio>, Vec<Position>, Vec<AnalysisResult>);

/// Of an attempt on what is another's: nothing, or not found; to make an account is denied.
fn assert_nothing<T: Nothing>(what: &str, result: Result<T>) {
    match result {
        Err(Error::Denied { .. }) if what.starts_with("users.create") => {}
        Ok(value) => assert!(value.is_nothing(), "{what} shows something"),
        Err(Error::NotFound { .. } | Error::InvalidReference { .. }) => {}
        Err(Error::Item { source, .. })
            if matches!(*source, Error::NotFound { .. } | Error::InvalidReference { .. }) => {}
        Err(other) => panic!("{what}: {other:?}"),
    }
}

/// Calls one method after another, and notes which.
macro_rules! attempts {
    ($tried:ident, $handle:ident, $($repository:ident . $method:ident ($($argument:expr),*);)*) => {$(
        let name = concat!(stringify!($repository), ".", stringify!($method));
        $tried.insert(name.to_owned());
        assert_nothing(name, $handle.attempt($handle.$repository().$method($($argument),*)).await);
    )*};
}

/// A savepoint around each call where the handle is a transaction.
trait Attempt: Repositories {
    async fn attempt<R>(&self, work: impl Future<Output = Result<R>>) -> Result<R>;
}

impl Attempt for TenantScope {
    async fn attempt<R>(&self, work: impl Future<Output = Result<R>>) -> Result<R> {
        work.await
    }
}

impl Attempt for UnitOfWork {
    async fn attempt<R>(&self, work: impl Future<Output = Result<R>>) -> Result<R> {
        crate::support::handle::Handle::attempt(self, work).await
    }
}

fn shown<'a, T: std::fmt::Debug + 'a>(
    rows: BoxStream<'a, Result<T>>,
) -> BoxStream<'a, Result<String>> {
    rows.map_ok(|row| format!("{row:?}")).boxed()
}

/// All that is called with somebody else's ids.
async fn try_everything(scope: &impl Attempt, mine: &Person, theirs: &Person) -> BTreeSet<String> {
    let mut tried = BTreeSet::new();
    let (b, page) = (theirs.user.id, PageRequest::first(100));
    let patch = UserPatch::default().first_name("Mallory").is_active(false);
    let stranger = || NewUser::new(format!("{}@example.com", UserId::generate()), hash());
    let changes = Document::encode(&["changed"]).expect("a document");
    let inactive = UserFilter::default().activity(Activity::Inactive);
    attempts! { tried, scope,
        users.create(&stranger());
        users.create_many(&[stranger(), stranger()]);
        users.find(b);
        users.find_by_email(&theirs.user.email);
        users.find_by_username("theirs");
        users.list(&inactive, &page);
        users.search("theirs", &page);
        users.count(&inactive);
        users.exists(b);
        users.exists_email(&theirs.user.email);
        users.exists_username("theirs");
        users.update(b, &patch);
        users.update(b, &UserPatch::default());
        users.update_profile(b, &ProfilePatch::default().first_name(None));
        users.update_profile(b, &ProfilePatch::default());
        users.set_password(b, &hash());
        users.record_login(b);
        users.verify(b);
        users.activate(b);
        users.deactivate(b);
        users.preferences(b);
        users.set_preferences(b, Some(&changes));
        users.set_preferences(b, None);
        users.merge_preferences(b, &Document::encode(&std::collections::BTreeMap::from([(1, 2)])).expect("an object"));
        users.delete(b);
        users.export(b);
        users.erase(b);
        users.erase_inactive(100, Duration::ZERO);
    }

    let theirs_id = theirs.portfolio.id;
    let in_their_name = || NewPortfolio::new(b, "Mallory's", RiskTolerance::Moderate);
    let of_them = PortfolioFilter::default().user_id(b).activity(Activity::Any);
    let patch = PortfolioPatch::default().name("Mallory's");
    attempts! { tried, scope,
        portfolios.create(&in_their_name());
        portfolios.create_many(&[in_their_name(), in_their_name()]);
        portfolios.find(theirs_id);
        portfolios.find_by_name(b, "Core");
        portfolios.list(&of_them, &page);
        portfolios.list_for_user(b, Activity::Any, &page);
        portfolios.list_by_risk_tolerance(RiskTolerance::Aggressive, &page);
        portfolios.count(&of_them);
        portfolios.exists(theirs_id);
        portfolios.update(theirs_id, &patch);
        portfolios.update(theirs_id, &PortfolioPatch::default());
        portfolios.activate(theirs_id);
        portfolios.deactivate(theirs_id);
        portfolios.delete(theirs_id);
        portfolios.with_positions(theirs_id, Activity::Any);
        portfolios.summary(theirs_id);
        portfolios.valuation(theirs_id, None);
        portfolios.duplicate(theirs_id, "Mine now");
    }

    let id = theirs.position.id;
    let ticker: Ticker = parsed("AAPL");
    let planted = |ticker| NewPosition::new(theirs_id, parsed(ticker), parsed::<Shares>("1"));
    let patch = PositionPatch::default().notes("Mallory was here");
    attempts! { tried, scope,
        positions.create(&planted("MSFT"));
        positions.create(&planted("AAPL"));
        positions.create(&planted("MSFT"));
        positions.create_many(&[planted("MSFT"), planted("TSLA")]);
        positions.upsert(&planted("MSFT"));
        positions.upsert(&planted("AAPL"));
        positions.find(theirs_id, id);
        positions.find_by_ticker(theirs_id, &ticker);
        positions.list(theirs_id, Activity::Any, &page);
        positions.holders_of(&ticker, Activity::Inactive, &page);
        positions.count(theirs_id, Activity::Any);
        positions.exists(theirs_id, id);
        positions.update(theirs_id, id, &patch);
        positions.update(theirs_id, id, &PositionPatch::default());
        positions.remove(theirs_id, id);
        positions.delete(theirs_id, id);
        positions.move_to(theirs_id, id, mine.portfolio.id);
        positions.move_to(mine.portfolio.id, mine.position.id, theirs_id);
        positions.move_to(mine.portfolio.id, id, theirs_id);
    }

    let id = theirs.analysis.id;
    let planted = || NewAnalysis::new(parsed("AAPL"), AnalysisType::Risk).portfolio(theirs_id);
    let scope_of_them = AnalysisScope::Portfolio(theirs_id);
    let of_them = AnalysisFilter::default().scope(scope_of_them);
    let key = AnalysisKey::new(&ticker, AnalysisType::Risk).portfolio(theirs_id);
    let patch = AnalysisPatch::default().summary("Sell!");
    let selector = AnalysisSelector { portfolio: Some(theirs_id), ..AnalysisSelector::default() };
    let secret: Ticker = parsed("SECRET");
    attempts! { tried, scope,
        analyses.create(&planted());
        analyses.create_many(&[planted(), planted()]);
        analyses.create(&planted());
        analyses.create_many(&[planted(), planted()]);
        analyses.find(id);
        analyses.list(&of_them, &page);
        analyses.count(&of_them);
        analyses.exists(id);
        analyses.update(id, &patch);
        analyses.update(id, &AnalysisPatch::default());
        analyses.delete(id);
        analyses.latest_fresh(&key);
        analyses.latest_fresh_many(std::slice::from_ref(&secret), AnalysisType::Risk, None);
        analyses.latest(&key);
        analyses.history_for_ticker(&secret, None, &page);
        analyses.history_for_portfolio(theirs_id, None, &page);
        analyses.summary(&of_them);
        analyses.invalidate(&selector);
        analyses.invalidate_stale_inputs(None);
        analyses.lineage(id);
        analyses.sweep_expired(100, Duration::ZERO);
    }

    let of_their_log = AuditFilter::default().user_id(b);
    attempts! { tried, scope,
        audit.list(&of_their_log, &page);
        audit.count(&of_their_log);
    }
    let of_their_portfolios = PortfolioFilter::default().user_id(b);
    let streams: [(&str, BoxStream<'_, Result<String>>); 5] = [
        ("users.stream", shown(scope.users().stream(&inactive))),
        ("portfolios.stream", shown(scope.portfolios().stream(&of_their_portfolios))),
        ("positions.stream", shown(scope.positions().stream(theirs_id, Activity::Any))),
        ("analyses.stream", shown(scope.analyses().stream(&of_them))),
        ("audit.stream", shown(scope.audit().stream(&of_their_log))),
    ];
    for (name, rows) in streams {
        tried.insert(name.into());
        let seen: Vec<String> = scope.attempt(rows.try_collect()).await.expect("read");
        assert!(seen.is_empty(), "{name}: {seen:?}");
    }
    // Asks for nobody's rows but for everybody's, which the role has no right to.
    tried.insert("audit.sweep".into());
    let swept = scope.attempt(scope.audit().sweep(100, Duration::ZERO)).await;
    assert!(matches!(&swept, Err(Error::Denied { .. })), "{swept:?}");
    tried
}

/// Every row of what users own.
async fn contents(db: &TestDatabase) -> Vec<String> {
    let rows = connect(db)
        .await
        .query(
            "SELECT 'user ' || u::text FROM users u UNION ALL SELECT 'portfolio ' || p::text FROM portfolios p
             UNION ALL SELECT 'position ' || s::text FROM positions s
             UNION ALL SELECT 'analysis ' || a::text FROM analysis_results a
             UNION ALL SELECT 'audit ' || l::text FROM audit_log l ORDER BY 1",
            &[],
        )
        .await
        .expect("every row");
    rows.iter().map(|row| row.get(0)).collect()
}

/// Two people, of whom the second has what a sweep or a list of all could find.
async fn two(db: &TestDatabase) -> (Person, Person) {
    let (mine, theirs) =
        (person(&**db, "a@example.com").await, person(&**db, "b@example.com").await);
    public(&**db).await;
    let portfolio = theirs.portfolio.id;
    let patch = UserPatch::default().username("theirs").is_active(false);
    db.users().update(theirs.user.id, &patch).await.expect("changed");
    let patch = PortfolioPatch::default().risk_tolerance(RiskTolerance::Aggressive);
    db.portfolios().update(portfolio, &patch).await.expect("changed");
    let private = NewAnalysis::new(parsed("SECRET"), AnalysisType::Risk).portfolio(portfolio);
    db.analyses().create(&private).await.expect("a private result");
    let outdated = Some(parsed("2024-01-02T00:00:00Z"));
    let mut computed = private
        .clone()
        .inputs(Inputs::new().document(&CacheKey::new(&parsed("SECRET"), DataType::NEWS), 1));
    computed.id = AnalysisId::generate();
    computed.calculated_at = outdated;
    db.analyses().create(&computed).await.expect("a private result");
    let expired = "UPDATE analysis_results SET expires_at = now() - interval '1 day',
        calculated_at = now() - interval '2 days' WHERE summary = 'b@example.com'";
    connect(db).await.batch_execute(expired).await.expect("expired");
    (mine, theirs)
}

#[tokio::test]
async fn every_method_shows_and_changes_nothing_of_anothers() {
    let db = TestDatabase::new().await.expect("a database");
    let (mine, theirs) = two(&db).await;
    let before = contents(&db).await;

    let tried = try_everything(&db.as_user(mine.user.id), &mine, &theirs).await;
    let missing: Vec<_> = methods(&OWNED).difference(&tried).cloned().collect();
    assert!(missing.is_empty(), "not tried: {missing:?}");
    assert_eq!(contents(&db).await, before);

    let uow = db.as_user(mine.user.id).begin().await.expect("a transaction");
    try_everything(&uow, &mine, &theirs).await;
    uow.commit().await.expect("committed");
    assert_eq!(contents(&db).await, before);
}

#[tokio::test]
async fn the_same_attempts_find_everything_where_nobody_is_named() {
    // Otherwise the test above could pass because there is nothing to find.
    let db = TestDatabase::new().await.expect("a database");
    let (mine, theirs) = two(&db).await;
    assert!(db.users().find(theirs.user.id).await.expect("read").is_some());
    assert!(db.users().exists_username("theirs").await.expect("read"));
    let page = PageRequest::first(100);
    let aggressive = db.portfolios().list_by_risk_tolerance(RiskTolerance::Aggressive, &page).await;
    assert_eq!(aggressive.expect("read").items.len(), 1);
    let key =
        AnalysisKey::new(&parsed("SECRET"), AnalysisType::Risk).portfolio(theirs.portfolio.id);
    assert!(db.analyses().latest(&key).await.expect("read").is_some());
    let swept = db.analyses().sweep_expired(100, Duration::ZERO).await.expect("swept");
    assert_eq!(swept.deleted, 1);
    assert_eq!(db.users().erase_inactive(100, Duration::ZERO).await.expect("erased"), 1);
    assert!(db.users().delete(mine.user.id).await.expect("deleted"));
}

#[tokio::test]
async fn lists_and_counts_of_all_are_of_ones_own() {
    let db = TestDatabase::new().await.expect("a database");
    let (mine, theirs) = two(&db).await;
    let scope = db.as_user(mine.user.id);
    let page = PageRequest::first(100);
    let users = scope.users().list(&UserFilter::default(), &page).await.expect("read");
    assert_eq!(users.items, std::slice::from_ref(&mine.user));
    assert_eq!(scope.users().count(&UserFilter::default()).await.expect("read"), 1);
    let all = PortfolioFilter::default().activity(Activity::Any);
    let portfolios = scope.portfolios().list(&all, &page).await.expect("read");
    assert_eq!(portfolios.items, std::slice::from_ref(&mine.portfolio));
    let all = AnalysisFilter::default().scope(AnalysisScope::All);
    let analyses = scope.analyses().list(&all, &page).await.expect("read").items;
    let owners: BTreeSet<_> = analyses.iter().map(|a| a.portfolio_id).collect();
    assert_eq!(owners, BTreeSet::from([None, Some(mine.portfolio.id)]));
    assert_eq!(db.analyses().count(&all).await.expect("read"), 5, "as many as there are");
    // A batch with one row in another's name stores none.
    let new =
        |portfolio, ticker| NewPosition::new(portfolio, parsed(ticker), parsed::<Shares>("1"));
    let mixed = [new(mine.portfolio.id, "MSFT"), new(theirs.portfolio.id, "MSFT")];
    let refused = scope.positions().create_many(&mixed).await.expect_err("not theirs");
    let Error::Item { index: 1, source } = &refused else { panic!("{refused:?}") };
    assert!(matches!(&**source, Error::InvalidReference { .. }), "{refused:?}");
    assert_eq!(scope.positions().count(mine.portfolio.id, Activity::Any).await.expect("read"), 1);
}
