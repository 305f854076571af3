//! Accounts: users, signing up and logging in.

mod accounts;
mod repository;
mod user;

pub use accounts::Accounts;
pub(crate) use repository::PgUsers;
pub use repository::UserRepository;
pub use user::{Erasure, NewUser, ProfilePatch, User, UserFilter, UserPatch};
