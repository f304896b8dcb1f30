//! Markdown form of an audit, `audit.md`.

use super::{Audit, Severity, wording};
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
        if !finding.fix.is_empty() {
            text += &format!(" To fix it: {}.", inline(&finding.fix));
        }
        text += "\n";
    }
    if audit.findings.is_empty() {
        text += "Weights, tokenizer and chat template of the models fit their base.\n";
    }
    if let Some(again) = wording::again(audit) {
        text += &format!("\n{}\n", inline(&again));
    }
    let digest = code(&audit.settings.text.sha256);
    text += &format!("\n{}\n", wording::settings(&audit.settings, &digest));
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
