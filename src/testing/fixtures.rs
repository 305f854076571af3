//! Rows to test with, where any will do. They satisfy every rule of the database; the accounts are
//! distinct, the bars are the same in every run.

use bigdecimal::BigDecimal;
use chrono::{Datelike, NaiveDate, Weekday};

use crate::Repositories;
use crate::error::Result;
use crate::portfolios::{NewPortfolio, Portfolio};
use crate::prices::NewPriceBar;
use crate::types::{PasswordHash, Price, RiskTolerance, Ticker, UserId};
use crate::users::{NewUser, User};

/// A well-formed argon2id hash of an unknown password.
///
/// # Errors
/// None that can be seen: the hash is a constant that the crate's own tests parse.
pub fn password_hash() -> Result<PasswordHash> {
    PasswordHash::new(
        "$argon2id$v=19$m=19456,t=2,p=1$bm90IGEgc2FsdCBhdCBhbGw$bm90IGEgaGFzaCwganVzdCAzMiBieXRlcyBvZiB0ZXh0",
    )
}

/// An account that does not exist yet, with an address that no other has.
///
/// # Errors
/// As [`password_hash`].
pub fn new_user() -> Result<NewUser> {
    let user = NewUser::new("", password_hash()?);
    let email = format!("{}@example.com", user.id);
    Ok(NewUser { email, ..user })
}

/// An account, made here.
///
/// # Errors
/// Those of [`UserRepository::create`](crate::users::UserRepository::create).
pub async fn user(repositories: &impl Repositories) -> Result<User> {
    repositories.users().create(&new_user()?).await
}

/// A portfolio of this user, made here; the name is its own, the risk tolerance moderate.
///
/// # Errors
/// Those of [`PortfolioRepository::create`](crate::portfolios::PortfolioRepository::create).
pub async fn portfolio(repositories: &impl Repositories, owner: UserId) -> Result<Portfolio> {
    let portfolio = NewPortfolio::new(owner, "", RiskTolerance::Moderate);
    let name = format!("Portfolio {}", portfolio.id);
    repositories.portfolios().create(&NewPortfolio { name, ..portfolio }).await
}

/// Daily bars for `count` weekdays from `first` on, by rising day: open, high, low, close between 50 and
/// 150 with two decimals, and a volume. The same arguments give the same bars; other tickers, others.
///
/// # Errors
/// [`Error::Invalid`](crate::Error::Invalid) when the days run past the last that can be stored.
pub fn bars(ticker: &Ticker, first: NaiveDate, count: usize) -> Result<Vec<NewPriceBar>> {
    let mut random = Random::new(ticker.as_str());
    let mut close = random.between(8_000, 12_000);
    let days =
        first.iter_days().filter(|day| !matches!(day.weekday(), Weekday::Sat | Weekday::Sun));
    days.take(count)
        .map(|day| {
            let open = close;
            close = (open + random.between(-200, 200)).clamp(5_100, 14_900);
            let high = open.max(close) + random.between(0, 100);
            let low = open.min(close) - random.between(0, 100);
            let volume = random.between(100_000, 90_000_000);
            Ok(NewPriceBar::new(ticker.clone(), day, cents(close)?)
                .ohl(cents(open)?, cents(high)?, cents(low)?)
                .volume(volume))
        })
        .collect()
}

fn cents(cents: i64) -> Result<Price> {
    Price::new(BigDecimal::new(cents.into(), 2))
}

/// Steele, Lea and Flood's SplitMix64: small, and the same on every machine.
struct Random(u64);

impl Random {
    fn new(seed: &str) -> Random {
        Random(
            seed.bytes().fold(0, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(byte.into())),
        )
    }

    /// From `least` to `most`, both included.
    fn between(&mut self, least: i64, most: i64) -> i64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        // Below 2^63, so that it is a positive i64.
        least + (bits >> 1).cast_signed() % (most - least + 1)
    }
}
