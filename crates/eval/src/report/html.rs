//! `report.html`: one file that needs nothing from outside.

use minijinja::{Environment, context};

use super::table::Short;
use super::{ForgettingReport, Role, charts, interval, plain, signed};
use crate::EvalError;

/// The report as a page.
pub fn render(report: &ForgettingReport) -> Result<String, EvalError> {
    let runs: Vec<minijinja::Value> = report
        .runs
        .iter()
        .map(|run| {
            let domains: Vec<minijinja::Value> = run
                .domains
                .iter()
                .map(|domain| {
                    context! {
                        name => &domain.name,
                        niche => domain.role == Role::Niche,
                        base => plain(domain.base_bits_per_byte),
                        tuned => plain(domain.tuned_bits_per_byte),
                        change => signed(domain.change),
                        relative => domain.relative_change.map_or("–".into(), |share| format!("{:+.1} %", share * 100.0)),
                        interval => interval(domain.interval),
                        verdict => domain.verdict.word(),
                        documents => domain.documents,
                    }
                })
                .collect();
            let questions: Vec<minijinja::Value> = run
                .questions
                .iter()
                .map(|questions| {
                    context! {
                        domain => &questions.domain,
                        count => questions.count,
                        base => format!("{:.1} %", questions.base_accuracy * 100.0),
                        tuned => format!("{:.1} %", questions.tuned_accuracy * 100.0),
                        p => Short(questions.p_value).to_string(),
                    }
                })
                .collect();
            context! {
                name => run.name(), method => &run.method, path => &run.path, domains, questions,
                forest => charts::forest(report, run), curve => charts::curve(report, run),
            }
        })
        .collect();
    let mut environment = Environment::new();
    let failed =
        |error: minijinja::Error| EvalError::Report(format!("the report's template: {error}"));
    environment
        .add_template("report.html", include_str!("template.html"))
        .map_err(failed)?;
    let page = context! {
        base => &report.base, headlines => report.headlines(), runs, trade => charts::trade(report),
        definitions => &report.definitions, tolerance => report.settings.tolerance, context_tokens => report.settings.context,
    };
    environment
        .get_template("report.html")
        .and_then(|template| template.render(page))
        .map_err(failed)
}
