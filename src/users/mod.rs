//! Accounts: users, signing up and logging in.

mod accounts;
mod repository;
mod user;

pub use accounts::Accounts;
pub use repository::{PgUsers, UserRepository};
pub use user::{Erasure, NewUser, ProfilePatch, User, UserFilter, UserPatch};
