//! Integration tests of the crate in one program, since linking each separately would take long.

mod frontier_evidence;
mod numpy;
mod page;
mod support;
mod three_domains;
mod whole_pages;
