//! Multiple-choice tasks, scored as by lm-evaluation-harness: the same tokens, the same decisions.

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
    /// Task of the items.
    pub task: Arc<Task>,
    /// Scores of the items, in the order of the task.
    pub items: Vec<ItemScore>,
}

/// Score of one item.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ItemScore {
    /// Line in the file of the task.
    pub line: u64,
    /// Index of the right choice, from 0.
    pub answer: usize,
    /// ln p of each choice after the context (`loglikelihood` in the harness).
    pub log_likelihoods: Vec<f64>,
    /// Set for each choice that greedy decoding gives (`is_greedy` in the harness).
    pub greedy: Vec<bool>,
    /// Index of the most likely choice; the first of equals.
    pub choice: usize,
    /// Index of the choice with the highest likelihood per character, the first of equals; `None` for a cloze.
    pub choice_normalized: Option<usize>,
    /// Set if the item is answered: the most likely choice is right; for a cloze, greedy decoding gives it.
    pub right: bool,
    /// Set if the choice with the highest likelihood per character is right; `None` for a cloze.
    pub right_normalized: Option<bool>,
    /// Tokens cut from the left of the context, for the choice that lost most.
    pub tokens_cut: usize,
}

impl TaskScores {
    /// Returns `acc` of the harness: the share of answered items, with its 95 % interval.
    pub fn accuracy(&self) -> Figure {
        proportion::share(&self.right(), &[])
    }

    /// Returns `acc_norm` of the harness: the accuracy by likelihood per character; `None` for clozes.
    pub fn normalized_accuracy(&self) -> Option<Figure> {
        Some(proportion::share(&self.right_normalized()?, &[]))
    }

    /// Returns the number of items whose context was cut.
    pub fn items_cut(&self) -> usize {
        self.items.iter().filter(|item| item.tokens_cut > 0).count()
    }

    /// Returns for each item whether it is answered.
    pub fn right(&self) -> Vec<bool> {
        self.items.iter().map(|item| item.right).collect()
    }

    /// Returns for each item whether the choice with the highest likelihood per character is right; `None` for clozes.
    pub fn right_normalized(&self) -> Option<Vec<bool>> {
        self.items
            .iter()
            .map(|item| item.right_normalized)
            .collect()
    }
}

/// Scores every choice of every item. `progress` receives the numbers of scored choices and of all.
///
/// # Errors
/// A choice whose log-likelihood is not finite.
pub fn score_task(
    model: &Transformer,
    encoded: &EncodedTask,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<TaskScores, EvalError> {
    // Equal rows are scored once, so that equal choices tie in any batch.
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
        // In characters, without the delimiter, as in the harness.
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

/// Returns the index of the largest value; the first of equals.
fn first_largest(values: impl Iterator<Item = f64>) -> usize {
    let mut best = (0, f64::NEG_INFINITY);
    for (at, value) in values.enumerate() {
        if value > best.1 {
            best = (at, value);
        }
    }
    best.0
}
