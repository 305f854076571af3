//! Option quotes, contracts and chains.

mod chains;
mod filter;
mod occ;
mod pg;
mod quote;

pub use chains::{AtTheMoney, OptionChain, PutCallRatio, SmilePoint, StrikeInterest, TermPoint};
pub use filter::{ChainFilter, OptionQuoteFilter};
pub use occ::{OccSymbol, OptionContract};
pub use pg::OptionRepository;
pub(crate) use pg::PgOptions;
pub use quote::{NewOptionQuote, OptionQuote, OptionQuotePatch};
