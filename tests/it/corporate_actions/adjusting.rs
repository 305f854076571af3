//! Prices adjusted at read.

use bigdecimal::{BigDecimal, RoundingMode, ToPrimitive};
use buffetbot_db::prices::{
    ActionKind, AdjustedSeries, Adjustment, NewPriceBar, PricedAction, SeriesBar, SkipReason,
    adjust,
};
use chrono::{Days, NaiveDate};
use proptest::prelude::{Strategy, any};
use proptest::test_runner::Config;
use proptest::{option, prop_assert_eq, proptest};

use super::{day, dividend, split};
use crate::support::handle::Handle;
use crate::support::parsed;

conformance! {
    by_year:
    a_reference_date_decides_which_actions_count,
    a_dividend_is_measured_by_the_close_before_the_range,
    what_cannot_be_applied_is_told,
}

fn bar(on: &str, close: &str) -> NewPriceBar {
    let price = || parsed(close);
    NewPriceBar::new(parsed("A"), day(on), price()).ohl(price(), price(), price()).volume(1_000)
}

fn closes(series: &AdjustedSeries) -> Vec<String> {
    series.bars.iter().map(|bar| bar.close.normalized().to_plain_string()).collect()
}

async fn a_reference_date_decides_which_actions_count(handle: &impl Handle) {
    let prices = handle.prices();
    let bars = [bar("2024-01-02", "90"), bar("2024-01-03", "30"), bar("2024-01-04", "27")];
    prices.upsert_many(&bars).await.expect("stored");
    // Three for one; then 3 of 30 are paid, a tenth.
    let actions = [split("A", "2024-01-03", "1", "3"), dividend("A", "2024-01-04", "3")];
    handle.corporate_actions().upsert_many(&actions).await.expect("stored");
    let adjusted = async |as_of, adjustment| {
        let (ticker, first, last) = (parsed("A"), NaiveDate::MIN, NaiveDate::MAX);
        let series = prices.adjusted(&ticker, first, last, day(as_of), adjustment).await;
        let series = series.expect("read");
        assert_eq!(series.skipped, []);
        series
    };
    let (splits, both) = (Adjustment::Splits, Adjustment::SplitsAndDividends);
    assert_eq!(closes(&adjusted("2024-01-02", both).await), ["90", "30", "27"]);
    assert_eq!(closes(&adjusted("2024-01-03", both).await), ["30", "30", "27"]);
    assert_eq!(closes(&adjusted("2024-01-04", splits).await), ["30", "30", "27"]);
    let all = adjusted("2024-01-04", both).await;
    assert_eq!(closes(&all), ["27", "27", "27"], "who reinvests has neither won nor lost");
    let volumes: Vec<_> = all.bars.iter().map(|bar| bar.volume).collect();
    assert_eq!(volumes, [Some(3_000), Some(1_000), Some(1_000)]);
    let ohl = [&all.bars[0].open, &all.bars[0].high, &all.bars[0].low];
    assert!(ohl.iter().all(|price| **price == Some(27.into())), "{ohl:?}");
    // Stored as delivered.
    let stored = prices.range(&parsed("A"), NaiveDate::MIN, NaiveDate::MAX).await.expect("read");
    assert!(stored.iter().zip(&bars).all(|(stored, new)| stored.close == new.close));
}

async fn a_dividend_is_measured_by_the_close_before_the_range(handle: &impl Handle) {
    let prices = handle.prices();
    let bars = [bar("2024-01-02", "100"), bar("2024-01-03", "99"), bar("2024-01-08", "98")];
    prices.upsert_many(&bars).await.expect("stored");
    let actions = [dividend("A", "2024-01-05", "9"), dividend("A", "2024-01-02", "50")];
    handle.corporate_actions().upsert_many(&actions).await.expect("stored");
    let (ticker, both) = (parsed("A"), Adjustment::SplitsAndDividends);
    let to = day("2024-01-03");
    // The ex-date, without a bar of its own, lies after the range, and the close before it within.
    let series = prices.adjusted(&ticker, NaiveDate::MIN, to, NaiveDate::MAX, both).await;
    let series = series.expect("read");
    assert_eq!(closes(&series), ["90.9090909091", "90"]);
    // On the day of the first bar nothing lies before it.
    assert_eq!(series.skipped, []);
    let none = prices.adjusted(&ticker, day("2025-01-01"), NaiveDate::MAX, to, both).await;
    assert_eq!(none.expect("read").bars, []);
}

async fn what_cannot_be_applied_is_told(handle: &impl Handle) {
    let prices = handle.prices();
    prices.upsert_many(&[bar("2024-01-02", "10"), bar("2024-01-03", "5")]).await.expect("stored");
    let liquidation = dividend("A", "2024-01-03", "10");
    handle
        .corporate_actions()
        .upsert_many(std::slice::from_ref(&liquidation))
        .await
        .expect("stored");
    let (ticker, both) = (parsed("A"), Adjustment::SplitsAndDividends);
    let series = prices.adjusted(&ticker, NaiveDate::MIN, NaiveDate::MAX, NaiveDate::MAX, both);
    let series = series.await.expect("read");
    assert_eq!(closes(&series), ["10", "5"]);
    assert_eq!(series.skipped.len(), 1);
    assert_eq!(series.skipped[0].reason, SkipReason::NotBelowPreviousClose);
    assert_eq!(series.skipped[0].kind, liquidation.kind);
}

fn nth(n: u64) -> NaiveDate {
    day("2020-01-01") + Days::new(n)
}

/// Hundredths.
fn cents(n: u32) -> BigDecimal {
    BigDecimal::new(n.into(), 2)
}

/// At most one split and one dividend on each of 12 days.
fn actions() -> impl Strategy<Value = Vec<PricedAction>> {
    let split = option::of((1u32..30, 1u32..30));
    let dividend = option::of((1u32..500, option::of(1u32..10_000)));
    proptest::collection::vec((split, dividend, any::<bool>()), 12).prop_map(|days| {
        let mut actions = Vec::new();
        for (n, (split, dividend, is_first)) in days.into_iter().enumerate() {
            let ex_day = nth(n as u64);
            let split = split.map(|(from, to)| PricedAction {
                ex_day,
                kind: ActionKind::Split {
                    from: from.to_string().parse().expect("shares"),
                    to: to.to_string().parse().expect("shares"),
                },
                previous_close: None,
            });
            let dividend = dividend.map(|(amount, close)| PricedAction {
                ex_day,
                kind: ActionKind::Dividend {
                    amount: cents(amount).to_string().parse().expect("an amount"),
                },
                previous_close: close.map(|c| cents(c).to_string().parse().expect("a price")),
            });
            let both = [split, dividend];
            let ordered = if is_first { both.into_iter().rev().collect() } else { Vec::from(both) };
            actions.extend(ordered.into_iter().flatten());
        }
        // In no order.
        let middle = actions.len().min(3);
        actions.rotate_left(middle);
        actions
    })
}

fn raw(n: u64, close: u32, volume: i64) -> SeriesBar {
    let price = || Some(cents(close));
    SeriesBar {
        first: nth(n),
        last: nth(n),
        bars: 1,
        open: price(),
        high: price(),
        low: None,
        close: cents(close),
        volume: Some(volume),
        is_suspect: false,
    }
}

/// One bar alone: its close and volume by every action after it, one after the other.
fn slowly(
    bar: &SeriesBar,
    actions: &[PricedAction],
    as_of: NaiveDate,
    with_dividends: bool,
) -> (BigDecimal, i64) {
    let (mut above, mut below) = (bar.close.clone(), BigDecimal::from(1));
    let (mut more, mut fewer) = (BigDecimal::from(bar.volume.expect("given")), BigDecimal::from(1));
    let after = actions.iter().filter(|action| action.ex_day > bar.last && action.ex_day <= as_of);
    for action in after {
        match &action.kind {
            ActionKind::Split { from, to } => {
                above *= from.as_decimal();
                below *= to.as_decimal();
                more *= to.as_decimal();
                fewer *= from.as_decimal();
            }
            ActionKind::Dividend { amount } => {
                let split = actions.iter().find_map(|other| match &other.kind {
                    ActionKind::Split { from, to } if other.ex_day == action.ex_day => {
                        Some((from.as_decimal().clone(), to.as_decimal().clone()))
                    }
                    _ => None,
                });
                let (from, to) = split.unwrap_or((1.into(), 1.into()));
                let Some(close) = &action.previous_close else { continue };
                // In shares of the ex-date.
                let (old, paid) = (close.as_decimal() * from, amount.as_decimal() * to);
                if with_dividends && paid < old {
                    above *= &old - &paid;
                    below *= old;
                }
            }
        }
    }
    let close = (above / below).with_scale_round(10, RoundingMode::HalfEven);
    let volume = (more / fewer).with_scale_round(0, RoundingMode::HalfEven);
    (close, volume.to_i64().expect("few enough"))
}

#[test]
fn adjusting_is_what_the_definition_says_of_each_bar() {
    let bars = proptest::collection::vec((1u32..100_000, 0i64..1_000), 12);
    let cases = Config { failure_persistence: None, cases: 300, ..Config::default() };
    proptest!(cases, |(bars in bars, actions in actions(), as_of in 0u64..13, is_total in any::<bool>())| {
        let bars: Vec<_> =
            (0u64..).zip(bars).map(|(n, (close, volume))| raw(n, close, volume)).collect();
        let adjustment =
            if is_total { Adjustment::SplitsAndDividends } else { Adjustment::Splits };
        let series = adjust(&bars, &actions, nth(as_of), adjustment);
        prop_assert_eq!(series.bars.len(), bars.len());
        for (bar, adjusted) in bars.iter().zip(&series.bars) {
            let (close, volume) = slowly(bar, &actions, nth(as_of), is_total);
            prop_assert_eq!(&adjusted.close, &close);
            prop_assert_eq!(adjusted.open.as_ref(), Some(&close));
            prop_assert_eq!(&adjusted.low, &None);
            // More than i64 holds can't be reached with these numbers, zero can.
            prop_assert_eq!(adjusted.volume, Some(volume));
        }
        let unpriced = actions.iter().filter(|action| {
            let ActionKind::Dividend { .. } = action.kind else { return false };
            is_total && action.previous_close.is_none() && action.ex_day > nth(0) && action.ex_day <= nth(as_of)
        });
        let told = series.skipped.iter().filter(|s| s.reason == SkipReason::NoPreviousClose);
        prop_assert_eq!(told.count(), unpriced.count());
    });
}
