//! Helpers that several tests share.

pub mod desk;
pub mod shelf;
pub mod tables;
