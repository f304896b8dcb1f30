//! Integration tests of the crate, in one program: each program links everything.

mod interpolation;
mod points_between;
mod support;
