//! Markdown form of an audit, `audit.md`.

use super::{Audit, Severity};
use crate::forgetting;
use crate::untrusted::{code, inline};
use crate::wording::probability;

/// Renders the audit in GitHub-flavored Markdown, with the forgetting report below it.
pub fn render(audit: &Audit) -> String {
    let mut text = format!(
        "# Audit\n\n**{}**\n\n## Findings\n\n",
        inline(&audit.sentence())
    );
    for finding in &audit.findings {
        let word = match finding.severity {
            Severity::Error => "Error",
            Severity::Warning => "Warning",
        };
        text += &format!(
            "- **{word}: {}** ({}): {}.",
            finding.kind.title(),
            code(&finding.model),
            inline(&finding.what)
        );
        if !finding.mend.is_empty() {
            text += &format!(" To mend it: {}.", inline(&finding.mend));
        }
        text += "\n";
    }
    if audit.findings.is_empty() {
        text += "Weights, tokenizer and chat template of the models fit their base.\n";
    }
    if let Some(again) = again(audit) {
        text += &format!("\n{}\n", inline(&again));
    }
    let settings = &audit.settings;
    text += &format!(
        "\nBundled text of version {} (SHA-256 {}), at most {} tokens of each domain, scored in {}; the limit is {} bits per byte.\n",
        settings.text.version,
        code(&settings.text.sha256),
        settings.tokens,
        settings.precision,
        settings.limit
    );
    text += &behavior(audit);
    match &audit.report {
        Some(report) => text + "\n" + &forgetting::markdown_of(report),
        None => text + "\nNo figures are shown, since the comparison is invalid.\n",
    }
}

fn behavior(audit: &Audit) -> String {
    if let Some(reason) = &audit.behavior_left_out {
        return format!("\nNo instructions and requests: {}.\n", inline(reason));
    }
    if audit.behavior.is_empty() {
        return String::new();
    }
    let mut text = "\n## Instructions and requests\n\n| model | property | base | tuned | prompts | p (McNemar, Holm) |\n\
                    |---|---|--:|--:|--:|--:|\n"
        .to_owned();
    for report in &audit.behavior {
        let lost = if report.is_lost { "▲ " } else { "" };
        text += &format!(
            "| {} | {lost}{} | {} | {} | {} | {} |\n",
            inline(&report.model),
            report.behavior.title(),
            report.base,
            report.tuned,
            report.count,
            probability(report.adjusted_p_value)
        );
    }
    for report in &audit.behavior {
        for lost in &report.lost {
            text += &format!(
                "\n- {} Base: {} Now: {}\n",
                inline(&lost.prompt),
                inline(&lost.base),
                inline(&lost.tuned)
            );
        }
    }
    text
}

/// Returns a sentence on the check that scores the base a second time; `None` if there was no such check or the scores
/// changed.
pub(super) fn again(audit: &Audit) -> Option<String> {
    let names: Vec<&str> = audit.base_again.keys().map(String::as_str).collect();
    let is_exact = audit.base_again.values().all(|change| *change == 0.0);
    (!names.is_empty() && is_exact).then(|| {
        format!(
            "The base against itself, scored again on {} after the tuned models: a change of exactly 0.",
            names.join(", ")
        )
    })
}
