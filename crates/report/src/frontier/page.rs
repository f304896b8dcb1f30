//! HTML page of a frontier.

use minijinja::{Value, context};

use super::figures::Frontier;
use super::markdown::{Form, place, sentences};
use super::method::Method;
use super::runs::RunFigures;
use crate::charts::{Cell, Colors, Heatmap, Trade, heatmap, key, tradeoff};
use crate::wording::{count, interval, percent, signed};
use crate::{ReportError, page};
use polymath_eval::statistics::Figure;

/// Maximum number of methods whose names are shown beside their points. More are distinguished by the legend alone.
const MOST_NAMES: usize = 6;

/// Renders the page.
pub fn render(frontier: &Frontier) -> Result<String, ReportError> {
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
        reference => &frontier.reference,
        compared => frontier.critical.is_some(),
        critical => frontier.critical.map(|critical| format!("{critical:.2}")),
        groups => groups(frontier),
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

/// Describes the groups of each domain on the test split.
fn groups(frontier: &Frontier) -> String {
    let test = frontier.groups.iter().filter(|found| found.split == "test");
    let found: Vec<String> = test
        .map(|found| format!("{} {}", found.domain, found.groups))
        .collect();
    format!("On the test split: {}.", found.join(", "))
}

/// Returns the points of the trained methods, each with the path of its mixtures with the base.
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
            Trade {
                number,
                name: &method.name,
                gain: method.gain,
                forgetting: method.mean_forgetting,
                named: all_named || (best_named && method.on_the_frontier),
                path: mixed.iter().map(|other| other.place()).collect(),
            }
        })
        .collect()
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
        place => place(method, Form::Plain),
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
