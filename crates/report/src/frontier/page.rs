//! HTML page of a frontier.

use minijinja::{Value, context};

use super::figures::Frontier;
use super::markdown::{Form, place, sentences};
use super::method::Method;
use super::runs::RunFigures;
use crate::charts::{Cell, Colors, Heatmap, TradeoffPoint, heatmap, key, tradeoff};
use crate::wording::{count, interval, percent, signed};
use crate::{ReportError, page};
use polymath_eval::statistics::Figure;

/// Maximum number of methods with names beside their points; more are numbered.
const MOST_NAMES: usize = 6;

/// Renders a frontier as an HTML page.
pub fn render(frontier: &Frontier) -> Result<String, ReportError> {
    let trained: Vec<&Method> = frontier.trained().collect();
    let legend: Vec<Value> = trained
        .iter()
        .enumerate()
        .map(|(number, method)| {
            let mark = (trained.len() > MOST_NAMES).then_some(number + 1);
            context! { key => key(number), mark, name => &method.name }
        })
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
        reference => &frontier.reference,
        compared => frontier.critical.is_some(),
        critical => frontier.critical.map(|critical| format!("{critical:.2}")),
        groups => groups(frontier),
        lead => &sentences[0],
        first => &sentences[1],
        sentences => sentences[2..].to_vec(),
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

/// Returns a sentence with the number of document groups of each domain on the test split.
fn groups(frontier: &Frontier) -> String {
    let test = frontier.groups.iter().filter(|found| found.split == "test");
    let found: Vec<String> = test
        .map(|found| format!("{} {}", found.domain, found.groups))
        .collect();
    format!("On the test split: {}.", found.join(", "))
}

/// Returns the trained methods, each with the path of its mixtures with the base, and a recommended mixture.
fn trades<'a>(frontier: &'a Frontier, trained: &[&'a Method]) -> Vec<TradeoffPoint<'a>> {
    let all_named = trained.len() <= MOST_NAMES;
    let mixtures = |method: &Method| {
        let prefix = format!("{} × ", method.name);
        let mixed = frontier.methods.iter();
        let mut mixed: Vec<&Method> = mixed
            .filter(|other| other.share.is_some() && other.name.starts_with(&prefix))
            .collect();
        mixed.sort_by(|a, b| a.share.partial_cmp(&b.share).expect("shares are numbers"));
        mixed
    };
    let trade = |number: usize, method: &'a Method, label: String| TradeoffPoint {
        number,
        name: &method.name,
        gain: method.gain,
        forgetting: method.mean_forgetting,
        label,
        marked: frontier.is_recommended(method),
        path: Vec::new(),
    };
    let mut trades = Vec::new();
    for (number, method) in trained.iter().enumerate() {
        let label = match all_named {
            true => method.name.clone(),
            false => (number + 1).to_string(),
        };
        let mixed = mixtures(method);
        trades.push(TradeoffPoint {
            path: mixed.iter().map(|other| other.place()).collect(),
            ..trade(number, method, label)
        });
        let recommended = mixed.iter().find(|other| frontier.is_recommended(other));
        if let Some(other) = recommended {
            let share = other.share.unwrap_or(1.0);
            let label = match all_named {
                true => other.name.clone(),
                false => format!("{} × {share}", number + 1),
            };
            trades.push(trade(number, other, label));
        }
    }
    trades
}

/// Returns the heat map of each trained method's change in each retained domain.
fn domains<'a>(frontier: &'a Frontier, trained: &[&'a Method]) -> Heatmap<'a> {
    let first = trained.first().map(|method| method.rises.keys().cloned());
    let columns: Vec<String> = first.into_iter().flatten().collect();
    let cell = |method: &Method, domain: &String| {
        let rise = &method.rises[domain];
        let what = format!("{} on {domain}", method.name);
        Some(Cell::of(&what, *rise).framed(rise.value > frontier.limit))
    };
    Heatmap {
        id: "domains",
        title: "Change of each retained domain by method",
        rows: trained.iter().map(|method| method.name.clone()).collect(),
        cells: trained
            .iter()
            .map(|method| columns.iter().map(|domain| cell(method, domain)).collect())
            .collect(),
        columns,
        axes: ("method", "retained domain"),
        colors: Colors::Largest,
    }
}

fn row(frontier: &Frontier, method: &Method) -> Value {
    let of = |estimate: &Figure| {
        context! {
            value => signed(estimate.value),
            interval => estimate.interval.map(|ends| interval(Some(ends))),
        }
    };
    let dash = || context! { value => "–" };
    let worst = context! { domain => &method.worst.domain, ..of(&method.worst.rise) };
    let apart = method.against_reference;
    context! {
        name => &method.name,
        recommended => frontier.is_recommended(method),
        apart => [apart.map(|apart| apart.gain), apart.map(|apart| apart.mean_forgetting)]
            .map(|found| found.as_ref().map_or_else(dash, of)),
        best_in => method.frontier_share.map(percent),
        place => place(frontier, method, Form::Plain),
        figures => [of(&method.gain), of(&method.mean_forgetting), worst],
        seconds => method.share.is_none().then(|| format!("{:.0}", method.seconds)),
        tokens => method.share.is_none().then(|| count(method.tokens)),
    }
}

fn of_run(run: &RunFigures) -> Value {
    let figure = |found: &Figure| {
        let ends = found.interval.map(|ends| interval(Some(ends)));
        context! { value => signed(found.value), interval => ends }
    };
    context! {
        name => run.candidate.name(),
        seed => run.candidate.seed,
        gain => figure(&run.gain),
        mean => figure(&run.mean_rise),
        worst => signed(run.worst_forgetting()),
        dev => signed(run.dev_gain),
        dev_worst => signed(run.dev_worst),
    }
}
