//! No tenant sees another's rows: the scope, the roles, and the check of a live database.

mod cross;
mod doctor;
mod own;
mod scope;

use buffetbot_db::{AnalysisRepository, PositionRepository};
use buffetbot_db::{
    AnalysisResult, AnalysisType, NewAnalysis, NewPosition, Portfolio, Position, Repositories,
    Shares, User,
};

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
