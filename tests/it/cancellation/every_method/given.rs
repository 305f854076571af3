//! What the calls are made with: rows that are there, and batches that are not yet.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::api::*;
use buffetbot_db::testing::TestDatabase;

use crate::support::{ago, hash, parsed, portfolio, user};

/// Rows of each batch.
const BATCH: usize = 5;

/// What the calls are made with.
pub struct Given {
    pub user: User,
    pub portfolio: Portfolio,
    pub other_portfolio: Portfolio,
    pub position: Position,
    pub analysis: AnalysisResult,
    pub bar: PriceBar,
    pub entry: CacheEntry,
    pub action: CorporateAction,
    pub quote: OptionQuote,
    pub ticker: Ticker,
    pub from: chrono::NaiveDate,
    pub to: chrono::NaiveDate,
    pub at: chrono::DateTime<chrono::Utc>,
    pub page: PageRequest,
    pub count: AtomicU64,
    /// Tickers of the batch that the call under way stores.
    pub batch: Mutex<Option<Ticker>>,
}

impl Given {
    pub async fn new(db: &TestDatabase) -> Self {
        let user = user(&**db, "ada@example.com").await;
        let (core, other) =
            (portfolio(&**db, &user, "Core").await, portfolio(&**db, &user, "Other").await);
        let ticker: Ticker = parsed("AAPL");
        let position = NewPosition::new(core.id, ticker.clone(), parsed::<Shares>("1"));
        let position = db.positions().create(&position).await.expect("a position");
        let analysis = NewAnalysis::new(ticker.clone(), AnalysisType::Risk).portfolio(core.id);
        let analysis = db.analyses().create(&analysis).await.expect("an analysis");
        let (from, to) = (parsed("2024-01-02"), parsed("2024-02-01"));
        let bars = testing::fixtures::bars(&ticker, from, 15).expect("bars");
        let stored = db.prices().create_many(&bars).await.expect("bars");
        let key = CacheKey::new(&ticker, DataType::NEWS);
        let hour = PutOptions::ttl(Duration::from_secs(3600));
        let entry = db.market_cache().put(&key, &document(), &hour).await.expect("an entry");
        let action = NewCorporateAction::dividend(ticker.clone(), from, parsed("1"));
        let action = db.corporate_actions().create(&action).await.expect("an action");
        let quote =
            NewOptionQuote::new(contract(&ticker)).fetched_at(parsed("2024-01-02T21:00:00Z"));
        let quote = db.options().create(&quote).await.expect("a quote");
        Given {
            user,
            portfolio: core,
            other_portfolio: other,
            position,
            analysis,
            bar: stored[0].clone(),
            entry,
            action,
            quote,
            ticker,
            from,
            to,
            at: parsed("2024-01-03T00:00:00Z"),
            page: PageRequest::first(10),
            count: AtomicU64::new(0),
            batch: Mutex::new(None),
        }
    }

    /// A ticker that nothing else has.
    pub fn fresh(&self) -> Ticker {
        parsed(&format!("N{}", self.count.fetch_add(1, Ordering::Relaxed)))
    }

    /// Bars of a ticker of their own.
    pub fn bars(&self) -> Vec<NewPriceBar> {
        let ticker = self.fresh();
        *self.batch.lock().unwrap() = Some(ticker.clone());
        testing::fixtures::bars(&ticker, self.from, BATCH).expect("bars")
    }

    pub fn users(&self) -> Vec<NewUser> {
        let batch = self.fresh();
        (0..BATCH).map(|n| NewUser::new(format!("{n}@{batch}.example"), hash())).collect()
    }

    pub fn portfolios(&self) -> Vec<NewPortfolio> {
        let batch = self.fresh();
        let new = || NewPortfolio::new(self.user.id, batch.as_str(), RiskTolerance::Moderate);
        (0..BATCH).map(|_| new()).collect()
    }

    pub fn positions(&self) -> Vec<NewPosition> {
        let batch = self.fresh();
        let new = |n| {
            NewPosition::new(
                self.portfolio.id,
                parsed(&format!("{batch}.{n}")),
                parsed::<Shares>("1"),
            )
        };
        (0..BATCH).map(new).collect()
    }

    pub fn analyses(&self) -> Vec<NewAnalysis> {
        let batch = self.fresh();
        let new =
            || NewAnalysis::new(batch.clone(), AnalysisType::Value).portfolio(self.portfolio.id);
        (0..BATCH).map(|_| new()).collect()
    }

    /// A batch as another cache has kept it.
    pub fn past(&self) -> Vec<Backfill> {
        let cached_at = ago(1);
        self.entries().into_iter().map(|entry| Backfill { entry, cached_at }).collect()
    }

    pub fn entries(&self) -> Vec<NewCacheEntry> {
        let (batch, hour) = (self.fresh(), PutOptions::ttl(Duration::from_secs(3600)));
        let key = |n| CacheKey::new(&batch, DataType::NEWS).params([n]).expect("parameters");
        (0..BATCH).map(|n| NewCacheEntry::new(key(n), document(), hour.clone())).collect()
    }

    pub fn actions(&self) -> Vec<NewCorporateAction> {
        let batch = self.fresh();
        let days = self.from.iter_days().take(BATCH);
        days.map(|day| NewCorporateAction::dividend(batch.clone(), day, parsed("1"))).collect()
    }

    pub fn quotes(&self) -> Vec<NewOptionQuote> {
        let batch = self.fresh();
        let strike = |n: usize| parsed(&format!("{}", n + 1));
        let quote = |n| OptionContract::new(batch.clone(), self.to, OptionType::Call, strike(n));
        (0..BATCH).map(|n| NewOptionQuote::new(quote(n)).fetched_at(self.at)).collect()
    }

    pub fn key(&self) -> AnalysisKey {
        AnalysisKey::new(&self.ticker, AnalysisType::Risk).portfolio(self.portfolio.id)
    }

    pub fn tickers(&self) -> &[Ticker] {
        std::slice::from_ref(&self.ticker)
    }
}

pub fn document() -> Document {
    Document::encode(&serde_json::json!({"a": 1})).expect("a document")
}

pub fn contract(ticker: &Ticker) -> OptionContract {
    OptionContract::new(
        ticker.clone(),
        parsed::<chrono::NaiveDate>("2024-06-21"),
        OptionType::Call,
        parsed("100"),
    )
}
