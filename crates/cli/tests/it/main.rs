//! Integration tests of the crate in one program, since linking each separately would take long.

mod presets;
mod reference_pages;
