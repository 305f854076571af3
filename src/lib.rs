//! Data layer.
#[cfg(feature = "embedded")]
pub mod embedded;
