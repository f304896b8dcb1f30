//! Integration tests of the crate in one program, since each program is linked anew.

mod presets;
mod reference_pages;
