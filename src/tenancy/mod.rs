//! Whose rows a program may see: row-level security, the roles that it binds, and a check of a live database.

mod doctor;
mod effect;
mod legible;
pub(crate) mod owned;
mod rights;
mod roles;

pub use doctor::{Diagnosis, Finding, Severity};
pub use roles::MAINTENANCE_ROLE;
