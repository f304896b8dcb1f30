//! One file a command: reads its arguments, calls the crate that does the work, prints the result.

pub mod bench;
pub mod dataset;
pub mod demo;
pub mod evaluate;
pub mod finetune;
pub mod forget;
pub mod generate;
pub mod interpolate;
pub mod merge;
pub mod prepare;
pub mod pretrain;
