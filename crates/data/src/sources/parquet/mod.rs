//! Parquet files: the columns that make documents, and pages of limited size.

pub(crate) mod columns;
pub(crate) mod file;
mod ordered;
pub(crate) mod pages;
