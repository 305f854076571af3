//! The cache's levels.
#![allow(dead_code)]

pub(crate) mod address;
pub(crate) mod breaker;
pub(crate) mod canonical;
pub(crate) mod change;
pub(crate) mod packed;
#[cfg(feature = "redis")]
pub(crate) mod redis;
