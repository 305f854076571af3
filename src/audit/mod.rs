//! The audit log: changes to accounts, portfolios and positions.

mod entry;
mod repository;

pub use entry::{AuditEntry, AuditFilter};
pub use repository::AuditRepository;
pub(crate) use repository::PgAudit;
