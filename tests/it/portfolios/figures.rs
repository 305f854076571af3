//! What the database computes over a portfolio: summary and valuation.

use bigdecimal::BigDecimal;
use chrono::{DateTime, Utc};

use super::*;

conformance! {
    a_summary_counts_and_sums,
    a_summary_is_exact,
    a_valuation_is_of_its_moment,
    a_valuation_without_prices_says_so,
    a_valuation_is_exact,
}

fn time(text: &str) -> DateTime<Utc> {
    parsed(text)
}

/// A decimal of a result; its scale does not matter.
fn decimal(text: &str) -> BigDecimal {
    parsed(text)
}

async fn a_summary_counts_and_sums(handle: &impl Handle) {
    let portfolios = handle.portfolios();
    let core = core(handle).await;
    let empty = portfolios.summary(core.id).await.expect("read").expect("there");
    assert_eq!((empty.active_positions, empty.inactive_positions, empty.analyses), (0, 0, 0));
    assert_eq!((&empty.allocation_total, &empty.cost_basis), (&decimal("0"), &decimal("0")));
    assert_eq!(empty.target_cash_percentage, Some(parsed("5")));

    hold(handle, &core, ["AAPL", "10", "150.25", "60.5"]).await;
    hold(handle, &core, ["MSFT", "2.5", "300", "50"]).await;
    hold(handle, &core, ["NVDA", "3", "-", "-"]).await;
    hold(handle, &core, ["IBM", "-", "99", "1"]).await;
    let gone = hold(handle, &core, ["TSLA", "1000", "1000", "99"]).await;
    handle.positions().remove(core.id, gone.id).await.expect("removed");
    handle
        .sql(&format!(
            "INSERT INTO analysis_results (portfolio_id, ticker, analysis_type)
             VALUES ('{0}', 'AAPL', 'risk_analysis'), ('{0}', 'MSFT', 'risk_analysis'),
                    (NULL, 'AAPL', 'value_analysis')",
            core.id
        ))
        .await;
    let summary = portfolios.summary(core.id).await.expect("read").expect("there");
    assert_eq!(summary.portfolio_id, core.id);
    assert_eq!((summary.active_positions, summary.inactive_positions), (4, 1));
    assert_eq!(summary.positions_without_cost, 2);
    assert_eq!(summary.analyses, 2);
    assert_eq!(summary.allocation_total, decimal("111.5"));
    assert_eq!(summary.cost_basis, decimal("2252.5"));
}

/// The largest number that the columns hold, and the smallest.
const LARGEST: &str = "9999999999.9999999999";
const SMALLEST: &str = "0.0000000001";

async fn a_summary_is_exact(handle: &impl Handle) {
    let core = core(handle).await;
    hold(handle, &core, ["BIG", LARGEST, LARGEST, "-"]).await;
    hold(handle, &core, ["SMALL", SMALLEST, SMALLEST, "-"]).await;
    let summary = handle.portfolios().summary(core.id).await.expect("read").expect("there");
    let exact = decimal(LARGEST) * decimal(LARGEST) + decimal(SMALLEST) * decimal(SMALLEST);
    assert_eq!(summary.cost_basis, exact);
}

/// Bars of AAPL and MSFT in January 2024, and one of AAPL in the future.
const BARS: &str = "
    INSERT INTO price_history (ticker, date, close_price, is_suspect) VALUES
        ('AAPL', '2024-01-02Z', 185.64, FALSE), ('AAPL', '2024-01-03Z', 184.25, FALSE),
        ('AAPL', '2024-01-05Z', 181.18, TRUE), ('AAPL', '2999-01-01Z', 1, FALSE),
        ('MSFT', '2024-01-02Z', 370.87, FALSE), ('MSFT', '2024-01-04Z', 367.94, FALSE)";

async fn a_valuation_is_of_its_moment(handle: &impl Handle) {
    let core = core(handle).await;
    handle.sql(BARS).await;
    hold(handle, &core, ["MSFT", "2.5", "300.10", "35"]).await;
    hold(handle, &core, ["AAPL", "10", "150", "60"]).await;
    hold(handle, &core, ["NEW", "5", "7", "5"]).await;
    let gone = hold(handle, &core, ["TSLA", "1", "1", "-"]).await;
    handle.positions().remove(core.id, gone.id).await.expect("removed");
    let valued = async |as_of: Option<&str>| {
        let as_of = as_of.map(time);
        handle.portfolios().valuation(core.id, as_of).await.expect("read").expect("there")
    };

    let at = valued(Some("2024-01-04T00:00:00Z")).await;
    assert_eq!(at.portfolio_id, core.id);
    assert_eq!(at.as_of, time("2024-01-04T00:00:00Z"));
    assert_eq!(at.target_cash_percentage, Some(parsed("5")));
    let [aapl, msft, new] = &at.positions[..] else { panic!("{at:?}") };
    let bar = aapl.bar.as_ref().expect("priced");
    assert_eq!((bar.date, &bar.close), (time("2024-01-03T00:00:00Z"), &parsed("184.25")));
    assert_eq!(
        (aapl.ticker.as_str(), &aapl.shares, &aapl.average_cost),
        ("AAPL", &Some(parsed("10")), &Some(parsed("150")))
    );
    assert_eq!(aapl.market_value, Some(decimal("1842.50")));
    assert_eq!(aapl.cost_basis, Some(decimal("1500")));
    assert_eq!(aapl.unrealised_gain, Some(decimal("342.50")));
    // 1842.50 and 919.85 of 2762.35.
    assert_eq!(aapl.weight, Some(decimal("66.700454")));
    assert_eq!(aapl.drift, Some(decimal("6.700454")));
    assert_eq!(msft.bar.as_ref().expect("priced").date, time("2024-01-04T00:00:00Z"));
    assert_eq!(msft.market_value, Some(decimal("919.85")));
    assert_eq!(msft.unrealised_gain, Some(decimal("169.60")));
    assert_eq!(msft.weight, Some(decimal("33.299546")));
    assert_eq!(msft.drift, Some(decimal("-1.700454")));
    assert_eq!((new.ticker.as_str(), &new.bar, &new.market_value), ("NEW", &None, &None));
    assert_eq!(new.cost_basis, Some(decimal("35")));
    assert_eq!((&new.unrealised_gain, &new.weight, &new.drift), (&None, &None, &None));
    assert_eq!(at.without_price().map(|t| t.as_str()).collect::<Vec<_>>(), ["NEW"]);
    assert_eq!(at.market_value, decimal("2762.35"));
    assert_eq!(at.cost_basis, decimal("2285.25"));
    assert_eq!(at.unrealised_gain, decimal("512.10"));

    // A moment before a bar begins does not know it, the moment it begins does.
    let before = valued(Some("2024-01-02T23:59:59.999999Z")).await;
    let closes: Vec<_> =
        before.positions.iter().map(|p| p.bar.as_ref().map(|b| b.close.to_string())).collect();
    assert_eq!(closes, [Some("185.64".into()), Some("370.87".into()), None]);

    // Now: the future bar is not known yet, the suspect one is told as such.
    let now = valued(None).await;
    let bar = now.positions[0].bar.as_ref().expect("priced");
    assert_eq!((bar.date, bar.is_suspect), (time("2024-01-05T00:00:00Z"), true));
    assert!(now.as_of >= core.created_at && now.as_of < time("2999-01-01T00:00:00Z"));
    let json = serde_json::to_string(&now).expect("JSON");
    assert_eq!(
        serde_json::from_str::<buffetbot_db::portfolios::Valuation>(&json).expect("a valuation"),
        now
    );
}

async fn a_valuation_without_prices_says_so(handle: &impl Handle) {
    let core = core(handle).await;
    let empty = handle.portfolios().valuation(core.id, None).await.expect("read").expect("there");
    assert_eq!((empty.positions.len(), &empty.market_value), (0, &decimal("0")));

    handle.sql(BARS).await;
    hold(handle, &core, ["AAPL", "-", "150", "60"]).await;
    hold(handle, &core, ["MSFT", "0", "-", "40"]).await;
    let early = Some(time("2023-12-31T00:00:00Z"));
    let none = handle.portfolios().valuation(core.id, early).await.expect("read").expect("there");
    assert_eq!(none.without_price().count(), 2);
    assert!(none.positions.iter().all(|p| p.market_value.is_none() && p.weight.is_none()));
    assert_eq!(none.market_value, decimal("0"));

    // A price without a number of shares is no value, and of nothing there are no weights.
    let now = handle.portfolios().valuation(core.id, None).await.expect("read").expect("there");
    let [aapl, msft] = &now.positions[..] else { panic!("{now:?}") };
    assert!(aapl.bar.is_some() && aapl.market_value.is_none() && aapl.cost_basis.is_none());
    assert_eq!((&msft.market_value, &msft.cost_basis), (&Some(decimal("0")), &None));
    assert_eq!((&msft.weight, &msft.drift, &msft.unrealised_gain), (&None, &None, &None));
}

async fn a_valuation_is_exact(handle: &impl Handle) {
    let core = core(handle).await;
    handle
        .sql(&format!(
            "INSERT INTO price_history (ticker, date, close_price)
             VALUES ('BIG', '2024-01-02Z', {LARGEST}), ('SMALL', '2024-01-02Z', {SMALLEST})"
        ))
        .await;
    hold(handle, &core, ["BIG", LARGEST, SMALLEST, "-"]).await;
    hold(handle, &core, ["SMALL", SMALLEST, "0", "-"]).await;
    let valued = handle.portfolios().valuation(core.id, None).await.expect("read").expect("there");
    let big = decimal(LARGEST) * decimal(LARGEST);
    let small = decimal(SMALLEST) * decimal(SMALLEST);
    let values: Vec<_> = valued.positions.iter().map(|p| p.market_value.clone()).collect();
    assert_eq!(values, [Some(big.clone()), Some(small.clone())]);
    assert_eq!(valued.market_value, &big + &small);
    assert_eq!(valued.unrealised_gain, big + small - decimal(LARGEST) * decimal(SMALLEST));
    let weights: Vec<_> = valued.positions.iter().map(|p| p.weight.clone()).collect();
    assert_eq!(weights, [Some(decimal("100")), Some(decimal("0"))]);
    assert_eq!(
        weights[0].as_ref().map(|w| w.as_bigint_and_scale().1),
        Some(PositionValue::WEIGHT_SCALE)
    );
}
