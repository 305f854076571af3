//! Integration tests, all in one program.
#![allow(missing_docs)]

mod catalog;
mod embedded;
mod migrations;
mod rows;
mod schema_contract;
mod schema_docs;
mod schema_rules;
mod testing;
