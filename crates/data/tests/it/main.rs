//! Integration tests of the crate. One program holds all of them, because each test program links everything.

mod apply_chat_template;
mod chat;
mod conversations;
mod formats;
mod groups;
mod ledger;
mod manifest;
mod mixture;
mod only_scored;
mod packed;
mod packing;
#[cfg(feature = "parquet")]
mod parquet;
mod prepare;
mod questions;
mod reading;
mod refusals;
mod replay;
mod scoring;
mod split;
mod support;
