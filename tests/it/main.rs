//! Integration tests, all in one program.

mod embedded;
mod testing;
