//! Integration tests of the crate in one program, since each program is linked anew.

mod distillation;
mod penalties;
mod support;
