//! Option quotes, contracts and chains.

mod chains;
mod occ;
mod pg;
mod quote;

pub use chains::{AtTheMoney, OptionChain, PutCallRatio, SmilePoint, StrikeInterest, TermPoint};
pub use occ::{OccSymbol, OptionContract};
pub use pg::OptionRepository;
pub(crate) use pg::PgOptions;
pub use quote::{ChainFilter, NewOptionQuote, OptionQuote, OptionQuoteFilter, OptionQuotePatch};
