//! Storing delivered bars: judged, merged and accounted for one by one.

mod careful;
mod intake;
mod jump;
mod order;
pub(crate) mod room;
mod store;
pub(crate) mod upsert;
