//! What a user does, again and again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use buffetbot_db::audit::AuditFilter;
use buffetbot_db::cache::Policy;
use buffetbot_db::options::OptionContract;
use buffetbot_db::portfolios::{Portfolio, PortfolioFilter};
use buffetbot_db::prelude::*;
use buffetbot_db::types::{Activity, DividendAmount};
use buffetbot_db::users::User;
use chrono::NaiveDate;

use crate::ledger::Ledger;

/// A user of the platform.
pub struct Account {
    number: usize,
    user: UserId,
    portfolio: PortfolioId,
}

pub async fn accounts(db: &Database, count: usize) -> Result<Vec<Account>> {
    let hash = PasswordHash::new(
        "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$c29tZWhhc2hzb21laGFzaHNvbWVoYXNo",
    )?;
    let new: Vec<NewUser> =
        (0..count).map(|n| NewUser::new(format!("user{n}@example.com"), hash.clone())).collect();
    let users = db.users().create_many(&new).await?;
    let new: Vec<NewPortfolio> = users
        .iter()
        .map(|user| NewPortfolio::new(user.id, "Core", RiskTolerance::Moderate))
        .collect();
    let portfolios = db.portfolios().create_many(&new).await?;
    let account = |(number, (user, portfolio)): (usize, (&User, &Portfolio))| Account {
        number,
        user: user.id,
        portfolio: portfolio.id,
    };
    Ok(users.iter().zip(&portfolios).enumerate().map(account).collect())
}

/// Works until the ledger says that it is over.
pub async fn run(db: Database, account: Account, ledger: Arc<Ledger>) {
    let mut step = account.number;
    while !ledger.is_over() {
        step += 1;
        let call = work(&db, &account, step, &ledger);
        // Every twentieth user leaves in the middle of a page.
        let done = if step % 20 == 19 {
            let patience = Duration::from_micros((step as u64 * 7_919) % 20_000);
            match tokio::time::timeout(patience, call).await {
                Ok(done) => done,
                Err(_) => {
                    ledger.cancelled.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
            }
        } else {
            call.await
        };
        ledger.calls.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = done {
            ledger.failed(&error);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// One call, by turns of every repository. What was acknowledged is noted before anything else can happen.
async fn work(db: &Database, account: &Account, step: usize, ledger: &Ledger) -> Result<()> {
    let name = format!("S{}N{step}", account.number);
    let fresh: Ticker = name.parse()?;
    let apple: Ticker = "AAPL".parse()?;
    let held = format!("{} {name}", account.portfolio);
    let day = NaiveDate::default() + chrono::Days::new(step as u64 % 10_000);
    match step % 13 {
        0 => {
            let bar = NewPriceBar::new(fresh, day, "1.5".parse()?);
            ledger.begin("bars", &name, format!("{day} 1.5"));
            db.prices().upsert_many(&[bar]).await?;
            ledger.acknowledge("bars", &name);
        }
        1 => {
            let position = NewPosition::new(account.portfolio, fresh, "1".parse::<Shares>()?);
            ledger.begin("positions", &held, "1".into());
            db.as_user(account.user).positions().create(&position).await?;
            ledger.acknowledge("positions", &held);
        }
        2 => {
            let analysis =
                NewAnalysis::new(apple, AnalysisType::Value).portfolio(account.portfolio);
            let id = analysis.id.to_string();
            ledger.begin("analyses", &id, format!("AAPL {}", account.portfolio));
            db.analyses().create(&analysis).await?;
            ledger.acknowledge("analyses", &id);
        }
        3 => {
            let contract = OptionContract::new(fresh, day, OptionType::Call, "100".parse()?);
            ledger.begin("quotes", &name, format!("call 100 {day}"));
            db.options().upsert_many(&[NewOptionQuote::new(contract)]).await?;
            ledger.acknowledge("quotes", &name);
        }
        4 => {
            let amount: DividendAmount = "0.25".parse()?;
            let action = NewCorporateAction::dividend(fresh, day, amount);
            ledger.begin("actions", &name, "0.25".into());
            db.corporate_actions().upsert_many(&[action]).await?;
            ledger.acknowledge("actions", &name);
        }
        5 => {
            // Together or not at all.
            let bar = NewPriceBar::new(fresh.clone(), day, "2.5".parse()?);
            let position = NewPosition::new(account.portfolio, fresh, "2".parse::<Shares>()?);
            ledger.begin("positions", &held, "2".into());
            ledger.begin("bars", &name, format!("{day} 2.5"));
            db.transaction(async |uow| {
                uow.prices().create(&bar).await?;
                uow.positions().create(&position).await.map(drop)
            })
            .await?;
            ledger.acknowledge("positions", &held);
            ledger.acknowledge("bars", &name);
        }
        6 => {
            let key = CacheKey::new(&apple, DataType::FUNDAMENTALS).params([step % 100])?;
            let policy = Policy::ttl(Duration::from_secs(2));
            let fetch = move |_| async move { Ok::<_, std::io::Error>(vec![step]) };
            db.cache().get_or_fetch::<Vec<usize>>(&key, &policy, fetch).await?;
        }
        7 => {
            let (scope, all) = (db.as_user(account.user), PortfolioFilter::default());
            let page = scope.portfolios().list(&all, &PageRequest::first(10)).await?;
            assert!(page.items.iter().all(|p| p.user_id == account.user), "somebody else's");
        }
        8 => drop(db.portfolios().valuation(account.portfolio, None).await?),
        9 => drop(db.users().record_login(account.user).await?),
        10 => drop(db.prices().latest(std::slice::from_ref(&apple)).await?),
        11 => drop(
            db.positions().list(account.portfolio, Activity::Any, &PageRequest::first(20)).await?,
        ),
        _ => drop(
            db.audit()
                .list(&AuditFilter::default().user_id(account.user), &PageRequest::first(5))
                .await?,
        ),
    }
    Ok(())
}
