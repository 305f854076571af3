//! What keeping tenants apart, the audit log and events cost: the same calls without them, by turns.
//!
//! `cargo bench --bench trust` prints a table of ratios (with to without, of times: less is better); `-- --plot
//! FILE.svg` draws it, `-- --smoke` only shows that it runs.

#[path = "support/market.rs"]
mod market;
mod support;

use buffetbot_db::portfolios::PositionPatch;
use buffetbot_db::prelude::*;
use buffetbot_db::users::UserPatch;
use diesel_async::SimpleAsyncConnection;
use market::bars;
use support::{Arguments, Effort, Row, pair};

type Outcome<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Bars of one batch, of twenty tickers.
const BARS: usize = 50_000;

fn main() -> Outcome<()> {
    let arguments = Arguments::parse()?;
    let (fast, bulk) = match arguments.smoke {
        true => (Effort { rounds: 1, operations: 10 }, Effort { rounds: 1, operations: 1 }),
        false => (Effort { rounds: 31, operations: 200 }, Effort { rounds: 9, operations: 1 }),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let rows = runtime.block_on(async {
        let db = Database::ephemeral().await?;
        eprintln!("PostgreSQL {}", db.server().map_or("?", |server| server.version()));
        db.migrate().await?;
        db.create_roles().await?;
        let mut rows = tenants(&db, fast).await?;
        rows.extend(logs(&db, fast, bulk).await?);
        Outcome::Ok(rows)
    })?;
    arguments.finish("Time with, as a share of that without (tick: goal)", &rows)?;
    Ok(())
}

async fn tenants(db: &Database, effort: Effort) -> Outcome<Vec<Row>> {
    let hash = PasswordHash::new(
        "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$c29tZWhhc2hzb21laGFzaHNvbWVoYXNo",
    )?;
    let new: Vec<NewUser> =
        (0..200).map(|i| NewUser::new(format!("u{i}@example.com"), hash.clone())).collect();
    let users = db.users().create_many(&new).await?;
    let new: Vec<NewPortfolio> = users
        .iter()
        .map(|user| NewPortfolio::new(user.id, "Core", RiskTolerance::Moderate))
        .collect();
    let portfolios = db.portfolios().create_many(&new).await?;
    let positions: Vec<NewPosition> = portfolios
        .iter()
        .map(|portfolio| {
            Ok(NewPosition::new(portfolio.id, "AAPL".parse()?, "1".parse::<Shares>()?))
        })
        .collect::<Result<_>>()?;
    let positions = db.positions().create_many(&positions).await?;
    db.connection().await?.as_diesel().batch_execute("VACUUM ANALYZE").await?;
    let scopes: Vec<TenantScope> = users.iter().map(|user| db.as_user(user.id)).collect();

    let find = async |repos: &RepositorySet, i: usize| {
        let found = repos.portfolios().find(portfolios[i % 200].id).await.expect("find");
        std::hint::black_box(found.expect("a portfolio"));
    };
    let update = async |repos: &RepositorySet, i: usize| {
        let position = &positions[i % 200];
        let notes = format!("note {i}");
        let patch = PositionPatch::default().notes(notes);
        let changed = repos.positions().update(position.portfolio_id, position.id, &patch).await;
        std::hint::black_box(changed.expect("update"));
    };
    let in_name = |i: usize| scopes[i % 200].repositories();
    Ok(vec![
        pair(
            "find of a portfolio in a user's name / by the pool",
            2.0,
            effort,
            async |i| find(in_name(i), i).await,
            async |i| find(db, i).await,
        )
        .await,
        pair(
            "update of a position in a user's name / by the pool",
            2.0,
            effort,
            async |i| update(in_name(i), i).await,
            async |i| update(db, i).await,
        )
        .await,
        {
            let unit = db.as_user(users[0].id).begin().await?;
            let plain = db.begin().await?;
            let row = pair(
                "find in a transaction in a user's name / in a transaction",
                2.5,
                effort,
                async |_| find(&unit, 0).await,
                async |_| find(&plain, 0).await,
            )
            .await;
            unit.rollback().await?;
            plain.rollback().await?;
            row
        },
    ])
}

async fn logs(db: &Database, fast: Effort, bulk: Effort) -> Outcome<Vec<Row>> {
    let run = async |sql: &str| {
        let connection = db.connection().await.expect("a connection");
        connection.as_diesel().batch_execute(sql).await.expect("a statement");
    };
    let switched = async |state: &str, table: &str, triggers: &str| {
        for trigger in triggers.split(' ') {
            run(&format!("ALTER TABLE {table} {state} TRIGGER {trigger}")).await;
        }
    };
    for table in ["price_history", "events"] {
        run(&format!("ALTER TABLE {table} DISABLE TRIGGER {table}_refuse_truncate")).await;
    }
    let stored = bars(BARS, BARS / 20);
    let store = async |state: &str| {
        run("TRUNCATE price_history, events").await;
        switched(state, "price_history", "price_history_tell_insert").await;
        let report = db.prices().upsert_many(&stored).await.expect("stored");
        assert_eq!(report.inserted, stored.len() as u64);
    };
    let hash = PasswordHash::new(
        "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$c29tZWhhc2hzb21laGFzaHNvbWVoYXNo",
    )?;
    let owner = db.users().create(&NewUser::new("owner@example.com", hash)).await?;
    let portfolio = NewPortfolio::new(owner.id, "Many", RiskTolerance::Moderate);
    let portfolio = db.portfolios().create(&portfolio).await?;
    let hold = async |state: &str| {
        run("DELETE FROM positions").await;
        switched(state, "positions", "positions_record_audit").await;
        let many: Vec<NewPosition> = (0..1_000)
            .map(|i| {
                let ticker = format!("T{i}").parse().expect("a ticker");
                NewPosition::new(portfolio.id, ticker, "1".parse::<Shares>().expect("shares"))
            })
            .collect();
        db.positions().create_many(&many).await.expect("stored");
    };
    let touch = async |i: usize| {
        let name = format!("N{i}");
        let patch = UserPatch::default().first_name(name);
        std::hint::black_box(db.users().update(owner.id, &patch).await.expect("update"));
    };
    // The switch is part of both, and small beside a hundred updates.
    let touch_all = async |state: &str| {
        switched(state, "users", "users_record_audit").await;
        for i in 0..fast.operations {
            touch(i).await;
        }
    };
    let once = Effort { operations: 1, ..fast };
    Ok(vec![
        pair(
            "upsert_many of 50,000 bars with events / without",
            1.10,
            bulk,
            async |_| store("ENABLE").await,
            async |_| store("DISABLE").await,
        )
        .await,
        pair(
            "create_many of 1,000 positions with audit and events / without",
            3.5,
            bulk,
            async |_| hold("ENABLE").await,
            async |_| hold("DISABLE").await,
        )
        .await,
        pair(
            "updates of a user with audit / without",
            2.0,
            once,
            async |_| touch_all("ENABLE").await,
            async |_| touch_all("DISABLE").await,
        )
        .await,
    ])
}
