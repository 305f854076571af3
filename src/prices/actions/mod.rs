//! Splits and dividends.

mod action;
mod repository;
mod upsert;

pub(crate) use action::kind_of;
pub use action::{
    ActionKind, CorporateAction, CorporateActionFilter, CorporateActionPatch, NewCorporateAction,
};
pub use repository::CorporateActionRepository;
pub(crate) use repository::PgCorporateActions;
