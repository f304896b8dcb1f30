//! Parquet files: columns that make documents, and pages of bounded size.

pub(crate) mod columns;
pub(crate) mod file;
pub(crate) mod pages;
