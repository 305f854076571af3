//! Events: programs are notified of what has changed.
//!
//! Triggers write an event in the transaction of its change, so that there is one exactly where the change is
//! committed. A reader keeps the snapshot of its last reading and takes what that did not see and the present one
//! does: each event comes exactly once, in whichever order transactions commit, and a transaction that stays open
//! holds up no other's events. A notification only says when to read; without one the log is read at
//! intervals. Nobody who writes waits for anybody who reads.

// | file | what |
// |---|---|
// | `log` | reads the events that a snapshot did not see |
// | `waker` | listens for the word that there are new ones |
// | `subscription` | `Database::subscribe`: a stream from now on |

mod event;
pub(crate) mod log;
mod subscription;
mod waker;

pub use event::{ConsumerState, Event, EventData, EventFilter};
pub(crate) use log::{BEGINNING, Position};
pub use subscription::Subscription;
pub(crate) use subscription::{subscribe, wait};
pub(crate) use waker::Waker;
