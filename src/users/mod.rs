//! Accounts: users, signing up and logging in.

mod accounts;
mod pg;
mod repository;
mod user;

pub use accounts::Accounts;
pub(crate) use pg::PgUsers;
pub use repository::UserRepository;
pub use user::{Erasure, NewUser, ProfilePatch, User, UserFilter, UserPatch};
