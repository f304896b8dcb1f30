//! Tasks with choices, scored as lm-evaluation-harness scores them: the same tokens, the same decisions.

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

/// What a model makes of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskScores {
    /// Whose items they are.
    pub task: Arc<Task>,
    /// One an item, in the task's order.
    pub items: Vec<ItemScore>,
}

/// What a model makes of one item.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ItemScore {
    /// The item's line in the task's file.
    pub line: u64,
    /// The right choice, from 0.
    pub answer: usize,
    /// ln p of each choice after the context: the harness's `loglikelihood`.
    pub log_likelihoods: Vec<f64>,
    /// Of each choice, whether greedy decoding gives it: the harness's `is_greedy`.
    pub greedy: Vec<bool>,
    /// The likeliest choice, the first of equals.
    pub choice: usize,
    /// The choice that is likeliest a character, the first of equals; null for a cloze.
    pub choice_normalised: Option<usize>,
    /// Whether the item counts as answered: the likeliest choice is the right one; of a cloze, greedy decoding gives it.
    pub right: bool,
    /// Whether the choice that is likeliest a character is the right one; null for a cloze.
    pub right_normalised: Option<bool>,
    /// Tokens of the context that were cut off from the left, of the choice that lost most of it.
    pub tokens_cut: usize,
}

impl TaskScores {
    /// The harness's `acc`: the share of items that are answered, with its 95 % interval.
    pub fn accuracy(&self) -> Figure {
        proportion::share(&self.right(), &[])
    }

    /// The harness's `acc_norm`: the same of the choices that are likeliest a character; `None` for clozes.
    pub fn normalised_accuracy(&self) -> Option<Figure> {
        Some(proportion::share(&self.right_normalised()?, &[]))
    }

    /// Items whose context was cut.
    pub fn items_cut(&self) -> usize {
        self.items.iter().filter(|item| item.tokens_cut > 0).count()
    }

    /// Whether each item is answered.
    pub fn right(&self) -> Vec<bool> {
        self.items.iter().map(|item| item.right).collect()
    }

    /// Whether each item is answered by the choice that is likeliest a character; `None` for clozes.
    pub fn right_normalised(&self) -> Option<Vec<bool>> {
        self.items
            .iter()
            .map(|item| item.right_normalised)
            .collect()
    }
}

/// Scores every choice of every item; `progress` takes how many choices are done, and how many there are.
///
/// # Errors
/// A choice whose log-likelihood is not finite.
pub fn score_task(
    model: &Transformer,
    encoded: &EncodedTask,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<TaskScores, EvalError> {
    // Equal rows are scored once, so that equal choices tie whatever batch they would be in.
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
                "`{}:{}`: the log-likelihood of a choice is `{bad}`: has the model diverged?",
                encoded.task.path.display(),
                item.line
            )));
        }
        let greedy: Vec<bool> = of_choices
            .map(|score| score.first_wrong.is_none())
            .collect();
        // In characters, without the delimiter, as the harness has it.
        let lengths = item
            .choices
            .iter()
            .map(|choice| choice.chars().count() as f64);
        let a_character = log_likelihoods.iter().zip(lengths);
        let choice = first_largest(log_likelihoods.iter().copied());
        let choice_normalised = (!encoded.task.is_cloze())
            .then(|| first_largest(a_character.map(|(value, length)| value / length)));
        items.push(ItemScore {
            line: item.line,
            answer: item.answer,
            right: if encoded.task.is_cloze() {
                greedy[0]
            } else {
                choice == item.answer
            },
            right_normalised: choice_normalised.map(|choice| choice == item.answer),
            choice,
            choice_normalised,
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

/// The place of the largest value, the first of equals.
fn first_largest(values: impl Iterator<Item = f64>) -> usize {
    let mut best = (0, f64::NEG_INFINITY);
    for (at, value) in values.enumerate() {
        if value > best.1 {
            best = (at, value);
        }
    }
    best.0
}
