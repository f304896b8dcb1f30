//! Integration tests of the crate. One program holds all of them, because each test program links everything.

mod adapter_definition;
mod adapters;
mod definition;
#[cfg(unix)]
mod emulated;
mod families;
mod gguf;
mod gpt2;
mod other_programs;
mod promises;
mod recompute;
mod support;
mod untrusted;
mod weights;
mod windows;
