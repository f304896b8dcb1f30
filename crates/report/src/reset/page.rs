//! HTML page of a reset.

use minijinja::{Value, context};

use super::markdown::{figures, mark, rate, sentence};
use super::{GainAndForgetting, Reset};
use crate::charts::{Cell, Colors, Heatmap, TradeoffPoint, heatmap, tradeoff};
use crate::wording::signed;
use crate::{ReportError, page};
use polymath_eval::statistics::Figure;

/// Renders the result of a reset as an HTML page.
pub fn render(reset: &Reset) -> Result<String, ReportError> {
    let rows: Vec<Value> = reset
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
    let steps: Vec<Value> = reset
        .steps
        .iter()
        .enumerate()
        .map(|(at, step)| {
            context! {
                reset => step.reset,
                chosen => at == reset.chosen,
                mark => mark(reset, at),
                figures => figures(step),
            }
        })
        .collect();
    let shown = context! {
        base => &reset.base,
        tuned => &reset.tuned,
        niche => &reset.niche,
        limit => reset.limit,
        lead => sentence(reset),
        map => heatmap(&map(reset)),
        tradeoff => tradeoff(&trades(reset), reset.limit),
        rows,
        steps,
    };
    page::render(include_str!("page.html"), shown)
}

fn map(reset: &Reset) -> Heatmap<'_> {
    let columns: Vec<String> = reset
        .blocks
        .first()
        .map(|block| block.changes.keys().cloned().collect())
        .unwrap_or_default();
    let cells = reset.blocks.iter().map(|block| {
        let of_domain = |(domain, change): (&String, &Figure)| {
            let what = format!("{} reset, {domain}", block.name);
            Some(Cell::of(&what, *change).framed(*domain == reset.niche))
        };
        block.changes.iter().map(of_domain).collect()
    });
    Heatmap {
        id: "blocks",
        title: "Change of every domain when a block is reset",
        rows: reset
            .blocks
            .iter()
            .map(|block| block.name.clone())
            .collect(),
        cells: cells.collect(),
        columns,
        axes: ("reset", "domain"),
        colors: Colors::Largest,
    }
}

/// Returns the chart's points for the tuned model and for the chosen step, with the path of steps to the base.
fn trades(reset: &Reset) -> Vec<TradeoffPoint<'_>> {
    let figure = |value: f64| Figure {
        value,
        interval: None,
    };
    let trade = |number, name: &'static str, at: &GainAndForgetting, path| TradeoffPoint {
        number,
        name,
        gain: figure(at.gain),
        forgetting: figure(at.forgetting),
        label: String::from(name),
        marked: number > 0,
        path,
    };
    // Path from the base, where all blocks are reset, to the tuned model.
    let between = reset.steps[1..].iter().rev();
    let between = between.map(|step| (step.test.gain, step.test.forgetting));
    let tuned = &reset.steps[0].test;
    let mut trades = vec![trade(0, "tuned", tuned, between.collect())];
    if reset.chosen > 0 {
        let chosen = &reset.steps[reset.chosen].test;
        trades.push(trade(1, "chosen", chosen, Vec::new()));
    }
    trades
}
