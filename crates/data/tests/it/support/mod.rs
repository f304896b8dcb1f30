//! Helpers that several tests share.

pub mod desk;
pub mod shelf;
#[cfg(feature = "parquet")]
pub mod tables;
