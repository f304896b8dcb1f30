//! A frontier as a page.

use minijinja::{Value, context};

use super::figures::{Frontier, Method, RunFigures};
use super::markdown::{Form, sentences};
use crate::charts::{Cell, Colours, Heatmap, Trade, heatmap, key, tradeoff};
use crate::report::Figure;
use crate::statistics::OverSeeds;
use crate::wording::{count, interval, signed};
use crate::{EvalError, page};

/// Ways whose names stand beside their points; more are told apart by the legend alone.
const MOST_NAMES: usize = 6;

/// The page.
pub fn render(frontier: &Frontier) -> Result<String, EvalError> {
    let trained: Vec<&Method> = frontier.trained().collect();
    let legend: Vec<Value> = trained
        .iter()
        .enumerate()
        .map(|(number, method)| context! { key => key(number), name => &method.name })
        .collect();
    let rows: Vec<Value> = frontier
        .shown()
        .map(|method| row(frontier, method))
        .collect();
    let mut runs: Vec<&RunFigures> = frontier.runs.iter().collect();
    runs.sort_by_key(|run| (run.candidate.name(), run.candidate.seed));
    let several = trained.iter().any(|method| method.seeds > 1);
    let sentences = sentences(frontier, Form::Plain);
    let shown = context! {
        niche => &frontier.niche,
        limit => frontier.limit,
        lead => &sentences[0],
        sentences => sentences[1..].to_vec(),
        several,
        mixed => frontier.methods.len() > trained.len(),
        legend,
        tradeoff => tradeoff(&trades(frontier, &trained), frontier.limit),
        map => heatmap(&domains(frontier, &trained)),
        rows,
        runs => runs.into_iter().map(of_run).collect::<Vec<_>>(),
    };
    page::render(include_str!("page.html"), shown)
}

fn drawn(over: &OverSeeds) -> Figure {
    Figure {
        value: over.mean,
        interval: over.interval.unwrap_or([over.mean; 2]),
    }
}

/// The trained ways, each with what was mixed on the way to it.
fn trades<'a>(frontier: &'a Frontier, trained: &[&'a Method]) -> Vec<Trade<'a>> {
    let best = trained.iter().filter(|method| method.on_the_frontier);
    let all_named = trained.len() <= MOST_NAMES;
    let best_named = best.count() <= MOST_NAMES;
    trained
        .iter()
        .enumerate()
        .map(|(number, method)| {
            let prefix = format!("{} × ", method.name);
            let mut mixed: Vec<&Method> = frontier
                .methods
                .iter()
                .filter(|other| other.share.is_some() && other.name.starts_with(&prefix))
                .collect();
            mixed.sort_by(|a, b| a.share.partial_cmp(&b.share).expect("shares are numbers"));
            let place = |other: &&Method| (other.gain.mean, other.mean_forgetting.mean);
            Trade {
                number,
                name: &method.name,
                gain: drawn(&method.gain),
                forgetting: drawn(&method.mean_forgetting),
                named: all_named || (best_named && method.on_the_frontier),
                way: mixed.iter().map(place).collect(),
            }
        })
        .collect()
}

/// What each trained way lost in each old domain.
fn domains<'a>(frontier: &'a Frontier, trained: &[&'a Method]) -> Heatmap<'a> {
    let columns: Vec<String> = frontier
        .runs
        .first()
        .map(|run| run.rises.keys().cloned().collect())
        .unwrap_or_default();
    let cell = |method: &Method, domain: &String| {
        let runs = frontier
            .runs
            .iter()
            .filter(|run| run.candidate.name() == method.name);
        let rises: Vec<(f64, [f64; 2])> = runs.map(|run| run.rises[domain]).collect();
        let over = OverSeeds::of(&rises.iter().map(|rise| rise.0).collect::<Vec<_>>());
        // One run alone has the interval over its documents.
        let ends = over.interval.unwrap_or(rises[0].1);
        let change = Figure {
            value: over.mean,
            interval: ends,
        };
        let what = format!("{} on {domain}", method.name);
        Some(Cell::of(&what, change).framed(over.mean > frontier.limit))
    };
    Heatmap {
        id: "domains",
        title: "Change of every old domain by way",
        rows: trained.iter().map(|method| method.name.clone()).collect(),
        cells: trained
            .iter()
            .map(|method| columns.iter().map(|domain| cell(method, domain)).collect())
            .collect(),
        columns,
        axes: ("way", "old domain"),
        colours: Colours::Largest,
    }
}

fn row(frontier: &Frontier, method: &Method) -> Value {
    context! {
        name => &method.name,
        recommended => frontier.recommended.as_ref() == Some(&method.name),
        figures => [&method.gain, &method.mean_forgetting, &method.worst_forgetting]
            .map(|over| context! {
                value => signed(over.mean),
                interval => over.interval.map(|ends| interval(Some(ends))),
            }),
        seconds => method.share.is_none().then(|| format!("{:.0}", method.seconds)),
        tokens => method.share.is_none().then(|| count(method.tokens)),
        beaten_by => &method.beaten_by,
    }
}

fn of_run(run: &RunFigures) -> Value {
    let figure = |(value, ends): (f64, [f64; 2])| {
        context! { value => signed(value), interval => interval(Some(ends)) }
    };
    context! {
        name => run.candidate.name(),
        seed => run.candidate.seed,
        gain => figure((run.gain, run.gain_interval)),
        mean => figure(run.mean_rise),
        worst => signed(run.worst_forgetting()),
        development => signed(run.development_gain),
        development_worst => signed(run.development_worst),
    }
}
