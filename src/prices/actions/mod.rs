//! Splits and dividends.

mod action;
mod repository;
mod upsert;

pub use action::{
    ActionKind, CorporateAction, CorporateActionFilter, CorporateActionPatch, NewCorporateAction,
};
pub use repository::{CorporateActionRepository, PgCorporateActions};
