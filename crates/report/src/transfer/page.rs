//! HTML page of a transfer matrix.

use minijinja::{Value, context};

use super::Transfer;
use super::markdown::{advice, sentences};
use crate::charts::{Cell, Colors, Heatmap, heatmap};
use crate::wording::{count, percent, signed};
use crate::{ReportError, page};

/// Renders a transfer matrix as an HTML page.
pub fn render(transfer: &Transfer) -> Result<String, ReportError> {
    let early: Vec<Value> = transfer
        .rows
        .iter()
        .map(|row| {
            let divergence = format!("{:.4}", row.early_divergence);
            context! { domain => &row.domain, divergence }
        })
        .collect();
    let shown = context! {
        lead => advice(transfer),
        base => &transfer.base,
        tokens => count(transfer.tokens),
        several => transfer.seeds > 1,
        seeds => transfer.seeds,
        early_share => percent(transfer.early_share),
        changes => heatmap(&changes(transfer)),
        cosines => heatmap(&cosines(transfer)),
        early,
        sentences => sentences(transfer, &str::to_owned),
    };
    page::render(include_str!("page.html"), shown)
}

fn map<'a>(
    transfer: &'a Transfer,
    id: &'a str,
    title: &'a str,
    colors: Colors,
    cell: &dyn Fn(usize, usize) -> Cell,
) -> Heatmap<'a> {
    let rows = 0..transfer.rows.len();
    let columns = 0..transfer.scored.len();
    Heatmap {
        id,
        title,
        rows: transfer.rows.iter().map(|row| row.domain.clone()).collect(),
        columns: transfer.scored.clone(),
        axes: ("tuned on", "scored on"),
        colors,
        cells: rows
            .map(|row| {
                columns
                    .clone()
                    .map(|column| Some(cell(row, column)))
                    .collect()
            })
            .collect(),
    }
}

fn changes(transfer: &Transfer) -> Heatmap<'_> {
    map(
        transfer,
        "changes",
        "Change of each domain by tuning on each domain",
        Colors::LargestIncrease,
        &|row, column| {
            let (tuned, scored) = (&transfer.rows[row], &transfer.scored[column]);
            let what = format!("tuned on {}, {scored}", tuned.domain);
            Cell::of(&what, tuned.changes[column]).framed(tuned.domain == *scored)
        },
    )
}

fn cosines(transfer: &Transfer) -> Heatmap<'_> {
    map(
        transfer,
        "cosines",
        "Cosine of the base's gradients on two domains",
        Colors::Negated,
        &|row, column| {
            let (tuned, scored) = (&transfer.rows[row], &transfer.scored[column]);
            let cosine = tuned.gradient_cosines[column];
            Cell {
                // Gradients in opposite directions forecast forgetting.
                value: -cosine,
                text: signed(cosine),
                sure: tuned.domain != *scored,
                title: format!("{} and {scored}: {}", tuned.domain, signed(cosine)),
                framed: tuned.domain == *scored,
            }
        },
    )
}
