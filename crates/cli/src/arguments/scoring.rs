//! Arguments that several commands share: datasets, tasks, and splits of the documents.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};

use super::values::at_least_one;

#[derive(Debug, Args)]
pub struct Scoring {
    /// Prepared dataset. May be given several times. Default: the datasets of the checkpoint's own run.
    #[arg(long, value_name = "DIR")]
    pub dataset: Vec<PathBuf>,
    /// Maximum number of held-out tokens scored per domain: whole documents in a seeded order, up to the first that
    /// does not fit.
    #[arg(long, value_name = "N", value_parser = at_least_one::<u64>)]
    pub max_tokens: Option<u64>,
    /// Context in tokens; default: the model's.
    #[arg(long, value_name = "N", value_parser = at_least_one::<usize>)]
    pub context: Option<usize>,
    /// Tokens between the starts of two windows of a long document. A smaller stride gives every token more context,
    /// but takes longer. Default: the context.
    #[arg(long, value_name = "N", value_parser = at_least_one::<usize>)]
    pub stride: Option<usize>,
}

/// Multiple-choice tasks in the format of lm-evaluation-harness.
#[derive(Debug, Default, Args)]
pub struct Tasks {
    /// Multiple-choice tasks: `.jsonl` files with the keys `context`, `choices` and `answer`, one task per file, or
    /// folders of such files. With tasks, `evaluate` scores held-out documents only if `--dataset` is given too.
    #[arg(long, value_name = "FILE_OR_FOLDER", num_args = 1..)]
    pub tasks: Vec<PathBuf>,
}

/// Restriction to one split of the held-out documents.
#[derive(Debug, Default, Args)]
pub struct SplitFilter {
    /// Split of the held-out documents to score. Runs choose their checkpoints and mixtures on `dev`, and choose
    /// nothing on `test`; `audit` is reserved for choices between methods; `heldout` means all documents. Default:
    /// `heldout`; for `report`, `test` if a checkpoint was chosen on `dev`.
    #[arg(long, alias = "half", value_name = "SPLIT", value_parser = heldout_splits())]
    pub split: Option<SplitChoice>,
}

/// Split of a dataset's documents. `dev`, `test` and `audit` are parts of `heldout`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SplitChoice {
    Train,
    #[value(alias = "all")]
    Heldout,
    #[value(alias = "development")]
    Dev,
    Test,
    Audit,
}

/// Returns a parser of every [`SplitChoice`] but `train`.
fn heldout_splits() -> impl TypedValueParser<Value = SplitChoice> {
    let splits = SplitChoice::value_variants().iter();
    let heldout = splits.filter(|split| **split != SplitChoice::Train);
    let values = heldout.filter_map(ValueEnum::to_possible_value);
    PossibleValuesParser::new(values)
        .map(|name| SplitChoice::from_str(&name, false).expect("one of the possible values"))
}
