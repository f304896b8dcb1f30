//! Integration tests of the crate. One program holds all of them, because each test program links everything.

mod choices;
mod known;
mod reference;
mod scoring;
mod support;
