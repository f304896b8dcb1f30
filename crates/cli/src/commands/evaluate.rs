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

#[cfg(test)]
mod tests {
    use polymath_eval::{DocumentScore, DomainScores};

    use super::*;

    /// Returns the scores of two domains: `law` with 48 bits in 16 tokens of 32 bytes, and `code` with 20 bits in 5
    /// tokens of 10 bytes.
    fn scores() -> ModelScores {
        let document = |bits: f64, tokens, bytes| DocumentScore {
            nats: bits * std::f64::consts::LN_2,
            tokens,
            bytes,
        };
        let domain = |documents: &[DocumentScore]| DomainScores {
            documents: documents.to_vec(),
            ..DomainScores::default()
        };
        let law = domain(&[document(30.0, 10, 24), document(18.0, 6, 8)]);
        let code = domain(&[document(20.0, 5, 10)]);
        let right = vec![true, false, true, false, true];
        ModelScores {
            domains: [("law".to_owned(), law), ("code".to_owned(), code)].into(),
            questions: [("law".to_owned(), right)].into(),
            ..ModelScores::default()
        }
    }

    /// Checks every column of the table, against values computed by hand.
    #[test]
    fn the_table_has_the_figures_of_its_columns() {
        let table = domains_table(&scores());
        let lines: Vec<String> = table
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(
            lines,
            [
                "domain bits per byte perplexity documents bytes questions",
                "code 2.0000 16.000 1 10",
                "law 1.5000 8.000 2 32 60.0 %",
            ]
        );
    }

    /// Checks every key of the JSON, against values computed by hand.
    #[test]
    fn the_json_has_the_figures_of_its_keys() {
        let found = json(&scores());
        let code = [
            ("bits_per_byte", 2.0),
            ("perplexity", 16.0),
            ("documents", 1.0),
            ("tokens", 5.0),
            ("bytes", 10.0),
        ];
        let law = [
            ("bits_per_byte", 1.5),
            ("perplexity", 8.0),
            ("documents", 2.0),
            ("tokens", 16.0),
            ("bytes", 32.0),
            ("accuracy", 0.6),
            ("questions", 5.0),
        ];
        for (name, expected) in [("code", &code[..]), ("law", &law)] {
            let domain = found["domains"][name].as_object().unwrap();
            assert_eq!(domain.len(), expected.len(), "{domain:?}");
            for (key, value) in expected {
                let found = domain[*key].as_f64().unwrap();
                assert!((found - value).abs() < 1e-12, "{name}, {key}: {found}");
            }
        }
        assert_eq!(found.as_object().unwrap().len(), 1, "{found}");
    }
}
