//! Trading days against those on which real prices were made.

use buffetbot_db::prices::{Nyse, TradingCalendar, Weekdays};
use chrono::{Datelike, NaiveDate, Weekday};

use super::{day, days};

#[test]
fn sixty_six_years_of_the_index_are_exactly_the_open_days() {
    let all = days("gspc_daily_1950_2015.csv").remove("^GSPC").expect("the index");
    assert_eq!(all.len(), 16_607);
    let open: Vec<NaiveDate> = Nyse.open_days(all[0], *all.last().expect("days")).collect();
    let missing: Vec<_> = open.iter().filter(|day| all.binary_search(day).is_err()).collect();
    let closed: Vec<_> = all.iter().filter(|day| open.binary_search(day).is_err()).collect();
    assert!(missing.is_empty() && closed.is_empty(), "{missing:?} {closed:?}");
}

#[test]
fn other_shares_trade_on_open_days() {
    for file in
        ["us_stocks_daily_2000_2013.csv", "googl_daily_2009_2018.csv", "brk_a_daily_2014.csv"]
    {
        for (ticker, all) in days(file) {
            // Of a share that is traded every day, without a gap.
            let open: Vec<_> = Nyse.open_days(all[0], *all.last().expect("days")).collect();
            let missing: Vec<_> = open.iter().filter(|day| !all.contains(day)).collect();
            let closed: Vec<_> = all.iter().filter(|day| !Nyse.is_open(**day)).collect();
            assert!(closed.is_empty(), "{file} {ticker}: {closed:?}");
            assert!(missing.is_empty(), "{file} {ticker}: {missing:?}");
        }
    }
}

#[test]
fn years_after_the_data_follow_the_published_rules() {
    let closed = |year: i32| -> Vec<String> {
        let first = NaiveDate::from_ymd_opt(year, 1, 1).expect("a day");
        let days = first.iter_days().take_while(|day| day.year() == year);
        let weekdays = days.filter(|day| Weekdays.is_open(*day) && !Nyse.is_open(*day));
        weekdays.map(|day| day.format("%m-%d").to_string()).collect()
    };
    // As the exchange announced them.
    let of_2018 =
        ["01-01", "01-15", "02-19", "03-30", "05-28", "07-04", "09-03", "11-22", "12-05", "12-25"];
    assert_eq!(closed(2018), of_2018);
    let of_2021 = ["01-01", "01-18", "02-15", "04-02", "05-31", "07-05", "09-06", "11-25", "12-24"];
    assert_eq!(closed(2021), of_2021);
    // New Year's Day of 2022 is a Saturday.
    let of_2022 = ["01-17", "02-21", "04-15", "05-30", "06-20", "07-04", "09-05", "11-24", "12-26"];
    assert_eq!(closed(2022), of_2022);
    let of_2025 = [
        "01-01", "01-09", "01-20", "02-17", "04-18", "05-26", "06-19", "07-04", "09-01", "11-27",
        "12-25",
    ];
    assert_eq!(closed(2025), of_2025);
    let of_2026 =
        ["01-01", "01-19", "02-16", "04-03", "05-25", "06-19", "07-03", "09-07", "11-26", "12-25"];
    assert_eq!(closed(2026), of_2026);
}

#[test]
fn some_days_end_early() {
    let early = |year: i32| -> Vec<String> {
        let first = NaiveDate::from_ymd_opt(year, 1, 1).expect("a day");
        let days = first.iter_days().take_while(|day| day.year() == year);
        let early = days.filter_map(|day| Some((day, Nyse.early_close(day)?)));
        early.map(|(day, at)| format!("{} {}", day.format("%m-%d"), at.format("%H:%M"))).collect()
    };
    assert_eq!(early(1996), ["07-05 13:00", "11-29 13:00", "12-24 13:00"]);
    assert_eq!(early(2003), ["07-03 13:00", "11-28 13:00", "12-24 13:00", "12-26 13:00"]);
    // A Wednesday before the holiday: whole until 2012.
    assert_eq!(early(2002), ["07-05 13:00", "11-29 13:00", "12-24 13:00"]);
    assert_eq!(early(2024), ["07-03 13:00", "11-29 13:00", "12-24 13:00"]);
    // 3 July is the holiday's substitute, 24 December a Thursday.
    assert_eq!(early(2020), ["11-27 13:00", "12-24 13:00"]);
    // 3 July is a Saturday, 24 December the holiday's substitute.
    assert_eq!(early(2021), ["11-26 13:00"]);
    assert!(early(1992).is_empty());
    assert_eq!(Weekdays.early_close(day("2024-12-24")), None);
}

#[test]
fn neighbours_are_found() {
    assert_eq!(Nyse.next_open(day("2001-09-10")), Some(day("2001-09-17")));
    assert_eq!(Nyse.previous_open(day("2001-09-17")), Some(day("2001-09-10")));
    assert_eq!(Weekdays.next_open(day("2024-01-05")), Some(day("2024-01-08")));
    assert_eq!(Weekdays.previous_open(day("2024-01-08")), Some(day("2024-01-05")));
    assert_eq!(Weekdays.open_days(day("2024-01-08"), day("2024-01-05")).count(), 0);
    assert_eq!(Weekdays.previous_open(NaiveDate::MIN), None);
    assert_eq!(Weekdays.next_open(NaiveDate::MAX), None);
    /// A market that closed for good.
    struct Over;
    impl TradingCalendar for Over {
        fn is_open(&self, day: NaiveDate) -> bool {
            day.year() < 2000 && day.weekday() == Weekday::Mon
        }
    }
    assert_eq!(Over.next_open(day("2024-01-01")), None);
}
