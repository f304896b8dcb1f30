//! Arguments of the commands beside the pipeline.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::scoring::SplitChoice;
use super::values::{at_least_one, example};

#[derive(Debug, Args)]
pub struct Tokenizer {
    /// TOML file of the fine-tuning; only `base` and `[tokenizer]` are used.
    pub config: PathBuf,
    /// Changes to the config, as `key.sub=value`.
    pub overrides: Vec<String>,
    /// New folder for `tokenizer.json` and its settings. Name the folder in `tokenizer.path` to prepare data with it.
    #[arg(long, short, value_name = "DIR")]
    pub output: PathBuf,
}

#[derive(Debug, Subcommand)]
pub enum DatasetCommand {
    /// Print sizes, duplicates and overlaps of a dataset.
    #[command(after_help = example!("polymath dataset info data/science"))]
    Info {
        /// Folder of the dataset.
        dataset: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the text of a domain's documents, decoded from its tokens.
    #[command(after_help = example!("polymath dataset text data/science --domain physics --split test"))]
    Text(DatasetText),
}

#[derive(Debug, Args)]
pub struct DatasetText {
    /// Folder of the dataset.
    pub dataset: PathBuf,
    /// Domain to print.
    #[arg(long)]
    pub domain: String,
    /// Split to print: `train`, `heldout`, or the `dev`, `test` or `audit` split of the held-out documents.
    #[arg(long, default_value = "heldout")]
    pub split: SplitChoice,
    /// Print the source and the group before each document.
    #[arg(long)]
    pub sources: bool,
}

#[derive(Debug, Args)]
pub struct Bench {
    /// Pretraining config. Its model, batch and precision are used; its dataset is not.
    pub config: PathBuf,
    /// Changes to the config, as `key.sub=value`.
    pub overrides: Vec<String>,
    /// Number of tokens in the vocabulary, which a dataset would otherwise define.
    #[arg(long, default_value_t = 4096, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub vocabulary: u32,
    /// Number of timed steps, after two warmup steps.
    #[arg(long, default_value_t = 8, value_parser = at_least_one::<u64>)]
    pub steps: u64,
    /// Count the launches, bytes and FLOPs of a step on a GPU instead, on the CPU, and print what the roofline
    /// forecasts for some GPUs. Needs a build with `--features emulator`.
    #[arg(long, conflicts_with = "steps")]
    pub count: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Init {
    /// Config to write, `prepare`, `pretrain` or `finetune` (default: those that suit the texts), and the folder with
    /// the texts (default: the current folder).
    #[arg(value_name = "CONFIG | FOLDER", num_args = 0..=2)]
    pub what: Vec<String>,
    /// Folder for the configs.
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    pub output: PathBuf,
    /// Minutes that the pretraining may take on this machine.
    #[arg(long, default_value_t = 60.0, value_name = "N", value_parser = minutes)]
    pub minutes: f64,
}

/// Parses a number of minutes above 0.
fn minutes(text: &str) -> Result<f64, String> {
    let minutes = text.parse::<f64>().ok();
    minutes
        .filter(|minutes| minutes.is_finite() && *minutes > 0.0)
        .ok_or_else(|| "expected a number of minutes above 0".into())
}

#[derive(Debug, Args)]
pub struct Schema {
    /// Command that reads the config.
    pub command: ConfigChoice,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ConfigChoice {
    Prepare,
    Pretrain,
    Finetune,
    Frontier,
    Transfer,
}

#[derive(Debug, Args)]
pub struct Completions {
    /// Shell that reads the completions.
    pub shell: Shell,
}

#[derive(Debug, Args)]
pub struct ManPages {
    /// Folder for the pages; created if it does not exist.
    #[arg(long, short, value_name = "DIR")]
    pub output: PathBuf,
}

#[derive(Debug, Args)]
pub struct Runs {
    /// Folders to search for runs; default: the current one.
    pub folders: Vec<PathBuf>,
    /// Compare the SHA-256 of every checkpoint's files. By default, only their presence and length are checked.
    #[arg(long)]
    pub verify: bool,
    /// List the checkpoints that are no longer needed, and remove them after a confirmation. A run keeps its newest and
    /// its best one, its milestones, and those that another run or model was made from.
    #[arg(long)]
    pub prune: bool,
    /// Remove without a confirmation.
    #[arg(long, requires = "prune")]
    pub yes: bool,
    /// Print JSON.
    #[arg(long, conflicts_with = "prune")]
    pub json: bool,
}
