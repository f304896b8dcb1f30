//! Arguments of the commands that exchange models with other programs.

use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueEnum};

#[derive(Debug, Args)]
pub struct Merge {
    /// Checkpoint folder of an adapter, or its run folder (its best checkpoint).
    pub adapter: PathBuf,
    /// Base that the adapter was trained on; default: the base that it names.
    #[arg(long, value_name = "DIR")]
    pub base: Option<PathBuf>,
    /// New folder for the model.
    #[arg(long, short, value_name = "DIR")]
    pub output: PathBuf,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("place_of_a_card").args(["push", "card"]).multiple(true))]
pub struct Export {
    /// Checkpoint folder, or run folder (its best checkpoint), of a model or an adapter.
    pub checkpoint: PathBuf,
    #[command(flatten)]
    pub destination: Destination,
    /// Number type of the matrices in the GGUF file: 32, 16, 8.5 or 4.5 bits per weight.
    #[arg(
        long = "type",
        default_value = "f16",
        value_name = "TYPE",
        requires = "gguf"
    )]
    pub kind: GgufKind,
    /// Forgetting report for the card: a folder written by `polymath report`, or its `report.json`.
    #[arg(long, value_name = "DIR", requires = "place_of_a_card")]
    pub report: Option<PathBuf>,
    /// License for the card, such as `apache-2.0`; default: the license of the base's card, if it has one.
    #[arg(long, value_name = "ID", requires = "place_of_a_card")]
    pub license: Option<String>,
    /// Base of the checkpoint, if it is an adapter. For `--push` it must be `owner/name` on the hub. Default: the base
    /// that it names.
    #[arg(long, value_name = "DIR")]
    pub base: Option<PathBuf>,
    /// Create a private repository; an existing one must be private.
    #[arg(long, requires = "push")]
    pub private: bool,
    /// Branch to push to, created if it does not exist; default: `main`.
    #[arg(long, value_name = "BRANCH", requires = "push")]
    pub revision: Option<String>,
    /// Commit message.
    #[arg(long, value_name = "TEXT", requires = "push")]
    pub message: Option<String>,
    /// Push the optimizer state too. It is twice the size of the model and only needed to resume training.
    #[arg(long, requires = "push")]
    pub with_state: bool,
    /// Push without asking. On a terminal, the command lists the files and asks first.
    #[arg(long, requires = "push")]
    pub yes: bool,
    /// List the files that would be pushed and print the card, without sending or writing anything.
    #[arg(long, requires = "push")]
    pub dry_run: bool,
}

/// Destinations of a checkpoint. At least one is required.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub struct Destination {
    /// New GGUF file.
    #[arg(long, value_name = "FILE")]
    pub gguf: Option<PathBuf>,
    /// Repository on the hub, created if it does not exist. Uses `HF_TOKEN`, or the token of `hf auth login`.
    #[arg(long, value_name = "OWNER/NAME")]
    pub push: Option<String>,
    /// New file or folder for the model card; with `--push`, the card to push.
    #[arg(long, value_name = "FILE")]
    pub card: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GgufKind {
    F32,
    F16,
    #[value(name = "q8_0")]
    Q8_0,
    #[value(name = "q4_k")]
    Q4K,
}

#[derive(Debug, Args)]
pub struct Import {
    /// GGUF file of a Llama, Mistral, Qwen2, Qwen3 or GPT-2.
    pub model: PathBuf,
    /// New folder for the model.
    #[arg(long, short, value_name = "DIR")]
    pub output: PathBuf,
}
