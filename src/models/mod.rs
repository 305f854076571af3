//! Rows as Rust sees them: per table one struct that is read, one that is inserted, one that changes.
//!
//! In a patch, `None` leaves a column as it is; for a nullable column `Some(None)` clears it. An
//! empty patch is no error.

mod user;

pub use user::{Erasure, NewUser, User, UserFilter, UserPatch};
