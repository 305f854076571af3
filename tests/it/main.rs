//! Integration tests, all in one program.
#![allow(missing_docs)]

#[macro_use]
mod support;

mod a_log;
mod analyses;
mod api;
mod audit;
mod bounds;
mod cache;
mod cache_many;
mod cache_redis;
mod cache_schema;
mod cancellation;
mod catalog;
mod config;
mod connection;
mod corporate_actions;
mod deep_documents;
mod durations;
mod embedded;
mod errors;
mod events;
mod faults;
mod hostile_text;
mod import;
mod interface;
mod lending;
mod market_cache;
mod migrations;
mod options;
mod outcomes;
mod partitions;
mod passwords;
mod pgbouncer;
mod pool;
mod portfolios;
mod positions;
mod prices;
mod refused_rows;
mod rows;
mod schema_contract;
mod schema_docs;
mod schema_rules;
mod series;
mod sql_snapshots;
mod tenancy;
mod testing;
mod tls;
mod transactions;
mod unit_of_work;
mod unreadable;
mod users;
mod validated;
