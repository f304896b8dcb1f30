//! Task results in HTML, Markdown and the terminal.

use minijinja::{Value, context};

use super::{AccuracyReport, LostItem, TaskReport};
use crate::untrusted::inline;
use crate::wording::{count, percent, points, points_interval, probability, share_interval};

/// Maximum number of characters that are shown of a context: its last ones, which the choice follows.
const CONTEXT: usize = 200;

/// Returns the accuracies of a task, with their names in lm-evaluation-harness.
fn accuracies(task: &TaskReport) -> impl Iterator<Item = (&'static str, &AccuracyReport)> {
    let normalized = task.normalized_accuracy.as_ref();
    [("acc", Some(&task.accuracy)), ("acc_norm", normalized)]
        .into_iter()
        .filter_map(|(name, accuracy)| Some((name, accuracy?)))
}

/// Returns the template values of a task.
pub fn html(task: &TaskReport) -> Value {
    let rows: Vec<Value> = accuracies(task)
        .map(|(measure, accuracy)| {
            context! {
                measure,
                base => percent(accuracy.base.value),
                base_interval => share_interval(accuracy.base),
                tuned => percent(accuracy.tuned.value),
                tuned_interval => share_interval(accuracy.tuned),
                change => points(accuracy.change.value),
                interval => points_interval(accuracy.change),
                p => probability(accuracy.adjusted_p_value),
            }
        })
        .collect();
    let lost: Vec<Value> = task
        .lost
        .iter()
        .map(|item| {
            context! { line => item.line, context => end(item), answer => &item.answer, chosen => &item.chosen }
        })
        .collect();
    context! {
        name => &task.task,
        items => count(task.items as u64),
        cut => task.items_cut,
        lost_count => task.lost_lines.len(),
        won_count => task.won_lines.len(),
        rows,
        lost,
    }
}

/// Renders the task results of a run in Markdown.
pub fn markdown(tasks: &[TaskReport]) -> String {
    if tasks.is_empty() {
        return String::new();
    }
    let mut text = String::from(
        "\n| task | items | cut | | base | tuned | change, points | p (McNemar, Holm) | lost | won |\n\
         |---|--:|--:|---|--:|--:|--:|--:|--:|--:|\n",
    );
    for task in tasks {
        for (measure, accuracy) in accuracies(task) {
            text += &format!(
                "| {} | {} | {} | {measure} | {} {} | {} {} | {} {} | {} | {} | {} |\n",
                inline(&task.task),
                count(task.items as u64),
                task.items_cut,
                percent(accuracy.base.value),
                share_interval(accuracy.base),
                percent(accuracy.tuned.value),
                share_interval(accuracy.tuned),
                points(accuracy.change.value),
                points_interval(accuracy.change),
                probability(accuracy.adjusted_p_value),
                task.lost_lines.len(),
                task.won_lines.len(),
            );
        }
    }
    for task in tasks.iter().filter(|task| !task.lost.is_empty()) {
        text += &format!(
            "\n{} items of {} that the base answers and this run does not{}:\n\n",
            task.lost_lines.len(),
            inline(&task.task),
            note_on_more(task)
        );
        for item in &task.lost {
            let chosen = item.chosen.as_ref().map_or(String::new(), |chosen| {
                format!(", chosen: {}", inline(chosen))
            });
            text += &format!(
                "- line {}: {} → {}{chosen}\n",
                item.line,
                inline(&end(item)),
                inline(&item.answer)
            );
        }
    }
    text
}

/// Renders the task results of a run for the terminal, one line for each accuracy.
pub fn lines(tasks: &[TaskReport]) -> String {
    let line = |task: &TaskReport, (measure, accuracy): (&str, &AccuracyReport)| {
        format!(
            "  {} {measure}: {} → {} of {} items, {} {} points (p {})\n",
            task.task,
            percent(accuracy.base.value),
            percent(accuracy.tuned.value),
            task.items,
            points(accuracy.change.value),
            points_interval(accuracy.change),
            probability(accuracy.adjusted_p_value),
        )
    };
    let of_task = |task| accuracies(task).map(move |accuracy| line(task, accuracy));
    tasks.iter().flat_map(of_task).collect()
}

fn note_on_more(task: &TaskReport) -> &'static str {
    if task.lost.len() < task.lost_lines.len() {
        "; first items shown"
    } else {
        ""
    }
}

/// Returns the last characters of an item's context, on one line.
fn end(item: &LostItem) -> String {
    let words: Vec<&str> = item.context.split_whitespace().collect();
    let text = words.join(" ");
    match text.char_indices().rev().nth(CONTEXT) {
        Some((at, sign)) => format!("…{}", &text[at + sign.len_utf8()..]),
        None => text,
    }
}
