//! Portfolios: every verb, on the pool and in a unit of work.

use std::sync::Arc;

use buffetbot_db::Error;
use buffetbot_db::error::Entity;
use buffetbot_db::portfolios::{
    NewPortfolio, NewPosition, Portfolio, PortfolioFilter, PortfolioPatch, PortfolioRepository,
    Position, PositionValue,
};
use buffetbot_db::testing::TestDatabase;
use buffetbot_db::types::{Activity, PageRequest, PortfolioId, RiskTolerance, UserId};
use serde_json::json;

use crate::support::handle::Handle;
use crate::support::{every_page, parsed, portfolio, user};

mod figures;
mod plans;

conformance! {
    what_is_written_is_read,
    the_cash_target_has_a_default_and_can_be_none,
    invalid_fields_are_refused_by_name,
    an_unknown_portfolio_is_told_as_such,
    a_patch_changes_what_it_says,
    an_empty_patch_changes_nothing,
    soft_deletion_is_idempotent,
    names_are_found_per_user,
    lists_reach_every_row_once,
    lists_are_of_active_ones_by_default,
    filters_select,
    many_are_created_in_order,
    many_or_none,
    deletion_takes_its_positions,
    positions_come_with_it,
    a_copy_has_its_positions,
}

async fn core(handle: &impl Handle) -> Portfolio {
    let ada = user(handle, "ada@example.com").await;
    portfolio(handle, &ada, "Core").await
}

/// A position of so many shares at a cost, with a target weight; `-` where not known.
async fn hold(handle: &impl Handle, of: &Portfolio, position: [&str; 4]) -> Position {
    let [ticker, shares, cost, target] = position;
    let new = NewPosition {
        average_cost: (cost != "-").then(|| parsed(cost)),
        allocation_percentage: (target != "-").then(|| parsed(target)),
        ..NewPosition::new(of.id, parsed(ticker), (shares != "-").then(|| parsed(shares)))
    };
    handle.positions().create(&new).await.expect("added")
}

async fn what_is_written_is_read(handle: &impl Handle) {
    let ada = user(handle, "ada@example.com").await;
    let new = NewPortfolio::new(ada.id, "Réserve 💶", RiskTolerance::Aggressive)
        .description("A long story")
        .target_cash(parsed::<buffetbot_db::types::Percentage>("12.25"));
    let created = handle.portfolios().create(&new).await.expect("created");
    let expected = Portfolio {
        id: new.id,
        user_id: ada.id,
        name: "Réserve 💶".into(),
        description: Some("A long story".into()),
        risk_tolerance: RiskTolerance::Aggressive,
        is_active: true,
        target_cash_percentage: Some(parsed("12.25")),
        created_at: created.created_at,
        updated_at: created.updated_at,
    };
    assert_eq!(created, expected);
    assert_eq!(handle.portfolios().find(new.id).await.expect("read"), Some(created.clone()));
    assert!(handle.portfolios().exists(new.id).await.expect("read"));
    let json = serde_json::to_string(&created).expect("JSON");
    assert_eq!(serde_json::from_str::<Portfolio>(&json).expect("a portfolio"), created);
}

async fn the_cash_target_has_a_default_and_can_be_none(handle: &impl Handle) {
    let ada = user(handle, "ada@example.com").await;
    let new = |name: &str| NewPortfolio::new(ada.id, name, RiskTolerance::Moderate);
    let created = handle.portfolios().create(&new("default")).await.expect("created");
    assert_eq!(created.target_cash_percentage, Some(parsed("5")));
    let none = new("none").target_cash(None);
    let created = handle.portfolios().create(&none).await.expect("created");
    assert_eq!(created.target_cash_percentage, None);
    // Both in one statement, and over JSON.
    let batch: Vec<_> = [new("default"), none]
        .iter()
        .map(|n| serde_json::to_value(n).expect("JSON"))
        .map(|v| NewPortfolio {
            id: PortfolioId::generate(),
            ..serde_json::from_value(v).expect("a portfolio")
        })
        .collect();
    let created = handle.portfolios().create_many(&batch).await.expect("created");
    let targets: Vec<_> = created.iter().map(|p| p.target_cash_percentage.clone()).collect();
    assert_eq!(targets, [Some(parsed("5")), None]);
}

async fn invalid_fields_are_refused_by_name(handle: &impl Handle) {
    let ada = user(handle, "ada@example.com").await;
    let of = |name: &str| NewPortfolio::new(ada.id, name, RiskTolerance::Moderate);
    let cases = [
        ("name", of("")),
        ("name", of(" \t")),
        ("name", of(&"é".repeat(256))),
        ("name", of("zero\0")),
        ("description", of("Core").description("zero\0")),
    ];
    for (expected, new) in cases {
        let error = handle.attempt(handle.portfolios().create(&new)).await.expect_err(expected);
        assert!(matches!(&error, Error::Invalid { field, .. } if field == expected), "{error}");
        let many = handle.attempt(handle.portfolios().create_many(&[of("fine"), new])).await;
        assert!(matches!(many, Err(Error::Item { index: 1, .. })), "{many:?}");
    }
    let stranger = NewPortfolio::new(UserId::generate(), "Core", RiskTolerance::Moderate);
    let error = handle.attempt(handle.portfolios().create(&stranger)).await.expect_err("nobody");
    let Error::InvalidReference { constraint } = error else { panic!("{error}") };
    assert_eq!(constraint, "portfolios_user_id_fkey");
    assert_eq!(handle.portfolios().count(&PortfolioFilter::default()).await.expect("read"), 0);

    let longest = handle.portfolios().create(&of(&"é".repeat(255))).await.expect("fits");
    let patch = PortfolioPatch::default().name("\n");
    let error = handle.portfolios().update(longest.id, &patch).await.expect_err("blank");
    assert!(matches!(&error, Error::Invalid { field, .. } if field == "name"), "{error}");
}

async fn an_unknown_portfolio_is_told_as_such(handle: &impl Handle) {
    let (portfolios, id) = (handle.portfolios(), PortfolioId::generate());
    let nobody = UserId::generate();
    assert_eq!(portfolios.find(id).await.expect("read"), None);
    assert_eq!(portfolios.find_by_name(nobody, "Core").await.expect("read"), None);
    assert!(!portfolios.exists(id).await.expect("read"));
    assert!(!portfolios.delete(id).await.expect("ran"));
    assert_eq!(portfolios.with_positions(id, Activity::Any).await.expect("read"), None);
    assert_eq!(portfolios.summary(id).await.expect("read"), None);
    assert_eq!(portfolios.valuation(id, None).await.expect("read"), None);
    let page = PageRequest::default();
    let of_nobody = portfolios.list_for_user(nobody, Activity::Any, &page).await.expect("read");
    assert!(of_nobody.items.is_empty() && of_nobody.next.is_none());
    let patch = PortfolioPatch::default().is_active(true);
    for missing in [
        portfolios.update(id, &patch).await,
        portfolios.update(id, &PortfolioPatch::default()).await,
        portfolios.activate(id).await,
        portfolios.deactivate(id).await,
        portfolios.duplicate(id, "Copy").await,
    ] {
        let error = missing.expect_err("there is none");
        let Error::NotFound { entity, key } = error else { panic!("{error}") };
        assert_eq!((entity, key), (Entity::Portfolio, id.to_string()));
    }
}

async fn a_patch_changes_what_it_says(handle: &impl Handle) {
    let ada = user(handle, "ada@example.com").await;
    let new = NewPortfolio::new(ada.id, "Core", RiskTolerance::Moderate).description("Old");
    let before = handle.portfolios().create(&new).await.expect("created");
    let patch: PortfolioPatch = serde_json::from_value(
        json!({"description": null, "risk_tolerance": "conservative", "target_cash_percentage": "7.5"}),
    )
    .expect("a patch");
    let after = handle.portfolios().update(before.id, &patch).await.expect("changed");
    assert!(after.updated_at > before.updated_at);
    let expected = Portfolio {
        description: None,
        risk_tolerance: RiskTolerance::Conservative,
        target_cash_percentage: Some(parsed("7.5")),
        updated_at: after.updated_at,
        ..before
    };
    assert_eq!(after, expected);
    assert_eq!(handle.portfolios().find(after.id).await.expect("read"), Some(after.clone()));

    let patch: PortfolioPatch =
        serde_json::from_value(json!({"target_cash_percentage": null, "name": "New"}))
            .expect("a patch");
    let cleared = handle.portfolios().update(after.id, &patch).await.expect("changed");
    assert_eq!((cleared.target_cash_percentage, cleared.name.as_str()), (None, "New"));
    // A patch survives JSON: what is absent stays absent, what is null stays null.
    let json = serde_json::to_value(&patch).expect("JSON");
    assert_eq!(json, json!({"target_cash_percentage": null, "name": "New"}));
}

async fn an_empty_patch_changes_nothing(handle: &impl Handle) {
    let before = core(handle).await;
    let patch: PortfolioPatch = serde_json::from_value(json!({})).expect("a patch");
    assert_eq!(handle.portfolios().update(before.id, &patch).await.expect("no error"), before);
}

async fn soft_deletion_is_idempotent(handle: &impl Handle) {
    let (portfolios, core) = (handle.portfolios(), core(handle).await);
    hold(handle, &core, ["AAPL", "1", "1", "-"]).await;
    for _ in 0..2 {
        assert!(!portfolios.deactivate(core.id).await.expect("ran").is_active);
    }
    // What it holds is kept and can be read.
    assert!(portfolios.exists(core.id).await.expect("read"));
    let kept = portfolios.with_positions(core.id, Activity::Active).await.expect("read");
    assert_eq!(kept.expect("there").positions.len(), 1);
    for _ in 0..2 {
        assert!(portfolios.activate(core.id).await.expect("ran").is_active);
    }
}

async fn names_are_found_per_user(handle: &impl Handle) {
    let portfolios = handle.portfolios();
    let ada = user(handle, "ada@example.com").await;
    let grace = user(handle, "grace@example.com").await;
    let hers = portfolio(handle, &grace, "Core").await;
    assert_eq!(portfolios.find_by_name(ada.id, "Core").await.expect("read"), None);
    let old = portfolio(handle, &ada, "Core").await;
    let new = portfolio(handle, &ada, "Core").await;
    portfolio(handle, &ada, "core").await;
    handle
        .sql(&format!(
            "UPDATE portfolios SET created_at = created_at - interval '1 day' WHERE id = '{}'",
            old.id
        ))
        .await;
    let found =
        async |name: &str| portfolios.find_by_name(ada.id, name).await.expect("read").map(|p| p.id);
    assert_eq!(found("Core").await, Some(new.id));
    // An active one goes before a newer one that is not.
    portfolios.deactivate(new.id).await.expect("ran");
    assert_eq!(found("Core").await, Some(old.id));
    portfolios.deactivate(old.id).await.expect("ran");
    assert_eq!(found("Core").await, Some(new.id));
    // Text is never a pattern.
    assert_eq!(found("Cor_").await, None);
    assert_eq!(found("C%").await, None);
    let refused = portfolios.find_by_name(ada.id, "Core\0").await;
    assert!(
        matches!(&refused, Err(Error::Invalid { field, .. }) if field == "name"),
        "{refused:?}"
    );
    assert_eq!(portfolios.find_by_name(grace.id, "Core").await.expect("read"), Some(hers));
}

async fn lists_reach_every_row_once(handle: &impl Handle) {
    let portfolios = handle.portfolios();
    let ada = user(handle, "ada@example.com").await;
    let grace = user(handle, "grace@example.com").await;
    let new: Vec<_> = (0..30)
        .map(|i| {
            let owner = if i % 3 == 0 { grace.id } else { ada.id };
            NewPortfolio::new(owner, format!("P{i}"), RiskTolerance::ALL[i % 2])
        })
        .collect();
    portfolios.create_many(&new).await.expect("created");
    // Two moments only, so that pages end among equal ones.
    handle
        .sql("UPDATE portfolios SET created_at = '2024-01-01Z'::timestamptz + (length(name) % 2) * interval '1 day'")
        .await;
    let keys = |rows: &[Portfolio]| rows.iter().map(|p| (p.created_at, p.id)).collect::<Vec<_>>();
    for size in [1, 7, 20, 30, 10_000] {
        let everything = PortfolioFilter::default();
        let all = every_page(size, async |page| portfolios.list(&everything, &page).await).await;
        assert_eq!(all.len(), 30, "pages of {size}");
        assert!(keys(&all).is_sorted_by(|a, b| a > b), "pages of {size}");

        let hers = every_page(size, async |page| {
            portfolios.list_for_user(ada.id, Activity::Active, &page).await
        })
        .await;
        let expected: Vec<_> = all.iter().filter(|p| p.user_id == ada.id).cloned().collect();
        assert_eq!(hers, expected, "pages of {size}");

        let calm = every_page(size, async |page| {
            portfolios.list_by_risk_tolerance(RiskTolerance::Conservative, &page).await
        })
        .await;
        let expected = all.iter().filter(|p| p.risk_tolerance == RiskTolerance::Conservative);
        assert_eq!(calm, expected.cloned().collect::<Vec<_>>(), "pages of {size}");
    }
}

async fn lists_are_of_active_ones_by_default(handle: &impl Handle) {
    let portfolios = handle.portfolios();
    let ada = user(handle, "ada@example.com").await;
    let kept = portfolio(handle, &ada, "Kept").await;
    let gone = portfolio(handle, &ada, "Gone").await;
    portfolios.deactivate(gone.id).await.expect("ran");
    let page = PageRequest::default();
    let ids = async |activity| {
        let rows = portfolios.list_for_user(ada.id, activity, &page).await.expect("read").items;
        let mut ids: Vec<_> = rows.into_iter().map(|p| p.id).collect();
        ids.sort();
        ids
    };
    let mut both = [kept.id, gone.id];
    both.sort();
    assert_eq!(ids(Activity::default()).await, [kept.id]);
    assert_eq!(ids(Activity::Inactive).await, [gone.id]);
    assert_eq!(ids(Activity::Any).await, both);
    let moderate = portfolios.list_by_risk_tolerance(RiskTolerance::Moderate, &page).await;
    assert_eq!(moderate.expect("read").items.len(), 1);
    let all = portfolios.list(&PortfolioFilter::default(), &page).await.expect("read").items;
    assert_eq!(all.len(), 1);
}

async fn filters_select(handle: &impl Handle) {
    let portfolios = handle.portfolios();
    let ada = user(handle, "ada@example.com").await;
    let grace = user(handle, "grace@example.com").await;
    for (owner, risk, is_active) in [
        (&ada, RiskTolerance::Moderate, true),
        (&ada, RiskTolerance::Aggressive, true),
        (&ada, RiskTolerance::Aggressive, false),
        (&grace, RiskTolerance::Aggressive, true),
    ] {
        let new = NewPortfolio::new(owner.id, "P", risk);
        let made = portfolios.create(&new).await.expect("created");
        if !is_active {
            portfolios.deactivate(made.id).await.expect("ran");
        }
    }
    let aggressive = Some(RiskTolerance::Aggressive);
    let cases = [
        (None, Activity::Any, None, 4),
        (None, Activity::Active, None, 3),
        (Some(ada.id), Activity::Any, None, 3),
        (Some(ada.id), Activity::Any, aggressive, 2),
        (Some(ada.id), Activity::Inactive, aggressive, 1),
        (Some(grace.id), Activity::Inactive, None, 0),
        (None, Activity::Active, Some(RiskTolerance::Conservative), 0),
    ];
    for (user_id, activity, risk_tolerance, expected) in cases {
        let filter = PortfolioFilter::default()
            .user_id(user_id)
            .activity(activity)
            .risk_tolerance(risk_tolerance);
        assert_eq!(portfolios.count(&filter).await.expect("read"), expected, "{filter:?}");
        let rows = portfolios.list(&filter, &PageRequest::default()).await.expect("read").items;
        assert_eq!(rows.len() as u64, expected, "{filter:?}");
    }
}

async fn many_are_created_in_order(handle: &impl Handle) {
    let portfolios = handle.portfolios();
    assert_eq!(portfolios.create_many(&[]).await.expect("none is fine"), []);
    let ada = user(handle, "ada@example.com").await;
    let new: Vec<_> = (0..1100)
        .map(|i| NewPortfolio::new(ada.id, format!("P{i}"), RiskTolerance::Moderate))
        .collect();
    let created = portfolios.create_many(&new).await.expect("created");
    assert!(created.iter().map(|p| p.id).eq(new.iter().map(|p| p.id)));
    assert!(created.iter().map(|p| &p.name).eq(new.iter().map(|p| &p.name)));
    assert_eq!(portfolios.count(&PortfolioFilter::default()).await.expect("read"), 1100);
}

async fn many_or_none(handle: &impl Handle) {
    let portfolios = handle.portfolios();
    let ada = user(handle, "ada@example.com").await;
    let mut new: Vec<_> = (0..700)
        .map(|i| NewPortfolio::new(ada.id, format!("P{i}"), RiskTolerance::Moderate))
        .collect();
    new[613].user_id = UserId::generate();
    let error = handle.attempt(portfolios.create_many(&new)).await.expect_err("nobody's");
    let Error::Item { index, source } = error else { panic!("{error}") };
    assert_eq!(index, 613);
    assert!(matches!(*source, Error::InvalidReference { .. }), "{source}");
    assert_eq!(portfolios.count(&PortfolioFilter::default()).await.expect("read"), 0);
}

async fn deletion_takes_its_positions(handle: &impl Handle) {
    let core = core(handle).await;
    let position = hold(handle, &core, ["AAPL", "1", "1", "-"]).await;
    assert!(handle.portfolios().delete(core.id).await.expect("deleted"));
    assert!(!handle.portfolios().delete(core.id).await.expect("ran"));
    assert_eq!(handle.positions().find(core.id, position.id).await.expect("read"), None);
}

async fn positions_come_with_it(handle: &impl Handle) {
    let portfolios = handle.portfolios();
    let core = core(handle).await;
    let tickers = async |activity| {
        let read =
            portfolios.with_positions(core.id, activity).await.expect("read").expect("there");
        assert_eq!(read.portfolio, core);
        read.positions.into_iter().map(|p| p.ticker.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(tickers(Activity::Any).await, [""; 0]);
    for ticker in ["MSFT", "AAPL", "TSLA", "NVDA"] {
        hold(handle, &core, [ticker, "1", "1", "-"]).await;
    }
    let gone = handle.positions().find_by_ticker(core.id, &parsed("MSFT")).await.expect("read");
    handle.positions().remove(core.id, gone.expect("there").id).await.expect("removed");
    assert_eq!(tickers(Activity::Active).await, ["AAPL", "NVDA", "TSLA"]);
    assert_eq!(tickers(Activity::Inactive).await, ["MSFT"]);
    assert_eq!(tickers(Activity::Any).await, ["AAPL", "MSFT", "NVDA", "TSLA"]);
    let read =
        portfolios.with_positions(core.id, Activity::Any).await.expect("read").expect("there");
    for position in read.positions {
        let alone = handle.positions().find(core.id, position.id).await.expect("read");
        assert_eq!(alone, Some(position));
    }
}

async fn a_copy_has_its_positions(handle: &impl Handle) {
    let portfolios = handle.portfolios();
    let ada = user(handle, "ada@example.com").await;
    let new = NewPortfolio::new(ada.id, "Core", RiskTolerance::Aggressive)
        .description("Original")
        .target_cash(None);
    let core = portfolios.create(&new).await.expect("created");
    let aapl = hold(handle, &core, ["AAPL", "10", "150.25", "60.5"]).await;
    hold(handle, &core, ["MSFT", "-", "-", "-"]).await;
    let gone = hold(handle, &core, ["TSLA", "1", "1", "-"]).await;
    handle.positions().remove(core.id, gone.id).await.expect("removed");
    portfolios.deactivate(core.id).await.expect("ran");

    let copy = portfolios.duplicate(core.id, "Copy").await.expect("copied");
    assert_ne!(copy.id, core.id);
    let expected = Portfolio {
        id: copy.id,
        name: "Copy".into(),
        is_active: true,
        created_at: copy.created_at,
        updated_at: copy.updated_at,
        ..core.clone()
    };
    assert_eq!(copy, expected);
    let read =
        portfolios.with_positions(copy.id, Activity::Any).await.expect("read").expect("there");
    assert_eq!(read.portfolio, copy);
    let [first, second] = &read.positions[..] else { panic!("{read:?}") };
    let expected = Position {
        id: first.id,
        portfolio_id: copy.id,
        created_at: first.created_at,
        updated_at: first.updated_at,
        ..aapl.clone()
    };
    assert_eq!(*first, expected);
    assert_ne!(first.id, aapl.id);
    assert_eq!((second.ticker.as_str(), &second.shares), ("MSFT", &None));
    // The original is as it was; a copy of nothing is fine.
    let original = portfolios.with_positions(core.id, Activity::Any).await.expect("read");
    assert_eq!(original.expect("there").positions.len(), 3);
    let empty = portfolio(handle, &ada, "Empty").await;
    let copy = portfolios.duplicate(empty.id, "Empty too").await.expect("copied");
    let read =
        portfolios.with_positions(copy.id, Activity::Any).await.expect("read").expect("there");
    assert!(read.positions.is_empty());
    let refused = portfolios.duplicate(core.id, " ").await;
    assert!(
        matches!(&refused, Err(Error::Invalid { field, .. }) if field == "name"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn the_trait_is_dyn_compatible() {
    let db = TestDatabase::new().await.expect("a database");
    let portfolios: Arc<dyn PortfolioRepository> = db.portfolios_arc();
    let made = core(&*db).await;
    assert_eq!(portfolios.find(made.id).await.expect("read"), Some(made));
}
