//! Integration tests of the crate in one program, since each program is linked anew.

mod frontier_evidence;
mod numpy;
mod page;
mod support;
mod three_domains;
