//! The command line's grammar.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

/// The end of a command's help: a config to begin with.
macro_rules! after_help {
    ($command:literal) => {
        concat!(
            "A config to begin with, `configs/own/",
            $command,
            ".toml`:\n\n",
            include_str!(concat!("../../../configs/own/", $command, ".toml"))
        )
    };
}

/// Pretrain a small foundation transformer on several domains, specialise it on a niche, and see what it forgot.
#[derive(Debug, Parser)]
#[command(name = "polymath", version, propagate_version = true)]
pub struct Arguments {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// What holds for every command.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Where to compute: `auto`, `cpu` or `cuda:N`.
    #[arg(long, global = true, default_value = "auto", value_name = "DEVICE")]
    pub device: String,
    /// Threads to compute with; default: one a core.
    #[arg(long, global = true, value_name = "N")]
    pub threads: Option<usize>,
    /// Implementation of the operations: `fused` (the fastest for the device) or `reference` (Candle's own, to compare).
    #[arg(long, global = true, default_value = "fused", value_name = "HOW")]
    pub ops: OpsChoice,
    /// No progress, only results and errors.
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// The form of log lines.
    #[arg(long, global = true, default_value = "text", value_name = "FORM")]
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
    /// Raw text to a tokenizer and token shards.
    #[command(after_help = after_help!("prepare"))]
    Prepare(Prepare),
    /// Train a new model on a mixture of domains.
    #[command(after_help = after_help!("pretrain"))]
    Pretrain(Train),
    /// Specialise a checkpoint on a niche.
    #[command(after_help = after_help!("finetune"))]
    Finetune(Finetune),
    /// Write the tokenizer that a fine-tuning would save: its base's, with the new tokens of its config.
    Tokenizer(Tokenizer),
    /// Bits per byte and perplexity of a checkpoint on every domain.
    Evaluate(Evaluate),
    /// What tuned checkpoints forgot and gained against their base: the report.
    Forget(Forget),
    /// Mix a tuned checkpoint with its base, by as much as the old domains allow.
    Interpolate(Interpolate),
    /// Find the blocks that hold the forgetting, and put back those whose return pays.
    Revert(Revert),
    /// Tune a base in many ways, and compare what each gains with what it forgets.
    Frontier(Sweep),
    /// Tune a base on each domain in turn: who helps and who hurts whom, and what had forecast it.
    Transfer(Sweep),
    /// Continue a prompt.
    Generate(Generate),
    /// Put an adapter into its base: an ordinary model folder.
    Merge(Merge),
    /// Give a checkpoint to others: as a GGUF file for llama.cpp, or to the Hugging Face hub, with a card that says what it
    /// learnt and forgot.
    Export(Export),
    /// Make a model folder out of a GGUF file.
    Import(Import),
    /// Look into a prepared data set.
    #[command(subcommand)]
    Dataset(DatasetCommand),
    /// Tokens per second of a training step, on synthetic tokens.
    Bench(Bench),
    /// The whole line on the built-in corpus, in minutes.
    Demo(Demo),
}

#[derive(Debug, Args)]
pub struct Prepare {
    /// A TOML file: where the text of each domain lies.
    pub config: PathBuf,
    /// Changes to the config, as `key.sub=value`.
    pub overrides: Vec<String>,
    /// Replace a data set that was made from something else.
    #[arg(long)]
    pub force: bool,
    /// Print the data set's manifest as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Train {
    /// A TOML file that describes the run.
    pub config: PathBuf,
    /// Changes to the config, as `key.sub=value`.
    pub overrides: Vec<String>,
    /// Go on with an interrupted run.
    #[arg(long)]
    pub resume: bool,
    /// Only say what would happen: parameters, tokens, operations, memory, time.
    #[arg(long)]
    pub dry_run: bool,
    /// Show the run on the whole terminal: loss, domains, throughput, time left. `q` stops it and saves.
    #[arg(long, conflicts_with = "dry_run")]
    pub dashboard: bool,
}

#[derive(Debug, Args)]
pub struct Finetune {
    #[command(flatten)]
    pub train: Train,
    /// The most bits per byte that old domains may lose: one number for all, or `default=0.02,chemistry=0.01`.
    #[arg(long, value_name = "LIMITS")]
    pub limits: Option<String>,
}

/// A count that says nothing at 0.
fn at_least_one<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    let count = text.parse::<u64>().ok().filter(|count| *count > 0);
    count
        .and_then(|count| T::try_from(count).ok())
        .ok_or_else(|| "expected a whole number of at least 1".into())
}

#[derive(Debug, Args)]
pub struct Tokenizer {
    /// The TOML file of the fine-tuning; of it, `base` and `[tokenizer]` are used.
    pub config: PathBuf,
    /// Changes to the config, as `key.sub=value`.
    pub overrides: Vec<String>,
    /// A new folder for `tokenizer.json` and the files beside it; prepare data with it in `tokenizer.path`.
    #[arg(long, short, value_name = "DIR")]
    pub output: PathBuf,
}

/// Several runs of one config.
#[derive(Debug, Args)]
pub struct Sweep {
    /// A TOML file: what the runs share, and what they differ in.
    pub config: PathBuf,
    /// Changes to the config, as `key.sub=value`.
    pub overrides: Vec<String>,
    /// Only check every run, and say which are done.
    #[arg(long)]
    pub dry_run: bool,
    /// Show each run on the whole terminal: loss, domains, throughput, time left. `q` stops it and saves.
    #[arg(long, conflicts_with = "dry_run")]
    pub dashboard: bool,
}

#[derive(Debug, Args)]
pub struct Scoring {
    /// A prepared data set; give it again for more. Default: those of the checkpoint's own run.
    #[arg(long, value_name = "DIR")]
    pub dataset: Vec<PathBuf>,
    /// Score at most so many held-out tokens of each domain: whole documents in a seeded order, up to the first that does not fit.
    #[arg(long, value_name = "N", value_parser = at_least_one::<u64>)]
    pub max_tokens: Option<u64>,
    /// Context in tokens; default: the model's.
    #[arg(long, value_name = "N", value_parser = at_least_one::<usize>)]
    pub context: Option<usize>,
    /// Tokens between the starts of two windows of a long document; smaller gives every token more context and
    /// costs more. Default: the context.
    #[arg(long, value_name = "N", value_parser = at_least_one::<usize>)]
    pub stride: Option<usize>,
}

/// Tasks as lm-evaluation-harness has them.
#[derive(Debug, Default, Args)]
pub struct Tasks {
    /// Tasks with choices: `.jsonl` files of `context`, `choices` and `answer`, one a task, or folders of such. `evaluate`
    /// then scores held-out documents only where `--dataset` is given too.
    #[arg(long, value_name = "FILE_OR_FOLDER", num_args = 1..)]
    pub tasks: Vec<PathBuf>,
}

/// The held-out documents that count.
#[derive(Debug, Default, Args)]
pub struct ScoredSplit {
    /// Score one part of the held-out documents alone: `dev`, which checkpoints and mixtures are chosen by, `test`, which
    /// nothing of a run is chosen by, or `audit`, which is kept for choices between methods; or `all`. Default: `all`, but
    /// for `forget` `test`, where a checkpoint was chosen on `dev`.
    #[arg(long, alias = "half", value_name = "SPLIT")]
    pub split: Option<HeldoutChoice>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HeldoutChoice {
    #[value(alias = "development")]
    Dev,
    Test,
    Audit,
    All,
}

#[derive(Debug, Args)]
pub struct Evaluate {
    /// A checkpoint folder, or a run folder (its best checkpoint).
    pub checkpoint: PathBuf,
    #[command(flatten)]
    pub scoring: Scoring,
    #[command(flatten)]
    pub split: ScoredSplit,
    #[command(flatten)]
    pub tasks: Tasks,
    /// Write what was decided of each item of the tasks into this new file, a line of JSON each.
    #[arg(long, value_name = "FILE", requires = "tasks")]
    pub items: Option<PathBuf>,
    /// Where the checkpoint is an adapter: its base; default: the one that it names.
    #[arg(long = "base", value_name = "DIR")]
    pub adapter_base: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Forget {
    /// The checkpoint that the runs started from.
    pub base: PathBuf,
    /// One or more checkpoints tuned from it.
    #[arg(required = true)]
    pub tuned: Vec<PathBuf>,
    #[command(flatten)]
    pub scoring: Scoring,
    #[command(flatten)]
    pub split: ScoredSplit,
    #[command(flatten)]
    pub tasks: Tasks,
    /// Where tuned checkpoints are adapters: their base; default: the one that each names.
    #[arg(long = "base", value_name = "DIR")]
    pub adapter_base: Option<PathBuf>,
    /// The domain that was tuned for; default: what the tuned run says.
    #[arg(long)]
    pub niche: Option<String>,
    /// Change in bits per byte below which a domain counts as kept.
    #[arg(long, default_value_t = 0.02)]
    pub tolerance: f64,
    /// Seed of the bootstrap.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Folder for `report.html`, `report.md` and `report.json`.
    #[arg(long, short, value_name = "DIR")]
    pub output: PathBuf,
}

/// What stands between a base and a tuned checkpoint.
#[derive(Debug, Args)]
pub struct Between {
    /// The checkpoint that the tuned one started from.
    pub base: PathBuf,
    /// The tuned checkpoint, or its run folder.
    pub tuned: PathBuf,
    #[command(flatten)]
    pub scoring: Scoring,
    /// The domain that was tuned for; default: what the tuned run says.
    #[arg(long)]
    pub niche: Option<String>,
    /// Highest mean rise of the old domains, in bits per byte, on the `dev` split.
    #[arg(long, default_value_t = 0.02)]
    pub limit: f64,
    /// Folder for the chosen model, the figures as JSON, and the same to read.
    #[arg(long, short, value_name = "DIR")]
    pub output: PathBuf,
}

#[derive(Debug, Args)]
pub struct Interpolate {
    #[command(flatten)]
    pub between: Between,
    /// The shares of the tuned model to try; 0 and 1 always are.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "0,0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9,1"
    )]
    pub alphas: Vec<f64>,
    /// After the best share for all blocks alike, look for a better one for each block.
    #[arg(long)]
    pub per_block: bool,
}

#[derive(Debug, Args)]
pub struct Revert {
    #[command(flatten)]
    pub between: Between,
}

#[derive(Debug, Args)]
pub struct Generate {
    /// A checkpoint folder, or a run folder (its best checkpoint).
    pub checkpoint: PathBuf,
    /// Where the checkpoint is an adapter: its base; default: the one that it names.
    #[arg(long, value_name = "DIR")]
    pub base: Option<PathBuf>,
    /// What to continue.
    #[arg(long, default_value = "")]
    pub prompt: String,
    /// Longest continuation, in tokens.
    #[arg(long, default_value_t = 256, value_parser = at_least_one::<usize>)]
    pub max_tokens: usize,
    /// 0 takes the likeliest token every time.
    #[arg(long, default_value_t = 0.8)]
    pub temperature: f64,
    /// Draw among the K likeliest tokens only.
    #[arg(long, value_name = "K", value_parser = at_least_one::<usize>)]
    pub top_k: Option<usize>,
    /// Draw among the likeliest tokens that make up this share only.
    #[arg(long, default_value_t = 1.0, value_name = "SHARE")]
    pub top_p: f64,
    /// The same seed gives the same text.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

#[derive(Debug, Args)]
pub struct Merge {
    /// An adapter's checkpoint folder, or its run folder (its best checkpoint).
    pub adapter: PathBuf,
    /// The base that it was trained on; default: the one that it names.
    #[arg(long, value_name = "DIR")]
    pub base: Option<PathBuf>,
    /// A new folder for the model.
    #[arg(long, short, value_name = "DIR")]
    pub output: PathBuf,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("place_of_a_card").args(["push", "card"]).multiple(true))]
pub struct Export {
    /// A checkpoint folder, or a run folder (its best checkpoint); a model or an adapter.
    pub checkpoint: PathBuf,
    #[command(flatten)]
    pub destination: Destination,
    /// The type of the GGUF's matrices: what 32, 16, 8.5 or 4.5 bits a weight keep.
    #[arg(
        long = "type",
        default_value = "f16",
        value_name = "TYPE",
        requires = "gguf"
    )]
    pub kind: GgufKind,
    /// The report of `polymath forget` that the card tells of: its folder, or its `report.json`.
    #[arg(long, value_name = "DIR", requires = "place_of_a_card")]
    pub report: Option<PathBuf>,
    /// For the card, such as `apache-2.0`; default: the base's, where its card has one.
    #[arg(long, value_name = "ID", requires = "place_of_a_card")]
    pub license: Option<String>,
    /// Where the checkpoint is an adapter: its base. Pushed, it must be `owner/name` of the hub. Default: the one that it
    /// names.
    #[arg(long, value_name = "DIR")]
    pub base: Option<PathBuf>,
    /// Make the repository private; one that is there already must be.
    #[arg(long, requires = "push")]
    pub private: bool,
    /// Push to this branch, which is made if it is not there; default: `main`.
    #[arg(long, value_name = "BRANCH", requires = "push")]
    pub revision: Option<String>,
    /// Of the commit.
    #[arg(long, value_name = "TEXT", requires = "push")]
    pub message: Option<String>,
    /// Push the optimizer's state too, which is twice the model's size and serves only to go on training.
    #[arg(long, requires = "push")]
    pub with_state: bool,
    /// Push without asking; a terminal is asked otherwise, once the files are listed.
    #[arg(long, requires = "push")]
    pub yes: bool,
    /// Send and write nothing: list what would be pushed, and print the card.
    #[arg(long, requires = "push")]
    pub dry_run: bool,
}

/// Where a checkpoint goes: one place at least.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub struct Destination {
    /// A new GGUF file.
    #[arg(long, value_name = "FILE")]
    pub gguf: Option<PathBuf>,
    /// Push it to this repository of the hub, which is made if it is not there, with `HF_TOKEN` or the token of
    /// `hf auth login`.
    #[arg(long, value_name = "OWNER/NAME")]
    pub push: Option<String>,
    /// Write the model card into this new file or folder; with `--push`: push this card.
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
    /// A GGUF file of a Llama, Mistral, Qwen2 or Qwen3.
    pub model: PathBuf,
    /// A new folder for the model.
    #[arg(long, short, value_name = "DIR")]
    pub output: PathBuf,
}

#[derive(Debug, Subcommand)]
pub enum DatasetCommand {
    /// Sizes, duplicates and overlaps of a data set.
    Info {
        /// The data set's folder.
        dataset: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// The text of a domain's documents, decoded from its tokens.
    Text {
        /// The data set's folder.
        dataset: PathBuf,
        /// Which domain.
        #[arg(long)]
        domain: String,
        /// Which side of the split.
        #[arg(long, default_value = "heldout")]
        split: SplitChoice,
        /// Print before each document where it was read from, and its group.
        #[arg(long)]
        sources: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SplitChoice {
    Train,
    Heldout,
}

#[derive(Debug, Args)]
pub struct Bench {
    /// A pretraining config; its model, batch and precision are used, its data set is not.
    pub config: PathBuf,
    /// Changes to the config, as `key.sub=value`.
    pub overrides: Vec<String>,
    /// Tokens in the vocabulary, which a data set would decide.
    #[arg(long, default_value_t = 4096, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub vocabulary: u32,
    /// Steps to time, after two to warm up.
    #[arg(long, default_value_t = 8, value_parser = at_least_one::<u64>)]
    pub steps: u64,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Demo {
    /// Folder for everything the demo makes.
    #[arg(long, default_value = "demo")]
    pub output: PathBuf,
    /// Megabytes of text to make for each domain.
    #[arg(long, default_value_t = 3, value_parser = at_least_one::<u64>)]
    pub megabytes: u64,
    /// Training steps of the pretraining; the fine-tunings take a share of it.
    #[arg(long, default_value_t = 320, value_parser = at_least_one::<u64>)]
    pub steps: u64,
    /// Seed of the corpus and of training.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The old name of the reference operations still works, and is not shown.
    #[test]
    fn composed_is_an_alias_of_reference() {
        let ops = |word: &str| {
            let words = ["polymath", "--ops", word, "demo"];
            Arguments::try_parse_from(words).map(|arguments| arguments.global.ops)
        };
        assert_eq!(ops("composed").unwrap(), OpsChoice::Reference);
        assert_eq!(ops("reference").unwrap(), OpsChoice::Reference);
        let error = ops("other").unwrap_err().to_string();
        assert!(
            error.contains("fused, reference") && !error.contains("composed"),
            "{error}"
        );
    }
}
