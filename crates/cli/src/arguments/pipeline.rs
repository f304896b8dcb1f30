//! Arguments of the commands of the pipeline, from text to report.

use std::path::PathBuf;

use clap::Args;
use polymath_finetune::retention::LimitsConfig;

use super::scoring::{Scoring, SplitFilter, Tasks};
use super::values::{TimeLimit, at_least_one};

#[derive(Debug, Args)]
pub struct Prepare {
    /// TOML file that lists the text of each domain.
    pub config: PathBuf,
    /// Changes to the config, as `key.sub=value`.
    pub overrides: Vec<String>,
    /// Replace a dataset that was prepared from other sources or settings.
    #[arg(long)]
    pub force: bool,
    /// Print the dataset's manifest as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Train {
    /// TOML file that describes the run, or the first `key=value` if there is no file.
    pub config: PathBuf,
    /// Changes to the config, as `key.sub=value`.
    pub overrides: Vec<String>,
    /// Resume an interrupted run; extend a finished one whose length was raised.
    #[arg(long)]
    pub resume: bool,
    #[command(flatten)]
    pub limit: TimeLimit,
    /// Print the cost of the run without starting it: parameters, tokens, operations, memory, disk, and the time that a
    /// few steps measure.
    #[arg(long)]
    pub dry_run: bool,
    /// Show the run on the whole terminal: loss, domains, throughput, time left. `q` stops and saves it.
    #[arg(long, conflicts_with = "dry_run")]
    pub dashboard: bool,
}

#[derive(Debug, Args)]
pub struct Finetune {
    #[command(flatten)]
    pub train: Train,
    /// Forgetting limits: the maximum increase of the retained domains in bits per byte. One number for all, or
    /// `default=0.02,chemistry=0.01`.
    #[arg(long, value_name = "LIMITS", value_parser = limits)]
    pub limits: Option<LimitsConfig>,
}

#[derive(Debug, Args)]
pub struct Tune {
    /// Model to start from: `owner/name` of the hub, a model folder, a run folder, or a `.gguf` file.
    pub base: String,
    /// Text to learn: files, folders or globs, such as a `.jsonl` of conversations. `key=value` changes the
    /// fine-tuning's config, as in `training.epochs=1`, or says how the text is read, as in `fields.prompt=question`
    /// or `on_bad_record=skip`.
    #[arg(required = true, value_name = "DATA")]
    pub data: Vec<String>,
    /// Folder for everything that is made; default: named after base and data, in the current folder.
    #[arg(long, short, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Text that the model should not forget: files or folders, a domain each, or one prepared dataset. Training stays
    /// within a forgetting budget on it. Default: text that the base generates.
    #[arg(long, value_name = "TEXT", num_args = 1..)]
    pub retain: Vec<String>,
    /// Forgetting budget: the most that a retained domain may lose, in bits per byte. One number for all, or
    /// `default=0.02,chemistry=0.01`; default: 0.02. Without `--retain`, the budget applies to text that the base
    /// generates.
    #[arg(long, value_name = "LIMITS", value_parser = limits)]
    pub limits: Option<LimitsConfig>,
    /// Train an adapter (LoRA) in place of all weights, and merge it at the end.
    #[arg(long)]
    pub lora: bool,
    /// Print the steps and the cost of training without writing anything but the hub's cache.
    #[arg(long)]
    pub dry_run: bool,
}

/// Parses `0.02` or `default=0.02,chemistry=0.01`.
fn limits(text: &str) -> Result<LimitsConfig, String> {
    let limit = |part: &str| {
        let (domain, limit) = part.split_once('=').unwrap_or(("default", part));
        match limit.trim().parse::<f64>() {
            Ok(limit) if limit.is_finite() && limit > 0.0 => Ok((domain.trim().to_owned(), limit)),
            _ => Err(format!(
                "`{part}`: expected a number of bits per byte above 0, or `domain=number`"
            )),
        }
    };
    let mut limits = LimitsConfig::new();
    for part in text.split(',') {
        let (domain, limit) = limit(part)?;
        if let Some(other) = limits.insert(domain.clone(), limit) {
            return Err(format!(
                "two limits for `{domain}`, {other} and {limit}: give one"
            ));
        }
    }
    Ok(limits)
}

#[derive(Debug, Args)]
pub struct Evaluate {
    /// Checkpoint folder, or run folder (its best checkpoint).
    pub checkpoint: PathBuf,
    #[command(flatten)]
    pub scoring: Scoring,
    #[command(flatten)]
    pub split: SplitFilter,
    #[command(flatten)]
    pub tasks: Tasks,
    /// Write the model's choice on each task item to this new file, one JSON object per line.
    #[arg(long, value_name = "FILE", requires = "tasks")]
    pub items: Option<PathBuf>,
    /// Base of the checkpoint, if it is an adapter; default: the base that it names.
    #[arg(long = "base", value_name = "DIR")]
    pub adapter_base: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Report {
    /// Checkpoint that the runs started from.
    pub base: PathBuf,
    /// One or more checkpoints tuned from it.
    #[arg(required = true)]
    pub tuned: Vec<PathBuf>,
    #[command(flatten)]
    pub scoring: Scoring,
    #[command(flatten)]
    pub split: SplitFilter,
    #[command(flatten)]
    pub tasks: Tasks,
    /// Base of tuned checkpoints that are adapters; default: the base that each names.
    #[arg(long = "base", value_name = "DIR")]
    pub adapter_base: Option<PathBuf>,
    /// Number of tokens of text that the base generates, as a further domain `self`: measures forgetting without any
    /// data.
    #[arg(long, value_name = "TOKENS", value_parser = at_least_one::<u64>)]
    pub generate: Option<u64>,
    /// Domain of the fine-tuning; default: the niche recorded by the tuned run.
    #[arg(long)]
    pub niche: Option<String>,
    /// Increase in bits per byte up to which a domain counts as retained.
    #[arg(long, default_value_t = 0.02)]
    pub tolerance: f64,
    /// Random seed of the bootstrap.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Folder for `report.html`, `report.md` and `report.json`.
    #[arg(long, short, value_name = "DIR")]
    pub output: PathBuf,
}

#[derive(Debug, Args)]
pub struct Demo {
    /// Folder for all files of the demo.
    #[arg(long, short, value_name = "DIR", default_value = "demo")]
    pub output: PathBuf,
    /// Megabytes of synthetic text for each domain.
    #[arg(long, default_value_t = 3, value_parser = at_least_one::<u64>)]
    pub megabytes: u64,
    /// Number of pretraining steps. Each fine-tuning takes a tenth of them.
    #[arg(long, default_value_t = 1000, value_parser = at_least_one::<u64>)]
    pub steps: u64,
    /// Random seed of the corpus and of training.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}
