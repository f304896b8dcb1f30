//! Sentences of an audit.

use polymath_eval::statistics::Verdict;

use super::{Audit, AuditSettings, AuditVerdict, Finding};
use crate::ForgettingReport;
use crate::forgetting::RunReport;
use crate::wording::signed;

/// Returns the verdict in a sentence or two.
pub fn sentence(audit: &Audit) -> String {
    let limit = audit.settings.limit;
    let Some(report) = audit
        .report
        .as_ref()
        .filter(|_| audit.verdict != AuditVerdict::Invalid)
    else {
        return invalid(audit);
    };
    match audit.verdict {
        AuditVerdict::Kept => format!(
            "{} {} within {limit} bits per byte.",
            names(report),
            match report.runs.len() {
                1 => "keeps every domain",
                _ => "keep every domain",
            }
        ),
        AuditVerdict::Broken => broken(report, limit) + &lost(audit),
        AuditVerdict::Undecided | AuditVerdict::Invalid => format!(
            "Undecided: no domain is shown to be forgotten beyond {limit} bits per byte, and {} not shown to be kept. More text \
             decides: raise `--tokens`, or give your own with `--texts`.",
            undecided(report)
        ),
    }
}

/// Returns a sentence on the scored text and the settings. `digest` is the text's SHA-256 as the form shows it.
pub fn settings(settings: &AuditSettings, digest: &str) -> String {
    format!(
        "Bundled text of version {} (SHA-256 {digest}), at most {} tokens of each domain, scored in {}; the limit is {} bits per byte.",
        settings.text.version, settings.tokens, settings.precision, settings.limit
    )
}

/// Returns a sentence on the check that scores the base a second time; `None` if there was no such check or the scores
/// changed.
pub fn again(audit: &Audit) -> Option<String> {
    let names: Vec<&str> = audit.base_again.keys().map(String::as_str).collect();
    let is_exact = audit.base_again.values().all(|change| *change == 0.0);
    (!names.is_empty() && is_exact).then(|| {
        format!(
            "The base against itself, scored again on {} after the tuned models: a change of exactly 0.",
            names.join(", ")
        )
    })
}

fn invalid(audit: &Audit) -> String {
    let errors = audit.findings.iter().filter(|finding| finding.is_error());
    let titles: Vec<&str> = errors
        .map(|finding: &Finding| finding.kind.title())
        .collect();
    let mut text = match titles.is_empty() {
        true => "No verdict: nothing could be compared.".to_owned(),
        false => format!("No verdict: {}.", titles.join("; ")),
    };
    if let Some(report) = &audit.report {
        text += &format!(
            " The figures are those of the other {}.",
            match report.runs.len() {
                1 => "model",
                _ => "models",
            }
        );
    }
    text
}

fn names(report: &ForgettingReport) -> String {
    let names: Vec<&str> = report.runs.iter().map(|run| run.name.as_str()).collect();
    names.join(", ")
}

fn broken(report: &ForgettingReport, limit: f64) -> String {
    let of_run = |run: &RunReport| {
        let lost: Vec<String> = run
            .retained()
            .filter(|domain| domain.verdict == Verdict::Forgotten)
            .map(|domain| {
                format!(
                    "{} ({})",
                    domain.name,
                    domain.change.map_or("–".into(), signed)
                )
            })
            .collect();
        (!lost.is_empty()).then(|| {
            format!(
                "{} forgot {} by more than {limit} bits per byte.",
                run.name,
                lost.join(", ")
            )
        })
    };
    let sentences: Vec<String> = report.runs.iter().filter_map(of_run).collect();
    match sentences.is_empty() {
        true => format!("No domain is shown to be forgotten by more than {limit} bits per byte."),
        false => sentences.join(" "),
    }
}

/// Returns a sentence on the behaviors that were lost, after a space.
fn lost(audit: &Audit) -> String {
    let lost = audit.behavior.iter().filter(|report| report.is_lost);
    let lost: Vec<String> = lost
        .map(|report| {
            format!(
                "{}: {} {} → {} of {}",
                report.model,
                report.behavior.title(),
                report.base,
                report.tuned,
                report.count
            )
        })
        .collect();
    match lost.is_empty() {
        true => String::new(),
        false => format!(" Lost behavior: {}.", lost.join("; ")),
    }
}

fn undecided(report: &ForgettingReport) -> String {
    let open: Vec<String> = report
        .runs
        .iter()
        .flat_map(|run| {
            let open = run.retained().filter(|domain| !domain.verdict.is_kept());
            open.map(|domain| match report.runs.len() {
                1 => domain.name.clone(),
                _ => format!("{} ({})", domain.name, run.name),
            })
        })
        .collect();
    match &open[..] {
        [one] => format!("{one} is"),
        several => format!("{} are", several.join(", ")),
    }
}
