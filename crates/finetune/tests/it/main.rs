//! Integration tests of the crate in one program, since linking each separately would take long.

mod distillation;
mod penalties;
mod support;
