//! Integration tests of the crate in one program, since linking each separately would take long.

mod adapters;
mod bf16;
mod blocks;
mod distillation;
mod gradients;
mod kept;
mod muon;
mod optimizer;
mod parity;
mod promises;
mod pull;
mod support;
mod window;
