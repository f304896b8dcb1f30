//! Grammar of the command line.

mod analysis;
mod audit;
pub mod help;
mod inference;
mod pipeline;
mod scoring;
mod sharing;
mod tools;
mod values;

pub use analysis::{Between, Interpolate, Reset, Sweep};
pub use audit::Audit;
pub use inference::{Chat, Generate, Sampling, Serve};
pub use pipeline::{Demo, Evaluate, Finetune, Prepare, Report, Train, Tune};
pub use scoring::{Scoring, SplitChoice, SplitFilter, Tasks};
pub use sharing::{Export, GgufKind, Import, Merge};
pub use tools::{
    Bench, Completions, ConfigChoice, DatasetCommand, DatasetText, Init, ManPages, Runs, Schema,
    Tokenizer,
};

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use values::TimeLimit;

use values::example;

/// Pretrain a small foundation transformer on several domains, specialize it on a niche, and report what it forgot.
#[derive(Debug, Parser)]
#[command(name = "polymath", version, propagate_version = true)]
pub struct Arguments {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command has.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Device to compute on: `auto`, `cpu` or `cuda:N`.
    #[arg(long, global = true, default_value = "auto", value_name = "DEVICE")]
    pub device: String,
    /// Number of threads; default: one per core.
    #[arg(long, global = true, value_name = "N")]
    pub threads: Option<usize>,
    /// Implementation of the tensor operations: `fused`, the fastest for the device, or `reference`, built from
    /// Candle's operations, for comparison.
    #[arg(
        long,
        global = true,
        default_value = "fused",
        value_name = "IMPLEMENTATION"
    )]
    pub ops: OpsChoice,
    /// Hide progress; print only results and errors.
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Format of log lines.
    #[arg(long, global = true, default_value = "text", value_name = "FORMAT")]
    pub log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OpsChoice {
    Fused,
    #[value(alias = "composed")]
    Reference,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Fine-tune a model on your text, from download to chat.
    #[command(after_help = example!("polymath tune HuggingFaceTB/SmolLM2-135M-Instruct chat.jsonl"))]
    Tune(Tune),
    /// Write first configs for a folder of texts, sized for this machine.
    #[command(after_help = example!("polymath init texts --minutes 60"))]
    Init(Init),
    /// Turn raw text into a tokenizer and token shards.
    #[command(after_help = example!("polymath prepare prepare.toml", config "prepare"))]
    Prepare(Prepare),
    /// Train a new model on a mixture of domains.
    #[command(after_help = example!("polymath pretrain pretrain.toml", config "pretrain"))]
    Pretrain(Train),
    /// Specialize a checkpoint on a niche.
    #[command(
        after_help = example!("polymath finetune finetune.toml --limits 0.02", config "finetune")
    )]
    Finetune(Finetune),
    /// Score a checkpoint: bits per byte and perplexity per domain.
    #[command(after_help = example!("polymath evaluate checkpoints/small --split test"))]
    Evaluate(Evaluate),
    /// Report what tuned checkpoints gained and forgot against their base.
    #[command(
        visible_alias = "forget",
        after_help = example!("polymath report checkpoints/small checkpoints/small-niche --output report")
    )]
    Report(Report),
    /// Report what any tuned model forgot, without a dataset of yours.
    #[command(after_help = example!("polymath audit HuggingFaceTB/SmolLM2-135M-Instruct my-adapter --limit 0.02"))]
    Audit(Audit),
    /// Answer a prompt, or continue it.
    #[command(after_help = example!("polymath generate checkpoints/small --prompt 'The sun'"))]
    Generate(Generate),
    /// Talk with a model, or with two side by side.
    #[command(after_help = example!("polymath chat checkpoints/small-niche checkpoints/small"))]
    Chat(Chat),
    /// Serve a model through an OpenAI-compatible API.
    #[command(after_help = example!("polymath serve checkpoints/small --port 8080"))]
    Serve(Serve),
    /// Run the whole pipeline on a built-in corpus, in minutes.
    #[command(after_help = example!("polymath demo --output demo"))]
    Demo(Demo),
    /// Fine-tune a base by several methods; compare gain and forgetting.
    #[command(after_help = example!("polymath frontier configs/frontier/formal.toml --dry-run"))]
    Frontier(Sweep),
    /// Fine-tune one base on each domain separately; report the transfer matrix.
    #[command(after_help = example!("polymath transfer configs/transfer/science.toml --dry-run"))]
    Transfer(Sweep),
    /// Interpolate base and tuned weights within a forgetting limit.
    #[command(
        after_help = example!("polymath interpolate checkpoints/small checkpoints/small-niche --output mixed")
    )]
    Interpolate(Interpolate),
    /// Find the layers that cause the forgetting; reset the best ones.
    #[command(
        visible_alias = "revert",
        after_help = example!("polymath reset checkpoints/small checkpoints/small-niche --output reset")
    )]
    Reset(Reset),
    /// Merge an adapter into its base: an ordinary model folder.
    #[command(after_help = example!("polymath merge checkpoints/small-lora --output merged"))]
    Merge(Merge),
    /// Export a checkpoint as GGUF or to the Hugging Face hub.
    #[command(after_help = example!("polymath export checkpoints/small --gguf small.gguf --type q8_0"))]
    Export(Export),
    /// Import a GGUF file as a model folder.
    #[command(after_help = example!("polymath import small.gguf --output imported"))]
    Import(Import),
    /// Inspect a prepared dataset.
    #[command(subcommand, after_help = example!("polymath dataset info data/science"))]
    Dataset(DatasetCommand),
    /// List runs with state, size and lineage; remove old checkpoints.
    #[command(after_help = example!("polymath runs checkpoints"))]
    Runs(Runs),
    /// Write a fine-tuning's tokenizer: the base's with the new tokens.
    #[command(after_help = example!("polymath tokenizer finetune.toml --output tokenizer"))]
    Tokenizer(Tokenizer),
    /// Measure tokens per second of a training step.
    #[command(after_help = example!("polymath bench configs/pretrain/reference.toml"))]
    Bench(Bench),
    /// Print a config with every key, its unit and default.
    #[command(after_help = example!("polymath config finetune"))]
    Config(Schema),
    /// Print shell completions.
    #[command(after_help = example!("polymath completions bash > ~/.local/share/bash-completion/completions/polymath"))]
    Completions(Completions),
    /// Write a man page for each command.
    #[command(hide = true, after_help = example!("polymath man-pages --output man1"))]
    ManPages(ManPages),
}
