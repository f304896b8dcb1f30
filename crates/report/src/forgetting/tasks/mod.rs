//! Tasks with choices, base against tuned.

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

/// Items that are shown of a task with their texts.
const SHOWN: usize = 20;

/// A task with choices, base against tuned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskReport {
    /// Its name.
    pub task: String,
    /// How many items it has.
    pub items: usize,
    /// How many had their context cut to what the base reads.
    pub items_cut: usize,
    /// Of the likeliest choices; of a cloze, of what greedy decoding gives.
    #[serde(rename = "acc")]
    pub accuracy: AccuracyReport,
    /// Of the choices that are likeliest a character; null for clozes.
    #[serde(rename = "acc_norm")]
    pub normalised_accuracy: Option<AccuracyReport>,
    /// The lines of the items that the base answers and the tuned model does not.
    pub lost_lines: Vec<u64>,
    /// The lines of those that the tuned model answers and the base does not.
    pub won_lines: Vec<u64>,
    /// The first of the lost items, with their texts.
    pub lost: Vec<LostItem>,
}

/// Shares of answered items, base against tuned.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AccuracyReport {
    /// Share that the base answers.
    pub base: Figure,
    /// Share that the tuned model answers.
    pub tuned: Figure,
    /// tuned − base, over the same items.
    pub change: Figure,
    /// McNemar's mid-p-value.
    pub p_value: f64,
    /// The same with Holm's correction over all tests of the report.
    pub adjusted_p_value: f64,
}

impl AccuracyReport {
    /// Of answers to the same items, and the group of each; of no groups, each item is its own.
    pub(super) fn of((base, tuned): (&[bool], &[bool]), groups: &[u64]) -> Self {
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
    /// Both accuracies, or the one that a cloze has.
    pub(super) fn accuracies(&mut self) -> impl Iterator<Item = &mut AccuracyReport> {
        [Some(&mut self.accuracy), self.normalised_accuracy.as_mut()]
            .into_iter()
            .flatten()
    }
}

/// An item that the base answers and the tuned model does not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LostItem {
    /// Its line in the task's file.
    pub line: u64,
    /// Its context.
    pub context: String,
    /// The right choice.
    pub answer: String,
    /// What the tuned model chooses instead; null for a cloze.
    pub chosen: Option<String>,
}

/// A run's tasks against the base's.
///
/// # Errors
/// Base and run were not given the same tasks.
pub fn compare(base: &ModelScores, run: &ModelScores) -> Result<Vec<TaskReport>, ReportError> {
    let names: BTreeSet<&String> = base.tasks.keys().chain(run.tasks.keys()).collect();
    let mut reports = Vec::new();
    for name in names {
        let same = match (base.tasks.get(name), run.tasks.get(name)) {
            (Some(before), Some(after)) if before.task.items == after.task.items => (before, after),
            _ => {
                return Err(ReportError::Report(format!(
                    "base and `{}` were not given the same items of the task `{name}`: give both the same file",
                    run.path
                )));
            }
        };
        reports.push(of_task(name, same));
    }
    Ok(reports)
}

fn of_task(name: &str, (before, after): (&TaskScores, &TaskScores)) -> TaskReport {
    let (base, tuned) = (before.right(), after.right());
    let normalised = before.right_normalised().zip(after.right_normalised());
    let pairs = || before.items.iter().zip(&after.items);
    let lost = || pairs().filter(|(before, after)| before.right && !after.right);
    let won = pairs().filter(|(before, after)| !before.right && after.right);
    let texts = after.task.items.iter().zip(pairs());
    let texts = texts.filter(|(_, (before, after))| before.right && !after.right);
    TaskReport {
        task: name.to_owned(),
        items: before.items.len(),
        items_cut: before.items_cut(),
        accuracy: AccuracyReport::of((&base, &tuned), &[]),
        normalised_accuracy: normalised
            .map(|(base, tuned)| AccuracyReport::of((&base, &tuned), &[])),
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
