//! Multiple-choice and cloze tasks, scored like lm-evaluation-harness: with the same tokens and the same decisions.

mod encode;

use std::collections::BTreeMap;
use std::sync::Arc;

use polymath_data::Task;
use polymath_model::Transformer;
use serde::Serialize;

pub use encode::{EncodedTask, TaskEncoder};

use crate::EvalError;
use crate::rows::{Row, score_rows};
use crate::statistics::Figure;
use crate::statistics::proportion;

/// Scores of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskScores {
    /// The task that was scored.
    pub task: Arc<Task>,
    /// Scores of the items, in the order of the task.
    pub items: Vec<ItemScore>,
}

/// Scores of one item.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ItemScore {
    /// Line of the item in the task's file.
    pub line: u64,
    /// Index of the item's right choice, from 0.
    pub answer: usize,
    /// ln p of each choice, given the context (`loglikelihood` in the harness).
    pub log_likelihoods: Vec<f64>,
    /// For each choice, true if greedy decoding generates it (`is_greedy` in the harness).
    pub greedy: Vec<bool>,
    /// Index of the most likely choice; the first one of equals.
    pub choice: usize,
    /// Index of the choice with the highest log-likelihood per character, the first one of equals; `None` for a cloze
    /// item.
    pub choice_normalized: Option<usize>,
    /// True if the item is answered right: the most likely choice is the right one or, for a cloze item, greedy
    /// decoding generates the choice.
    pub right: bool,
    /// True if the choice with the highest log-likelihood per character is the right one; `None` for a cloze item.
    pub right_normalized: Option<bool>,
    /// Number of tokens cut from the left of the context, for the choice that needed most.
    pub tokens_cut: usize,
}

impl TaskScores {
    /// Returns the harness's `acc`: the share of items answered right, with its 95 % interval.
    pub fn accuracy(&self) -> Figure {
        proportion::share(&self.right(), &[])
    }

    /// Returns the harness's `acc_norm`: the accuracy by log-likelihood per character; `None` for cloze tasks.
    pub fn normalized_accuracy(&self) -> Option<Figure> {
        Some(proportion::share(&self.right_normalized()?, &[]))
    }

    /// Returns the number of items whose context was cut.
    pub fn items_cut(&self) -> usize {
        self.items.iter().filter(|item| item.tokens_cut > 0).count()
    }

    /// Returns for each item whether it is answered right.
    pub fn right(&self) -> Vec<bool> {
        self.items.iter().map(|item| item.right).collect()
    }

    /// Returns for each item whether the choice with the highest log-likelihood per character is right; `None` for
    /// cloze tasks.
    pub fn right_normalized(&self) -> Option<Vec<bool>> {
        self.items
            .iter()
            .map(|item| item.right_normalized)
            .collect()
    }
}

/// Scores every choice of every item. Calls `progress` with the number of choices scored so far and the total.
///
/// # Errors
/// Fails if a log-likelihood is not finite.
pub fn score_task(
    model: &Transformer,
    encoded: &EncodedTask,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<TaskScores, EvalError> {
    // Equal rows are scored once, so that equal choices tie exactly.
    let rows = encoded.items.iter().flat_map(|item| &item.choices);
    let places: BTreeMap<&Row, usize> = {
        let mut distinct: Vec<&Row> = rows.collect();
        distinct.sort_unstable();
        distinct.dedup();
        distinct.into_iter().zip(0..).collect()
    };
    let distinct: Vec<&Row> = places.keys().copied().collect();
    let all = distinct.len() as u64;
    let scores = score_rows(model, &distinct, &mut |done| progress(done as u64, all))?;
    let mut items = Vec::new();
    for (item, rows) in encoded.task.items.iter().zip(&encoded.items) {
        let of_choices = rows.choices.iter().map(|row| scores[places[row]]);
        let log_likelihoods: Vec<f64> = of_choices.clone().map(|score| 0.0 - score.nats).collect();
        if let Some(bad) = log_likelihoods.iter().find(|value| !value.is_finite()) {
            return Err(EvalError::Scores(format!(
                "`{}:{}`: the log-likelihood of a choice is `{bad}`: the model may have diverged",
                encoded.task.path.display(),
                item.line
            )));
        }
        let greedy: Vec<bool> = of_choices
            .map(|score| score.first_wrong.is_none())
            .collect();
        // Length in characters, without the delimiter, as in the harness.
        let lengths = item
            .choices
            .iter()
            .map(|choice| choice.chars().count() as f64);
        let a_character = log_likelihoods.iter().zip(lengths);
        let choice = first_largest(log_likelihoods.iter().copied());
        let choice_normalized = (!encoded.task.is_cloze())
            .then(|| first_largest(a_character.map(|(value, length)| value / length)));
        items.push(ItemScore {
            line: item.line,
            answer: item.answer,
            right: if encoded.task.is_cloze() {
                greedy[0]
            } else {
                choice == item.answer
            },
            right_normalized: choice_normalized.map(|choice| choice == item.answer),
            choice,
            choice_normalized,
            log_likelihoods,
            greedy,
            tokens_cut: rows.tokens_cut,
        });
    }
    Ok(TaskScores {
        task: encoded.task.clone(),
        items,
    })
}

/// Returns the index of the largest value; the first one of equals.
fn first_largest(values: impl Iterator<Item = f64>) -> usize {
    let mut best = (0, f64::NEG_INFINITY);
    for (at, value) in values.enumerate() {
        if value > best.1 {
            best = (at, value);
        }
    }
    best.0
}
