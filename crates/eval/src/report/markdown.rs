//! `report.md`.

use super::table::Short;
use super::{ForgettingReport, Role, interval, plain, signed};

/// The report in GitHub's Markdown.
pub fn render(report: &ForgettingReport) -> String {
    let mut text = format!("# Forgetting report\n\nBase: `{}`\n\n", report.base);
    for sentence in report.headlines() {
        text += &format!("- {sentence}\n");
    }
    for run in &report.runs {
        text += &format!("\n## {} ({})\n\n", run.name(), run.method);
        text += "| domain | base | tuned | change | 95 % interval | verdict | documents |\n|---|--:|--:|--:|--:|---|--:|\n";
        for domain in &run.domains {
            let name = match domain.role {
                Role::Niche => format!("**{}** (niche)", domain.name),
                Role::Old => domain.name.clone(),
            };
            text += &format!(
                "| {name} | {} | {} | {} | {} | {} | {} |\n",
                plain(domain.base_bits_per_byte),
                plain(domain.tuned_bits_per_byte),
                signed(domain.change),
                interval(domain.interval),
                domain.verdict.word(),
                domain.documents,
            );
        }
        text += &format!(
            "\nNiche gain {}, mean forgetting {} bits per byte.\n",
            plain(run.niche_gain),
            signed(run.mean_forgetting)
        );
        if !run.questions.is_empty() {
            text += "\n| questions | count | base | tuned | p |\n|---|--:|--:|--:|--:|\n";
        }
        for questions in &run.questions {
            text += &format!(
                "| {} | {} | {:.1} % | {:.1} % | {} |\n",
                questions.domain,
                questions.count,
                questions.base_accuracy * 100.0,
                questions.tuned_accuracy * 100.0,
                Short(questions.p_value),
            );
        }
    }
    text += "\n## Definitions\n\n";
    for (word, definition) in &report.definitions {
        text += &format!("- **{word}**: {definition}.\n");
    }
    text
}
