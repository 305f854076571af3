//! What the repositories share: sessions, pages, batches, merges and reports. This room knows no domain.

mod atomic;
pub(crate) mod batch;
mod copies;
mod copy_rows;
mod culprit;
pub(crate) mod delivery;
mod entry_key;
mod keyset;
mod merge;
pub(crate) mod patch;
mod retention;
mod session;
mod settled;
mod snapshot;
pub(crate) mod tables;
mod tried;
mod writes;

pub(crate) use copies::Copies;
pub(crate) use copy_rows::CopiedRow;
pub(crate) use culprit::{is_of_an_item, single_out};
pub use delivery::{Rejected, RejectedKind, UpsertReport};
pub(crate) use entry_key::{EntryKey, EntryKeyRef, Namespace};
pub(crate) use keyset::newest_first;
pub(crate) use merge::{Plan, Written};
pub use patch::Clearable;
pub use retention::{Aged, Retention, SweepReport};
pub(crate) use session::{Session, Source};
pub(crate) use settled::settled;
pub(crate) use snapshot::{SNAPSHOT, SNAPSHOT_OF_OTHERS, Snapshot, oldest};
pub(crate) use tried::Tried;
