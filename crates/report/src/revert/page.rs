//! Partial reverts as a page.

use minijinja::{Value, context};

use super::Revert;
use super::markdown::{rate, sentence};
use crate::charts::{Cell, Colours, Heatmap, Trade, heatmap, tradeoff};
use crate::wording::signed;
use crate::{ReportError, page};
use polymath_eval::statistics::Figure;

/// The page.
pub fn render(revert: &Revert) -> Result<String, ReportError> {
    let rows: Vec<Value> = revert
        .blocks
        .iter()
        .map(|block| {
            context! {
                name => &block.name,
                regained => signed(block.regained),
                lost => signed(block.lost),
                rate => rate(block),
            }
        })
        .collect();
    let steps: Vec<Value> = revert
        .steps
        .iter()
        .enumerate()
        .map(|(at, step)| {
            context! {
                put_back => step.put_back,
                chosen => at == revert.chosen,
                figures => [step.development.0, step.development.1, step.test.0, step.test.1].map(signed),
            }
        })
        .collect();
    let shown = context! {
        base => &revert.base,
        tuned => &revert.tuned,
        niche => &revert.niche,
        limit => revert.limit,
        lead => sentence(revert),
        map => heatmap(&map(revert)),
        tradeoff => tradeoff(&trades(revert), revert.limit),
        rows,
        steps,
    };
    page::render(include_str!("page.html"), shown)
}

fn map(revert: &Revert) -> Heatmap<'_> {
    let columns: Vec<String> = revert
        .blocks
        .first()
        .map(|block| block.changes.keys().cloned().collect())
        .unwrap_or_default();
    let cells = revert.blocks.iter().map(|block| {
        let of_domain = |(domain, change): (&String, &Figure)| {
            let what = format!("{} put back, {domain}", block.name);
            Some(Cell::of(&what, *change).framed(*domain == revert.niche))
        };
        block.changes.iter().map(of_domain).collect()
    });
    Heatmap {
        id: "blocks",
        title: "Change of every domain when a block is put back",
        rows: revert
            .blocks
            .iter()
            .map(|block| block.name.clone())
            .collect(),
        cells: cells.collect(),
        columns,
        axes: ("put back", "domain"),
        colours: Colours::Largest,
    }
}

/// The tuned model, what is offered, and the way back to the base.
fn trades(revert: &Revert) -> Vec<Trade<'_>> {
    let figure = |value: f64| Figure {
        value,
        interval: None,
    };
    let trade = |number, name, (gain, forgetting): (f64, f64), way| Trade {
        number,
        name,
        gain: figure(gain),
        forgetting: figure(forgetting),
        named: true,
        way,
    };
    // From the base, where all blocks are back, towards the tuned model.
    let between = revert.steps[1..].iter().rev().map(|step| step.test);
    let mut trades = vec![trade(0, "tuned", revert.steps[0].test, between.collect())];
    if revert.chosen > 0 {
        let chosen = revert.steps[revert.chosen].test;
        trades.push(trade(1, "offered", chosen, Vec::new()));
    }
    trades
}
