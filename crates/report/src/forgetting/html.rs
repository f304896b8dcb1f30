//! HTML form of the report, `report.html`.

use minijinja::{Value, context};

use super::ledger::{Ledger, ledger};
use super::overview::{self, Row};
use super::{
    Chain, DomainReport, ForgettingReport, Provenance, QuestionReport, Role, RunReport, sureness,
    tasks, wording,
};
use super::{forgotten, knowledge};
use crate::charts::{
    Cell, Colors, Heatmap, Part, TradeoffPoint, Width, curve, forest, heatmap, key, tradeoff,
};
use crate::wording::{
    asked, count, percent, plain, points, points_interval, probability, probability_or_dash,
    questions_asked, sign, signed,
};
use crate::{ReportError, page};
use polymath_eval::statistics::Figure;

/// Maximum number of runs with names beside their points; more are numbered.
const MOST_NAMES: usize = 5;

/// Renders a forgetting report as an HTML page.
pub fn render(report: &ForgettingReport) -> Result<String, ReportError> {
    render_audited(report, Value::UNDEFINED)
}

/// Renders a forgetting report as an HTML page; with the findings of an audit if `audit` is defined.
pub fn render_audited(report: &ForgettingReport, audit: Value) -> Result<String, ReportError> {
    let answer = report.answer();
    let context = report.settings.context;
    let numbered = report.runs.len() > MOST_NAMES;
    let runs = report.runs.iter().enumerate();
    let curves: Vec<Value> = (0..report.runs.len())
        .filter_map(|number| {
            let chart = curve(report, number)?;
            Some(context! { name => &report.runs[number].name, key => key(number), chart })
        })
        .collect();
    let forgotten: Vec<Value> = runs
        .clone()
        .filter_map(|(number, run)| forgotten::of_run(run, number))
        .collect();
    let shown = context! {
        audit,
        sureness => sureness::entries(report),
        forgotten,
        ledger => ledger(report).map(of_ledger),
        overlap_limit => percent(report.settings.overlap_limit),
        base => &report.base,
        overview => overview::rows(report, &answer).into_iter().enumerate().map(|(number, row)| of_row(number, row)).collect::<Vec<_>>(),
        answer => answer.sentence,
        knowledge => knowledge::sentences(report),
        examples => examples(report),
        headline => report.headline(),
        several => report.runs.len() > 1,
        runs => runs.clone().map(|(number, run)| of_run(number, run, numbered, context)).collect::<Vec<_>>(),
        retained => both_widths(report, Part::Retained),
        gain => both_widths(report, Part::Niches),
        setbacks => runs.filter_map(|(number, run)| setback(number, run)).collect::<Vec<_>>(),
        curves,
        tradeoff => tradeoff(&trades(report, &answer.recommended), report.settings.tolerance),
        chain => report.chain.as_ref().map(of_chain),
        provenance => provenance(report),
        definitions => &report.definitions,
        tolerance => report.settings.tolerance,
        context_tokens => context,
        split => report.settings.split.map(|split| split.name()),
    };
    page::render(include_str!("template.html"), shown)
}

/// Returns example questions, with the answers of the base and of two runs, as values for the template; `None` if there
/// are none.
fn examples(report: &ForgettingReport) -> Option<Value> {
    let examples = knowledge::examples(report);
    let rows = examples.questions.iter().map(|example| {
        context! { question => &example.question, base => &example.base, after => &example.after }
    });
    let rows: Vec<Value> = rows.collect();
    (!rows.is_empty()).then(|| context! { runs => &examples.runs, rows })
}

/// Draws a forest plot for wide and for narrow windows.
fn both_widths(report: &ForgettingReport, part: Part) -> Option<[String; 2]> {
    let wide = forest(report, part, Width::Wide)?;
    Some([wide, forest(report, part, Width::Narrow)?])
}

fn of_row(number: usize, row: Row) -> Value {
    context! {
        key => key(number),
        name => row.name,
        recommended => row.recommended,
        settings => row.settings,
        gain => row.gain,
        gain_interval => row.gain_interval,
        worst => row.worst,
        worst_change => row.worst_change,
        worst_bound => row.worst_bound,
        verdict => row.verdict,
        class => row.class,
    }
}

fn of_run(number: usize, run: &RunReport, numbered: bool, context: usize) -> Value {
    context! {
        name => &run.name,
        method => &run.method,
        path => &run.path,
        key => key(number),
        mark => numbered.then_some(number + 1),
        headline => run.headline(),
        notes => wording::notes(run, context),
        domains => run.domains.iter().map(of_domain).collect::<Vec<_>>(),
        questions => run.questions.iter().map(of_questions).collect::<Vec<_>>(),
        tasks => run.tasks.iter().map(tasks::html).collect::<Vec<_>>(),
    }
}

/// Returns a sentence on the retained domain that fell back most in a run: the step of the base's training at which it
/// was as bad.
fn setback(number: usize, run: &RunReport) -> Option<Value> {
    let found = run.retained().filter_map(|domain| {
        let setback = domain.setback?;
        Some((
            !setback.before,
            setback.step,
            setback.sentence(&domain.name),
        ))
    });
    let (_, _, sentence) = found.min()?;
    Some(context! { key => key(number), name => &run.name, sentence })
}

/// Returns the settings and circumstances of the base and of every run, as values for the template.
fn provenance(report: &ForgettingReport) -> Vec<Value> {
    let shown = |(name, key, of): (&str, String, &Provenance)| {
        context! { name, key, facts => of.facts(), settings => &of.settings }
    };
    let base = ("The base", String::new(), &report.base_provenance);
    let runs = report.runs.iter().enumerate();
    let runs = runs.map(|(number, run)| (run.name.as_str(), key(number), &run.provenance));
    std::iter::once(base).chain(runs).map(shown).collect()
}

/// Returns the chart's points: one for each run that has both a gain and a mean forgetting.
fn trades<'a>(report: &'a ForgettingReport, recommended: &[String]) -> Vec<TradeoffPoint<'a>> {
    let runs = report.runs.iter().enumerate();
    let mut trades: Vec<TradeoffPoint> = runs
        .filter_map(|(number, run)| {
            Some(TradeoffPoint {
                number,
                name: &run.name,
                gain: run.summary.niche_gain?,
                forgetting: run.summary.mean_forgetting?,
                label: run.name.clone(),
                marked: recommended.contains(&run.name),
                path: Vec::new(),
            })
        })
        .collect();
    // More runs are numbered, as the legend is.
    if trades.len() > MOST_NAMES {
        for trade in &mut trades {
            trade.label = (trade.number + 1).to_string();
        }
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

fn of_domain(domain: &DomainReport) -> Value {
    context! {
        name => &domain.name,
        niche => domain.role == Role::Niche,
        label => domain.role.label(),
        base => plain(domain.base_bits_per_byte),
        tuned => plain(domain.tuned_bits_per_byte),
        change => domain.shown_change(),
        relative => domain.shown_relative(),
        interval => domain.shown_interval(),
        setback => domain.setback.map(|setback| setback.place()),
        p => probability_or_dash(domain.adjusted_p_value),
        verdict => domain.verdict.word(),
        sign => sign(domain.verdict),
        reason => &domain.reason,
        documents => count(domain.documents),
        groups => count(domain.groups),
        effective => format!("{:.0}", domain.effective_groups.floor()),
        bytes => polymath_base::bytes_text(domain.bytes),
    }
}

fn of_questions(questions: &QuestionReport) -> Value {
    context! {
        domain => &questions.domain,
        count => asked(questions),
        counted => questions_asked(questions),
        base => percent(questions.accuracy.base.value),
        tuned => percent(questions.accuracy.tuned.value),
        change => points(questions.accuracy.change.value),
        interval => points_interval(questions.accuracy.change),
        p => probability(questions.accuracy.adjusted_p_value),
    }
}
