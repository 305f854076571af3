//! Integration tests, all in one program.
#![allow(missing_docs)]

mod support;

mod cancellation;
mod catalog;
mod config;
mod connection;
mod embedded;
mod errors;
mod faults;
mod migrations;
mod pgbouncer;
mod pool;
mod rows;
mod schema_contract;
mod schema_docs;
mod schema_rules;
mod testing;
mod tls;
mod unit_of_work;
