//! Days brought together.

use std::num::NonZeroU32;

use bigdecimal::BigDecimal;
use buffetbot_db::prices::{Period, Resampler, SeriesBar, resample};
use chrono::{Datelike, Days, NaiveDate};
use proptest::prelude::{Just, Strategy};
use proptest::test_runner::Config;
use proptest::{option, prop_assert_eq, prop_oneof, proptest};

use super::{bar, day};

fn every(days: u32) -> Period {
    Period::Days(NonZeroU32::new(days).expect("some"))
}

#[test]
fn periods_begin_where_they_should() {
    for (period, of, start) in [
        (Period::Week, "2024-01-07", "2024-01-01"),
        (Period::Week, "2024-01-08", "2024-01-08"),
        (Period::Month, "2024-02-29", "2024-02-01"),
        (Period::Quarter, "2024-06-30", "2024-04-01"),
        (Period::Quarter, "2024-12-31", "2024-10-01"),
        (Period::Year, "2024-12-31", "2024-01-01"),
        (every(7), "2000-01-03", "2000-01-03"),
        (every(7), "2000-01-02", "1999-12-27"),
        (every(10), "2000-01-12", "2000-01-03"),
        (every(10), "2000-01-13", "2000-01-13"),
        (every(1), "1969-12-31", "1969-12-31"),
    ] {
        assert_eq!(period.start(day(of)), day(start), "{period:?} {of}");
    }
    for period in [Period::Week, every(u32::MAX)] {
        assert_eq!(period.start(NaiveDate::MIN).year(), NaiveDate::MIN.year());
    }
}

#[test]
fn a_week_is_its_days() {
    let bars = [
        bar(day("2024-01-03"), [Some(100), Some(130), Some(90), Some(110)], Some(i64::MAX)),
        bar(day("2024-01-05"), [Some(110), None, None, Some(140)], Some(1)),
        bar(day("2024-01-08"), [None, None, None, Some(150)], None),
        bar(day("2024-01-09"), [Some(1), None, Some(149), Some(151)], Some(5)),
    ];
    let weeks = resample(&bars, Period::Week);
    let mut first = bar(day("2024-01-03"), [Some(100), Some(140), Some(90), Some(140)], None);
    (first.last, first.bars) = (day("2024-01-05"), 2);
    let mut second = bar(day("2024-01-08"), [None, None, Some(149), Some(151)], Some(5));
    (second.last, second.bars) = (day("2024-01-09"), 2);
    assert_eq!(weeks, [first, second], "too large a sum is none, and a close stands in for a high");
}

#[test]
fn an_open_lies_within_high_and_low() {
    // The first bars have no high and no low, and open farther out than they close.
    for (open, close, high, low) in [(120, 110, 120, 105), (90, 110, 115, 90)] {
        let bars = [
            bar(day("2024-01-02"), [Some(open), None, None, Some(close)], None),
            bar(day("2024-01-03"), [Some(112), Some(115), Some(105), Some(113)], None),
        ];
        let week = resample(&bars, Period::Week).remove(0);
        assert_eq!(week.high, Some(BigDecimal::new(high.into(), 2)), "{open}");
        assert_eq!(week.low, Some(BigDecimal::new(low.into(), 2)), "{open}");
        // And the other way round: such a bar comes second.
        let bars = [
            bar(day("2024-01-02"), [Some(112), Some(115), Some(105), Some(113)], None),
            bar(day("2024-01-03"), [Some(open), None, None, Some(close)], None),
        ];
        let week = resample(&bars, Period::Week).remove(0);
        assert_eq!(week.high, Some(BigDecimal::new(high.into(), 2)), "{open}");
        assert_eq!(week.low, Some(BigDecimal::new(low.into(), 2)), "{open}");
    }
}

/// A bar whose values may be absent, some days after the one before.
fn bars() -> impl Strategy<Value = Vec<SeriesBar>> {
    let price = || option::of(1i64..1_000);
    let one = (1u64..40, (price(), price(), price(), 1i64..1_000), option::of(0i64..1_000), 0u8..9);
    proptest::collection::vec(one, 0..60).prop_map(|days| {
        let mut date = day("1999-11-01");
        let bars = days.into_iter().map(|(step, (open, high, low, close), volume, n)| {
            date = date + Days::new(step);
            let mut bar = bar(date, [open, high, low, Some(close)], volume);
            bar.is_suspect = n == 0;
            bar
        });
        bars.collect()
    })
}

fn period() -> impl Strategy<Value = Period> {
    prop_oneof![
        Just(Period::Week),
        Just(Period::Month),
        Just(Period::Quarter),
        Just(Period::Year),
        (1u32..50).prop_map(every),
    ]
}

/// What a period is called, said in another way than by its first day.
fn name(period: Period, day: NaiveDate) -> String {
    match period {
        Period::Week => format!("{:?}", day.iso_week()),
        Period::Month => day.format("%Y-%m").to_string(),
        Period::Quarter => format!("{} {}", day.year(), day.month().div_ceil(3)),
        Period::Year => day.year().to_string(),
        Period::Days(n) => {
            let monday = NaiveDate::from_ymd_opt(2000, 1, 3).expect("a day");
            let since = (day - monday).num_days() as f64 / f64::from(n.get());
            since.floor().to_string()
        }
    }
}

#[test]
fn resampling_is_what_the_definition_says_of_each_period() {
    let cases = Config { failure_persistence: None, cases: 300, ..Config::default() };
    proptest!(cases, |(bars in bars(), period in period())| {
        let resampled = resample(&bars, period);
        // Every period by itself: its bars are looked up among all.
        let mut names: Vec<String> = bars.iter().map(|bar| name(period, bar.first)).collect();
        names.dedup();
        prop_assert_eq!(resampled.len(), names.len());
        for (found, wanted) in resampled.iter().zip(&names) {
            let within: Vec<&SeriesBar> =
                bars.iter().filter(|bar| name(period, bar.first) == *wanted).collect();
            let (first, last) = (within[0], within[within.len() - 1]);
            prop_assert_eq!(&found.open, &first.open);
            prop_assert_eq!(&found.close, &last.close);
            prop_assert_eq!((found.first, found.last), (first.first, last.last));
            prop_assert_eq!(found.bars as usize, within.len());
            let known = |bar: &SeriesBar| [Some(bar.close.clone()), bar.open.clone()];
            let highs = within.iter().map(|bar| {
                bar.high.clone().unwrap_or_else(|| known(bar).into_iter().flatten().max().expect("a close"))
            });
            let lows = within.iter().map(|bar| {
                bar.low.clone().unwrap_or_else(|| known(bar).into_iter().flatten().min().expect("a close"))
            });
            let has_high = within.iter().any(|bar| bar.high.is_some());
            let has_low = within.iter().any(|bar| bar.low.is_some());
            prop_assert_eq!(&found.high, &highs.max().filter(|_| has_high));
            prop_assert_eq!(&found.low, &lows.min().filter(|_| has_low));
            let volumes: Vec<i64> = within.iter().filter_map(|bar| bar.volume).collect();
            let volume = (!volumes.is_empty()).then(|| volumes.iter().sum());
            prop_assert_eq!(found.volume, volume);
            prop_assert_eq!(found.is_suspect, within.iter().any(|bar| bar.is_suspect));
        }
        // Bar by bar it is the same.
        let mut resampler = Resampler::new(period);
        let mut one_by_one: Vec<_> = bars.iter().filter_map(|bar| resampler.push(bar)).collect();
        one_by_one.extend(resampler.finish());
        prop_assert_eq!(one_by_one, resampled);
    });
}
