//! Connections: one that speaks Diesel, the pool, and the transaction over it. Only this folder
//! names the driver and bb8.

// | file | what |
// |---|---|
// | `pg_connection` | `PgConnection`: Diesel's traits over the driver |
// | `transport`, `row_stream`, `copy`, `copy_binary` | statements in flight, each watched: dropped unfinished, it is cancelled and the connection discarded |
// | `cancel`, `companions` | the cancel request; how it is avoided where one of several calls fails |
// | `rendered_query`, `statement_cache`, `driver_row`, `decoded` | a Diesel query as text and binds; prepared statements by text; received rows, and which of them cannot be read |
// | `sqlstate`, `reported` | the server's error report through Diesel's error type, and as this crate's error |
// | `manager`, `making`, `pool`, `lease` | bb8 behind a fair queue, and what is borrowed from it |
// | `transaction`, `tenant` | one transaction on one connection; statements in a user's name |
// | `lending` | what a borrower's SQL leaves: reset on return, noticed by a unit of work |
// | `reads`, `scope` | whether a statement that was not answered may have taken effect |
// | `receipts`, `outcome` | the receipt of a transaction, and what became of it |
// | `channel_stream` | a stream of what a future sends |
// | `tls`, `rustls_config` | transport by `sslmode` |

mod cancel;
pub(crate) mod channel_stream;
mod companions;
mod copy;
mod copy_binary;
mod decoded;
mod driver_row;
mod lease;
mod lending;
mod making;
mod manager;
mod outcome;
mod pg_connection;
mod pool;
mod reads;
mod receipts;
mod rendered_query;
mod reported;
mod row_stream;
#[cfg(feature = "tls")]
mod rustls_config;
mod scope;
pub(crate) mod sqlstate;
mod statement_cache;
mod tenant;
mod tls;
mod transaction;
mod transaction_options;
mod transport;

#[cfg(feature = "arrow")]
pub(crate) use channel_stream::Sender;
pub(crate) use channel_stream::channel_stream;
pub(crate) use companions::Waiting;
pub use copy::{CopyIn, CopyOut};
#[cfg(feature = "arrow")]
pub(crate) use copy_binary::RowWriter;
pub use driver_row::{PgField, PgRow};
pub use lease::Connection;
pub(crate) use lease::Lease;
pub use outcome::Outcome;
pub(crate) use outcome::{PATIENCE, outcome};
pub use pg_connection::PgConnection;
pub use pool::{Pool, PoolState, Pooled};
pub(crate) use rendered_query::RenderedQuery;
pub(crate) use reported::unreadable;
pub use row_stream::Rows;
pub use sqlstate::sqlstate;
pub(crate) use tenant::{ApplicationRole, Naming, OwnedTables, Tenant};
pub(crate) use transaction::{Transaction, undone};
pub use transaction_options::{Isolation, TransactionOptions};
