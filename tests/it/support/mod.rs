//! Helpers that several tests share.

pub mod fixture;
pub mod pages;
pub mod served;
