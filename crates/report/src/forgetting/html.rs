//! HTML form of the report, `report.html`.

use minijinja::{Value, context};

use super::forgotten;
use super::ledger::{Ledger, ledger};
use super::sureness;
use super::{Chain, DomainReport, ForgettingReport, QuestionReport, Role, RunReport, tasks};
use crate::charts::{Cell, Colors, Heatmap, Trade, Width, curve, forest, heatmap, key, tradeoff};
use crate::wording::{
    OTHER_CONTEXT, asked, bytes, count, interval, percent, plain, points, points_interval,
    probability, probability_or_dash, relative, sign, signed, signed_or_dash,
};
use crate::{ReportError, page};
use polymath_eval::statistics::Figure;

/// Maximum number of runs whose names are shown beside their points.
const MOST_NAMES: usize = 5;

/// Renders the page.
pub fn render(report: &ForgettingReport) -> Result<String, ReportError> {
    let answer = report.answer();
    let runs: Vec<Value> = report
        .runs
        .iter()
        .enumerate()
        .map(|(number, run)| of_run(number, run, answer.recommended.contains(&run.name)))
        .collect();
    let curves: Vec<Value> = (0..report.runs.len())
        .filter_map(|number| {
            let chart = curve(report, number)?;
            Some(context! { name => &report.runs[number].name, key => key(number), chart })
        })
        .collect();
    let forgotten: Vec<Value> = report
        .runs
        .iter()
        .enumerate()
        .filter_map(|(number, run)| forgotten::of_run(run, key(number)))
        .collect();
    let shown = context! {
        sureness => sureness::entries(report),
        forgotten,
        ledger => ledger(report).map(of_ledger),
        overlap_limit => percent(report.settings.overlap_limit),
        base => &report.base,
        answer => answer.sentence,
        headline => report.headline(),
        several => report.runs.len() > 1,
        runs,
        forest => [forest(report, Width::Wide), forest(report, Width::Narrow)],
        curves,
        tradeoff => tradeoff(&trades(report), report.settings.tolerance),
        chain => report.chain.as_ref().map(of_chain),
        definitions => &report.definitions,
        tolerance => report.settings.tolerance,
        context_tokens => report.settings.context,
        split => report.settings.split.map(|split| split.name()),
    };
    page::render(include_str!("template.html"), shown)
}

fn of_run(number: usize, run: &RunReport, recommended: bool) -> Value {
    let (kept, judged) = run.kept();
    context! {
        number,
        name => &run.name,
        method => &run.method,
        path => &run.path,
        key => key(number),
        headline => run.headline(),
        niche => run.niche().map(|domain| domain.name.as_str()),
        gain => figure(run.summary.niche_gain),
        mean => figure(run.summary.mean_forgetting),
        worst => run.summary.worst_forgetting.as_ref().map(|worst| {
            let bound = worst.bound.map(signed);
            context! { domain => &worst.domain, change => signed(worst.change), bound }
        }),
        kept,
        judged,
        recommended,
        other_context => run.other_context.then_some(OTHER_CONTEXT),
        domains => run.domains.iter().map(of_domain).collect::<Vec<_>>(),
        questions => run.questions.iter().map(of_questions).collect::<Vec<_>>(),
        tasks => run.tasks.iter().map(tasks::html).collect::<Vec<_>>(),
    }
}

/// Returns the points of the runs that have both a gain and a mean forgetting.
fn trades(report: &ForgettingReport) -> Vec<Trade<'_>> {
    let runs = report.runs.iter().enumerate();
    let mut trades: Vec<Trade> = runs
        .filter_map(|(number, run)| {
            Some(Trade {
                number,
                name: &run.name,
                gain: run.summary.niche_gain?,
                forgetting: run.summary.mean_forgetting?,
                named: true,
                path: Vec::new(),
            })
        })
        .collect();
    // More runs are distinguished by the legend alone.
    if trades.len() > MOST_NAMES {
        trades.iter_mut().for_each(|trade| trade.named = false);
    }
    trades
}

fn of_chain(chain: &Chain) -> Value {
    let cells = chain.stages[1..].iter().map(|stage| {
        let cell = |(domain, change): (&String, &Option<Figure>)| {
            let what = format!("{domain} after {}", stage.name);
            let own = stage.niche.as_ref() == Some(domain);
            Some(Cell::of(&what, (*change)?).framed(own))
        };
        chain.domains.iter().zip(&stage.changes).map(cell).collect()
    });
    let map = Heatmap {
        id: "chain",
        title: "Change of each domain after each stage",
        rows: chain.stages[1..]
            .iter()
            .map(|stage| stage.name.clone())
            .collect(),
        columns: chain.domains.clone(),
        axes: ("after", "domain"),
        cells: cells.collect(),
        colors: Colors::LargestIncrease,
    };
    let measures: Vec<Value> = chain
        .measures
        .iter()
        .map(|measure| {
            let value = measure.value.map_or("–".to_owned(), signed);
            context! { name => &measure.name, value, definition => &measure.definition }
        })
        .collect();
    context! { map => heatmap(&map), measures }
}

fn of_ledger(ledger: Ledger) -> Value {
    let rows: Vec<Value> = ledger
        .rows
        .into_iter()
        .map(|(name, cells)| {
            let cells: Vec<Value> = cells
                .into_iter()
                .map(|cell| context! { text => cell.text, leaks => cell.leaks })
                .collect();
            context! { name, cells }
        })
        .collect();
    context! { sources => ledger.sources, rows }
}

fn figure(figure: Option<Figure>) -> Option<Value> {
    let figure = figure?;
    Some(context! { value => signed(figure.value), interval => interval(figure.interval) })
}

fn of_domain(domain: &DomainReport) -> Value {
    context! {
        name => &domain.name,
        niche => domain.role == Role::Niche,
        label => domain.role.label(),
        base => plain(domain.base_bits_per_byte),
        tuned => plain(domain.tuned_bits_per_byte),
        change => signed_or_dash(domain.change),
        relative => relative(domain.relative_change),
        interval => interval(domain.interval),
        p => probability_or_dash(domain.adjusted_p_value),
        verdict => domain.verdict.word(),
        sign => sign(domain.verdict),
        reason => &domain.reason,
        documents => count(domain.documents),
        groups => count(domain.groups),
        effective => format!("{:.0}", domain.effective_groups.floor()),
        bytes => bytes(domain.bytes),
    }
}

fn of_questions(questions: &QuestionReport) -> Value {
    context! {
        domain => &questions.domain,
        count => asked(questions),
        base => percent(questions.accuracy.base.value),
        tuned => percent(questions.accuracy.tuned.value),
        change => points(questions.accuracy.change.value),
        interval => points_interval(questions.accuracy.change),
        p => probability(questions.accuracy.adjusted_p_value),
    }
}
