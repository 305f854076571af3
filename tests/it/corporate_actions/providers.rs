//! What real providers adjusted, against our adjustment of their raw bars.

use buffetbot_db::Error;
use buffetbot_db::import::{CsvOptions, ImportReport, prices_from_csv};
use buffetbot_db::prices::{Adjustment, AdjustmentCheck};
use chrono::NaiveDate;

use super::{all, day, dividend, split};
use crate::support::handle::Handle;
use crate::support::{parsed, repository};

conformance! {
    quandl_adjusts_as_we_do,
    a_missing_split_shows_as_one_step,
    a_tolerance_is_above_zero,
}

async fn load(handle: &impl Handle, file: &str) -> ImportReport {
    let path = repository("data/prices").join(file);
    prices_from_csv(handle, path, CsvOptions::new()).await.expect(file)
}

async fn check(handle: &impl Handle, ticker: &str, tolerance: f64) -> AdjustmentCheck {
    let (first, last) = (NaiveDate::MIN, NaiveDate::MAX);
    let prices = handle.prices();
    prices.verify_adjustment(&parsed(ticker), first, last, tolerance).await.expect("compared")
}

async fn quandl_adjusts_as_we_do(handle: &impl Handle) {
    let file = "quandl_sample_2014_raw_and_adjusted.csv";
    let report = load(handle, file).await;
    // Of AAPL four dividends and a split, of MSFT four dividends.
    assert_eq!((report.actions_written, report.actions_unchanged), (9, 0));
    let report = load(handle, file).await;
    assert_eq!((report.actions_written, report.actions_unchanged), (0, 9));
    let apple = all(handle, "AAPL").await;
    assert_eq!(apple[2].kind, split("AAPL", "2014-06-09", "1", "7").kind);
    assert_eq!(apple[2].ex_day(), day("2014-06-09"));

    for (ticker, days) in [("AAPL", 252), ("MSFT", 252), ("BRK_A", 252), ("ZEN", 160)] {
        let found = check(handle, ticker, 2e-4).await;
        assert_eq!(found, AdjustmentCheck { days_compared: days, ..AdjustmentCheck::default() });
    }
    // Quandl divides a dividend by the close of the ex-date, not by the one before: its steps differ in the
    // fifth digit, and only those of dividends.
    let found = check(handle, "AAPL", 1e-7).await;
    let steps: Vec<_> = found.steps.iter().map(|step| step.day.to_string()).collect();
    assert_eq!(steps, ["2014-02-06", "2014-05-08", "2014-08-07", "2014-11-06"]);
    let theirs = 1.0 / (1.0 + 3.05 / 512.51);
    assert!((found.steps[0].provider - theirs).abs() < 1e-9, "{:?}", found.steps[0]);
    let ours = 1.0 - 3.05 / 512.59;
    assert!((found.steps[0].computed - ours).abs() < 1e-9, "{:?}", found.steps[0]);

    // Volumes as Quandl adjusts them, and raw ones after the split.
    let (ticker, first) = (parsed("AAPL"), day("2014-06-06"));
    let (as_of, splits) = (NaiveDate::MAX, Adjustment::Splits);
    let prices = handle.prices();
    let series = prices.adjusted(&ticker, first, day("2014-06-09"), as_of, splits).await;
    let volumes: Vec<_> = series.expect("read").bars.iter().map(|bar| bar.volume).collect();
    assert_eq!(volumes, [Some(87_484_600), Some(75_414_997)]);
}

async fn a_missing_split_shows_as_one_step(handle: &impl Handle) {
    load(handle, "us_stocks_daily_2000_2013.csv").await;
    let tolerance = 0.004;
    let days = |found: &AdjustmentCheck| -> Vec<String> {
        found.steps.iter().map(|step| step.day.to_string()).collect()
    };
    // No action is stored: all of them show.
    let found = check(handle, "AAPL", tolerance).await;
    let all_steps = ["2000-06-21", "2005-02-28", "2012-08-09", "2012-11-07", "2013-02-07"];
    assert_eq!(days(&found), all_steps);
    let split_step = &found.steps[1];
    assert!((split_step.provider - 0.5).abs() < 1e-3 && split_step.computed == 1.0);
    let last = found.differences.last().expect("some").day;
    assert!(last < day("2013-02-07"), "after the last step nothing differs: {last}");

    let known = [
        split("AAPL", "2000-06-21", "1", "2"),
        split("AAPL", "2005-02-28", "1", "2"),
        dividend("AAPL", "2012-08-09", "2.65"),
        dividend("AAPL", "2012-11-07", "2.65"),
        dividend("AAPL", "2013-02-07", "2.65"),
    ];
    let actions = handle.corporate_actions();
    actions.upsert_many(&known).await.expect("stored");
    let found = check(handle, "AAPL", 1e-3).await;
    assert_eq!((found.days_compared, found.steps, found.differences), (3_270, vec![], vec![]));

    // One is lost again: one step, and all days before it differ.
    let lost = all(handle, "AAPL").await.remove(1);
    actions.delete(lost.id).await.expect("deleted");
    let found = check(handle, "AAPL", 1e-3).await;
    assert_eq!(days(&found), ["2005-02-28"]);
    let last = found.differences.last().expect("some");
    assert_eq!(last.day, day("2005-02-25"));
    assert!((last.computed / last.provider - 2.0).abs() < 1e-2, "{last:?}");
}

async fn a_tolerance_is_above_zero(handle: &impl Handle) {
    for tolerance in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let (ticker, first, last) = (parsed("A"), NaiveDate::MIN, NaiveDate::MAX);
        let failed = handle.prices().verify_adjustment(&ticker, first, last, tolerance).await;
        assert!(matches!(failed, Err(Error::Invalid { field, .. }) if field == "tolerance"));
    }
}
