//! When the average close of fifty days crosses that of two hundred, on sixty-five years of an index:
//!
//! ```sh
//! cargo run -p buffetbot-db --example crossings
//! cargo test -p buffetbot-db --example crossings   # the same computation on a fake, without a database
//! ```
//!
//! The computation takes a `&dyn PriceRepository`, as the parts of a program do that do not need to know where bars are.

use std::path::Path;

use buffetbot_db::import::{self, CsvOptions};
use buffetbot_db::prelude::*;
use chrono::NaiveDate;

/// A day on which the short average passes the long one.
#[derive(Debug, PartialEq)]
struct Crossing {
    day: NaiveDate,
    /// The short average is above the long one from this day on.
    is_rising: bool,
}

/// The crossings of a ticker, by rising day. `short` and `long` are numbers of trading days.
async fn crossings(
    prices: &dyn PriceRepository,
    ticker: &Ticker,
    (short, long): (usize, usize),
) -> Result<Vec<Crossing>> {
    let bars = prices.range(ticker, NaiveDate::MIN, NaiveDate::MAX).await?.complete()?;
    let closes: Vec<f64> = bars.iter().map(|bar| bar.close.to_f64()).collect();
    let mean = |end: usize, days: usize| closes[end - days..end].iter().sum::<f64>() / days as f64;
    let is_above = |end: usize| mean(end, short) > mean(end, long);
    let crossed = (long + 1..=closes.len()).filter(|&end| is_above(end) != is_above(end - 1));
    Ok(crossed
        .map(|end| Crossing { day: bars[end - 1].trading_day(), is_rising: is_above(end) })
        .collect())
}

#[tokio::main]
async fn main() -> Result<()> {
    let db = Database::ephemeral().await?;
    db.migrate().await?;
    let file = Path::new("data/prices/gspc_daily_1950_2015.csv");
    println!("{}", import::prices_from_csv(&db, file, CsvOptions::new()).await?);

    let found = crossings(db.prices(), &"^GSPC".parse()?, (50, 200)).await?;
    println!("{} crossings; the last ten:", found.len());
    for Crossing { day, is_rising } in &found[found.len().saturating_sub(10)..] {
        println!("  {day}  {}", if *is_rising { "above" } else { "below" });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use buffetbot_db::prices::PriceBar;
    use chrono::Days;

    use super::*;

    /// Closes of one ticker, a day each.
    struct Closes(Vec<u32>);

    #[async_trait]
    impl PriceRepository for Closes {
        async fn range_many(
            &self,
            tickers: &[Ticker],
            _: NaiveDate,
            _: NaiveDate,
        ) -> Result<Listed<PriceBar>> {
            let bar = |(day, close): (u64, &u32)| {
                let day = NaiveDate::default() + Days::new(day);
                let new = NewPriceBar::new(tickers[0].clone(), day, close.to_string().parse()?);
                Ok(new.stored_at(day.and_time(chrono::NaiveTime::MIN).and_utc()))
            };
            Ok((0..).zip(&self.0).map(bar).collect::<Result<Vec<_>>>()?.into())
        }
    }

    #[tokio::test]
    async fn an_average_that_passes_another_is_found_in_both_directions() {
        let closes = Closes(vec![10, 10, 10, 20, 20, 1, 1]);
        let found = crossings(&closes, &"A".parse().expect("a ticker"), (1, 3)).await;
        let day = |n| NaiveDate::default() + Days::new(n);
        let expected = [(day(3), true), (day(5), false)];
        let expected = expected.map(|(day, is_rising)| Crossing { day, is_rising });
        assert_eq!(found.expect("closes"), expected);
    }

    #[tokio::test]
    async fn what_the_fake_does_not_offer_is_an_error() {
        let closes = Closes(Vec::new());
        let digest = closes.digest(&"A".parse().expect("a ticker")).await;
        assert!(matches!(digest, Err(Error::Unsupported { call: "prices.digest" })));
    }
}
