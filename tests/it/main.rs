//! Integration tests, all in one program.
#![allow(missing_docs)]

#[macro_use]
mod support;

mod catalog;
mod embedded;
mod migrations;
mod portfolios;
mod positions;
mod rows;
mod schema_contract;
mod schema_docs;
mod schema_rules;
mod testing;
mod users;
