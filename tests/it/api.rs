//! All that the crate offers, for the tests that go through much of it.

pub use buffetbot_db::passwords::*;
pub use buffetbot_db::{
    analyses::*, audit::*, cache::*, config::*, error::*, events::*, market_cache::*, options::*,
    portfolios::*, postgres::*, prices::*, store::*, tenancy::*, types::*, users::*, *,
};
