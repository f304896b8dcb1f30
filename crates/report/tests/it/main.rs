//! Integration tests of the crate, in one program: each program links everything.

mod frontier_evidence;
mod numpy;
mod page;
mod support;
mod three_domains;
