//! `polymath evaluate`: scores of a checkpoint on the domains of datasets and on tasks.

use std::collections::BTreeMap;

use polymath_data::HeldoutSplit;
use polymath_eval::WindowOptions;
use polymath_model::ModelSource;
use polymath_report::ModelScores;
use polymath_study::scoring::{Target, open_datasets, open_tasks, score};
use polymath_train::{resolve_base, resolve_checkpoint};

use super::tasks::{self, ItemsFile};
use crate::arguments;
use crate::console::StudyConsole;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::results;

/// Prints bits per byte and perplexity of every domain, and the accuracy of every task.
pub fn run(arguments: &arguments::Evaluate, environment: &Environment) -> Result<(), Failure> {
    let folder = resolve_checkpoint(&arguments.checkpoint)?;
    let base = resolve_base(&folder, arguments.adapter_base.as_deref())?;
    // A missing model is reported before any problem of the data.
    let source = ModelSource {
        folder: &folder,
        base: base.as_deref(),
    };
    source.config()?;
    let items = arguments
        .items
        .as_deref()
        .map(ItemsFile::check)
        .transpose()?;
    let tasks = open_tasks(&arguments.tasks.tasks)?;
    let only_tasks = !tasks.is_empty() && arguments.scoring.dataset.is_empty();
    let datasets = if only_tasks {
        Vec::new()
    } else {
        open_datasets(&arguments.scoring.dataset, std::slice::from_ref(&folder))?
    };
    let target = Target {
        datasets: &datasets,
        tasks: &tasks,
        windows: arguments.scoring.windows(arguments.split.choice()),
        or_all: false,
        keep: 0,
        base_answers: None,
    };
    let console = StudyConsole::new(environment);
    let scores = score(source, &target, &environment.setup(&console))?;
    if let Some(items) = items {
        items.write(&scores)?;
    }
    if arguments.json {
        return results::line(&serde_json::to_string_pretty(&json(&scores))?);
    }
    let mut text = String::new();
    if !only_tasks {
        text += &domains_table(&scores);
    }
    text += &tasks::table(&scores);
    results::print(&text)
}

fn json(scores: &ModelScores) -> serde_json::Value {
    let domains: BTreeMap<&str, serde_json::Value> = scores
        .domains
        .iter()
        .map(|(name, domain)| {
            let mut value = serde_json::json!({
                "bits_per_byte": domain.bits_per_byte(),
                "perplexity": domain.perplexity(),
                "documents": domain.documents.len(),
                "tokens": domain.tokens(),
                "bytes": domain.bytes(),
            });
            if let Some(right) = scores.questions.get(name) {
                value["accuracy"] = accuracy(right).into();
                value["questions"] = right.len().into();
            }
            (name.as_str(), value)
        })
        .collect();
    let mut all = serde_json::json!({ "domains": domains });
    if !scores.tasks.is_empty() {
        all["tasks"] = tasks::json(scores);
    }
    all
}

fn domains_table(scores: &ModelScores) -> String {
    let mut text = format!(
        "{:20} {:>13} {:>11} {:>10} {:>12} {:>10}\n",
        "domain", "bits per byte", "perplexity", "documents", "bytes", "questions"
    );
    for (name, domain) in &scores.domains {
        let questions = scores.questions.get(name).map_or(String::new(), |right| {
            format!("{:.1} %", accuracy(right) * 100.0)
        });
        text += &format!(
            "{name:20} {:>13.4} {:>11.3} {:>10} {:>12} {questions:>10}\n",
            domain.bits_per_byte(),
            domain.perplexity(),
            domain.documents.len(),
            domain.bytes()
        );
    }
    text
}

fn accuracy(right: &[bool]) -> f64 {
    right.iter().filter(|right| **right).count() as f64 / right.len().max(1) as f64
}

impl arguments::SplitFilter {
    /// Returns the chosen split, or `None` for all held-out documents.
    pub fn choice(&self) -> Option<HeldoutSplit> {
        self.split?.heldout()
    }
}

impl arguments::SplitChoice {
    /// Returns the split of the held-out documents, or `None` for `train` and for all held-out documents.
    pub fn heldout(self) -> Option<HeldoutSplit> {
        match self {
            Self::Dev => Some(HeldoutSplit::Dev),
            Self::Test => Some(HeldoutSplit::Test),
            Self::Audit => Some(HeldoutSplit::Audit),
            Self::Train | Self::Heldout => None,
        }
    }
}

impl arguments::Scoring {
    /// Returns the options for cutting the documents of `split` into windows.
    pub fn windows(&self, split: Option<HeldoutSplit>) -> WindowOptions {
        WindowOptions {
            context: self.context,
            stride: self.stride,
            max_tokens: self.max_tokens,
            split,
        }
    }
}
