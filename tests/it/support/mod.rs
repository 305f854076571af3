//! What the tests of several modules share.

mod connection;
pub mod faketime;
pub mod fetched;
#[macro_use]
pub mod handle;
pub mod log;
pub mod methods;
pub mod plan;
pub mod pooler;
pub mod process;
pub mod proxy;
pub mod redis;
pub mod server;

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use buffetbot_db::portfolios::{NewPortfolio, Portfolio};
use buffetbot_db::types::{Page, PageRequest, PasswordHash, RiskTolerance};
use buffetbot_db::users::{NewUser, User};
use buffetbot_db::{Repositories, Result};

pub use connection::*;

/// A file or folder of the repository; this package is one of its folders.
pub fn repository(path: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository");
    root.join(path)
}

/// A user nobody else has.
pub fn somebody() -> NewUser {
    NewUser::new(format!("{}@example.com", uuid::Uuid::new_v4().simple()), hash())
}

/// A hash in the form that may be stored.
pub fn hash() -> PasswordHash {
    parsed(
        "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$RdescudvJCsgt3ub+b27dQ5Jo4Jd8CmKbn8xYb1Vt2k",
    )
}

/// A hash for the text of statements, which is logged: none that is bound anywhere.
pub const LITERAL_HASH: &str = "$argon2id$v=19$m=16,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA";

/// A value that is known to parse: a decimal, a ticker, an id, a time.
pub fn parsed<T: FromStr<Err: Debug>>(text: &str) -> T {
    text.parse().expect(text)
}

/// A time so many minutes ago, to the microsecond, as the database holds it; by the machine's clock, which the test
/// servers share.
pub fn ago(minutes: i64) -> chrono::DateTime<chrono::Utc> {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970");
    let now =
        i64::try_from(since.as_micros()).ok().and_then(chrono::DateTime::from_timestamp_micros);
    now.expect("a time of today") - chrono::TimeDelta::minutes(minutes)
}

/// A user of this address.
pub async fn user(repos: &impl Repositories, email: &str) -> User {
    repos.users().create(&NewUser::new(email, hash())).await.expect("a user")
}

/// A portfolio of this user.
pub async fn portfolio(repos: &impl Repositories, owner: &User, name: &str) -> Portfolio {
    let new = NewPortfolio::new(owner.id, name, RiskTolerance::Moderate);
    repos.portfolios().create(&new).await.expect("a portfolio")
}

/// Every row of a list, read in pages of `size`, none of which may be longer, or empty but the first.
pub async fn every_page<T>(
    size: u32,
    fetch: impl AsyncFn(PageRequest) -> Result<Page<T>>,
) -> Vec<T> {
    let mut rows = Vec::new();
    let mut request = PageRequest::first(size);
    loop {
        let page = fetch(request).await.expect("a page");
        assert!(page.items.len() <= size as usize);
        assert!(rows.is_empty() || !page.items.is_empty(), "an empty page was announced");
        rows.extend(page.items);
        match page.next {
            Some(cursor) => request = PageRequest::after(size, cursor),
            None => return rows,
        }
    }
}
