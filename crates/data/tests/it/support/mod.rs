//! Helpers that several tests share.

pub mod desk;
pub mod documents;
pub mod shelf;
#[cfg(feature = "parquet")]
pub mod tables;
