//! Rows as Rust sees them: per table one struct that is read, one that is inserted, one that changes.
//!
//! In a patch, `None` leaves a column as it is; for a nullable column `Some(None)` clears it. An
//! empty patch is no error.

mod market;
mod option_quote;
mod price_bar;
mod user;

pub use market::{Rejected, UpsertReport};
pub use option_quote::{
    ChainFilter, NewOptionQuote, OptionQuote, OptionQuoteFilter, OptionQuotePatch,
};
pub use price_bar::{LatestBar, NewPriceBar, PriceBar, PriceBarFilter, PriceBarPatch};
pub use user::{Erasure, NewUser, User, UserFilter, UserPatch};
