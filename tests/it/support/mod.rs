//! Helpers that several tests share.

pub mod fixture;
#[cfg(all(feature = "hub", feature = "parquet"))]
pub mod pages;
#[cfg(feature = "hub")]
pub mod served;
