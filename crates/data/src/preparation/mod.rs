//! Preparation of a dataset: sources in, shards out.
//!
//! Begin with `prepare`; its input is `config`. The first pass is `collect`: `reader` writes documents to temporary
//! files (`spool`), and `duplicates`, `rule`, `settle`, `choice`, `near_duplicates` and `tail` assign them to the
//! splits. The second pass is `encode`, in which `overlap` looks for held-out text in the training split.

pub(crate) mod choice;
pub(crate) mod collect;
pub(crate) mod collected;
pub(crate) mod config;
pub(crate) mod dataset_tokenizer;
pub(crate) mod duplicates;
pub(crate) mod encode;
pub(crate) mod ledger;
pub(crate) mod links;
pub(crate) mod marks;
pub(crate) mod near_duplicates;
pub(crate) mod overlap;
pub(crate) mod prepare;
mod questions;
pub(crate) mod reader;
pub(crate) mod retokenize;
pub(crate) mod rule;
pub(crate) mod settle;
pub(crate) mod sides;
pub(crate) mod sketch;
pub(crate) mod sketch_index;
pub(crate) mod spool;
pub(crate) mod survey;
pub(crate) mod tail;
pub(crate) mod target_folder;
pub(crate) mod texts;
pub(crate) mod tokenize;
