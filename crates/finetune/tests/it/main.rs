//! Integration tests of the crate in one program, since linking each separately would take long.

mod defaults;
mod distillation;
mod penalties;
mod self_text;
mod support;
