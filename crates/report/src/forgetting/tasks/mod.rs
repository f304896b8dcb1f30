//! Comparison of multiple-choice tasks.

mod shown;

use std::collections::BTreeSet;

use polymath_data::TaskItem;
use serde::{Deserialize, Serialize};

use super::ModelScores;
use crate::ReportError;
use polymath_eval::statistics::Figure;
use polymath_eval::statistics::{mcnemar, proportion};
use polymath_eval::{ItemScore, TaskScores};

pub use shown::{html, lines, markdown};

/// Maximum number of items of each task that are shown with their texts.
const SHOWN: usize = 20;

/// Results of base and tuned model on a multiple-choice task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskReport {
    /// Name of the task.
    pub task: String,
    /// Number of items.
    pub items: usize,
    /// Number of items whose context was cut to the base's context.
    pub items_cut: usize,
    /// Accuracy by likelihood; for a cloze task, by greedy decoding.
    #[serde(rename = "acc")]
    pub accuracy: AccuracyReport,
    /// Accuracy by likelihood per character; `None` for cloze tasks.
    #[serde(rename = "acc_norm")]
    pub normalized_accuracy: Option<AccuracyReport>,
    /// Line numbers of the items that the base answers correctly and the tuned model does not.
    pub lost_lines: Vec<u64>,
    /// Line numbers of the items that the tuned model answers correctly and the base does not.
    pub won_lines: Vec<u64>,
    /// Some of the items that only the base answers correctly, with their texts.
    pub lost: Vec<LostItem>,
}

/// Shares of correctly answered items, for base and tuned model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AccuracyReport {
    /// Share of the items that the base answers correctly.
    pub base: Figure,
    /// Share of the items that the tuned model answers correctly.
    pub tuned: Figure,
    /// Difference tuned minus base, over the same items.
    pub change: Figure,
    /// p-value of McNemar's test (mid-p).
    pub p_value: f64,
    /// p-value with Holm's correction over all tests of the report.
    pub adjusted_p_value: f64,
}

/// Answers of two models to the same items: true if correct.
#[derive(Clone, Copy)]
pub(super) struct PairedAnswers<'a> {
    /// Answers of the base.
    pub base: &'a [bool],
    /// Answers of the tuned model.
    pub tuned: &'a [bool],
}

impl AccuracyReport {
    /// Compares answers to the same items. `groups` contains the group of each item; if it is empty, each item is its
    /// own group.
    pub(super) fn of(answers: PairedAnswers, groups: &[u64]) -> Self {
        let PairedAnswers { base, tuned } = answers;
        let p_value = mcnemar(base, tuned, groups);
        Self {
            base: proportion::share(base, groups),
            tuned: proportion::share(tuned, groups),
            change: proportion::paired_change(base, tuned, groups),
            p_value,
            adjusted_p_value: p_value,
        }
    }
}

impl TaskReport {
    /// Returns both accuracies, or the single one of a cloze task.
    pub(super) fn accuracies(&mut self) -> impl Iterator<Item = &mut AccuracyReport> {
        [Some(&mut self.accuracy), self.normalized_accuracy.as_mut()]
            .into_iter()
            .flatten()
    }
}

/// Item that the base answers correctly and the tuned model does not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LostItem {
    /// Line number in the task's file.
    pub line: u64,
    /// Context of a task's item.
    pub context: String,
    /// Correct choice of a task's item.
    pub answer: String,
    /// Choice of the tuned model for a task's item; `None` for a cloze task.
    pub chosen: Option<String>,
}

/// Compares the task results of a run with those of the base.
///
/// # Errors
/// Fails if base and run were not given the same tasks.
pub fn compare(base: &ModelScores, run: &ModelScores) -> Result<Vec<TaskReport>, ReportError> {
    let names: BTreeSet<&String> = base.tasks.keys().chain(run.tasks.keys()).collect();
    let mut reports = Vec::new();
    for name in names {
        let (before, after) = match (base.tasks.get(name), run.tasks.get(name)) {
            (Some(before), Some(after)) if before.task.items == after.task.items => (before, after),
            _ => {
                return Err(ReportError::Report(format!(
                    "base and `{}` were not given the same items of the task `{name}`: score both with the same file",
                    run.path
                )));
            }
        };
        reports.push(of_task(name, before, after));
    }
    Ok(reports)
}

fn of_task(name: &str, before: &TaskScores, after: &TaskScores) -> TaskReport {
    let accuracy =
        |base: &[bool], tuned: &[bool]| AccuracyReport::of(PairedAnswers { base, tuned }, &[]);
    let (base, tuned) = (before.right(), after.right());
    let normalized = before.right_normalized().zip(after.right_normalized());
    let pairs = || before.items.iter().zip(&after.items);
    let lost = || pairs().filter(|(before, after)| before.right && !after.right);
    let won = pairs().filter(|(before, after)| !before.right && after.right);
    let texts = after.task.items.iter().zip(pairs());
    let texts = texts.filter(|(_, (before, after))| before.right && !after.right);
    TaskReport {
        task: name.to_owned(),
        items: before.items.len(),
        items_cut: before.items_cut(),
        accuracy: accuracy(&base, &tuned),
        normalized_accuracy: normalized.map(|(base, tuned)| accuracy(&base, &tuned)),
        lost_lines: lost().map(|(item, _)| item.line).collect(),
        won_lines: won.map(|(item, _)| item.line).collect(),
        lost: texts
            .take(SHOWN)
            .map(|(item, (_, after))| lost_item(item, after))
            .collect(),
    }
}

fn lost_item(item: &TaskItem, score: &ItemScore) -> LostItem {
    let is_cloze = item.choices.len() == 1;
    LostItem {
        line: item.line,
        context: item.context.clone(),
        answer: item.choices[item.answer].clone(),
        chosen: (!is_cloze).then(|| item.choices[score.choice].clone()),
    }
}
