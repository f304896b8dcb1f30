//! Tests of the binary and of the workspace as a whole, in one program, since linking each separately would take long.

mod adapters;
mod audit;
mod bench;
mod best;
mod between;
mod chain;
mod chat;
mod cuda;
#[cfg(feature = "dashboard")]
mod dashboard;
#[cfg(all(feature = "hub", feature = "parquet"))]
mod documented;
mod dry_runs;
mod elsewhere;
mod examples;
mod extended;
mod figures;
mod gguf;
mod gpt2;
#[cfg(feature = "hub")]
mod hub;
#[cfg(all(feature = "hub", feature = "parquet"))]
mod hub_datasets;
mod inference;
mod init;
mod killed;
mod limits;
mod listed;
mod log;
mod matrix;
mod old_runs;
mod output;
mod outputs;
mod own_text;
mod pins;
mod planted;
#[cfg(feature = "hub")]
mod push;
mod refused;
mod retention;
mod rows;
mod serve;
mod signals;
mod support;
mod sweeps;
mod tasks;
mod told;
mod tune;
mod vocabulary;
mod whole_line;
mod wired;
