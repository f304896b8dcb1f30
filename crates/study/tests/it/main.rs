//! Integration tests of the crate in one program, since each program is linked anew.

mod interpolation;
mod points_between;
mod support;
