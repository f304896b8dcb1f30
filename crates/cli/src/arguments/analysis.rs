//! Arguments of the commands that compare runs or mix their weights.

use std::path::PathBuf;

use clap::Args;

use super::Scoring;
use super::values::TimeLimit;

/// Arguments of the commands that run several fine-tunings of one config.
#[derive(Debug, Args)]
pub struct Sweep {
    /// TOML file with the settings that all runs share and those that differ.
    pub config: PathBuf,
    /// Changes to the config, as `key.sub=value`.
    pub overrides: Vec<String>,
    #[command(flatten)]
    pub limit: TimeLimit,
    /// Check every run, list which ones are finished, and measure the time of the rest on a few steps, without starting
    /// any.
    #[arg(long)]
    pub dry_run: bool,
    /// Show each run on the whole terminal: loss, domains, throughput, time left. `q` stops and saves it.
    #[arg(long, conflicts_with = "dry_run")]
    pub dashboard: bool,
}

/// Arguments of the commands that combine a base with a checkpoint tuned from it.
#[derive(Debug, Args)]
pub struct Between {
    /// Checkpoint that the tuned one was trained from.
    pub base: PathBuf,
    /// Tuned checkpoint, or its run folder.
    pub tuned: PathBuf,
    #[command(flatten)]
    pub scoring: Scoring,
    /// Domain of the fine-tuning; default: the niche recorded by the tuned run.
    #[arg(long)]
    pub niche: Option<String>,
    /// Maximum mean increase of the retained domains on the `dev` split, in bits per byte.
    #[arg(long, default_value_t = 0.02)]
    pub limit: f64,
    /// Folder for the chosen model, the results as JSON, and a readable page.
    #[arg(long, short, value_name = "DIR")]
    pub output: PathBuf,
}

#[derive(Debug, Args)]
pub struct Interpolate {
    #[command(flatten)]
    pub between: Between,
    /// Shares of the tuned model to try. 0 and 1 are always tried.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "0,0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9,1"
    )]
    pub alphas: Vec<f64>,
    /// After choosing one share for all layers, search for a better share of each layer.
    #[arg(long, alias = "per-block")]
    pub per_layer: bool,
}

#[derive(Debug, Args)]
pub struct Reset {
    #[command(flatten)]
    pub between: Between,
}
