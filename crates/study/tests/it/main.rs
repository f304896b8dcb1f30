//! Integration tests of the crate in one program, since linking each separately would take long.

mod interpolation;
mod methods;
mod points_between;
mod support;
