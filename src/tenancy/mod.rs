//! Whose rows a program may see: row-level security, the roles that it binds, and a check of a live database.

mod doctor;
mod effect;
mod legible;
mod owned;
mod rights;
mod roles;
#[cfg(test)]
mod tests;
mod triggers;

pub(crate) use doctor::examine;
pub use doctor::{Diagnosis, Finding, Severity};
pub(crate) use owned::owned_tables;
pub use roles::MAINTENANCE_ROLE;
pub(crate) use roles::create_roles;
