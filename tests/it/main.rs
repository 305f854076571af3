//! The integration tests, one binary: each module is one part of the crate, on real PostgreSQL.

mod support;

mod cancellation;
mod config;
mod connection;
mod errors;
mod faults;
mod pgbouncer;
mod pool;
mod tls;
mod unit_of_work;
