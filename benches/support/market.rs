//! Made-up bars for the benchmarks.

use buffetbot_db::prices::NewPriceBar;
use buffetbot_db::types::{Price, Ticker};
use chrono::NaiveDate;

/// `count` bars in the order of days, `per_ticker` days each: a random walk from a fixed seed.
pub fn bars(count: usize, per_ticker: usize) -> Vec<NewPriceBar> {
    let first = NaiveDate::from_ymd_opt(1990, 1, 1).expect("a date");
    let mut state = 1u64;
    let mut random = move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as i64 % 100
    };
    let tickers = count.div_ceil(per_ticker);
    let names: Vec<Ticker> =
        (0..tickers).map(|i| Ticker::new(&format!("S{i:04}")).expect("a ticker")).collect();
    let price =
        |cents: i64| Price::new(bigdecimal::BigDecimal::new(cents.into(), 2)).expect("a price");
    (0..count)
        .map(|i| {
            let day = first + chrono::Days::new((i / tickers) as u64);
            let low = 5_000 + 10 * random();
            let (open, close, high) = (low + random() % 50, low + random() % 50, low + 60);
            NewPriceBar::new(names[i % tickers].clone(), day, price(close))
                .ohl(price(open), price(high), price(low))
                .volume(1_000_000 + random())
        })
        .collect()
}
