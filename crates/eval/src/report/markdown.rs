//! `report.md`.

use super::wording::{
    count, interval, percent, plain, probability, probability_or_dash, relative, sign, signed,
    signed_or_dash,
};
use super::{ForgettingReport, Role, RunReport};

/// The report in GitHub's Markdown.
pub fn render(report: &ForgettingReport) -> String {
    let mut text = format!(
        "# Forgetting report\n\n{}\n\nBase: `{}`. Bits per byte on held-out documents; lower is better.\n",
        escape(&report.headline()),
        report.base
    );
    for run in &report.runs {
        text += &of_run(run);
    }
    text += "\n## Definitions\n\n";
    for (word, definition) in &report.definitions {
        text += &format!("- **{word}**: {definition}\n");
    }
    if report.settings.context > 0 {
        text += &format!(
            "- Documents were scored with a context of {} tokens, every token once.\n",
            report.settings.context
        );
    }
    text
}

fn of_run(run: &RunReport) -> String {
    let mut text = format!(
        "\n## {} ({})\n\n`{}`\n\n",
        escape(&run.name),
        escape(&run.method),
        run.path
    );
    text += "| domain | base | tuned | change | relative | 95 % interval | p (Holm) | verdict | documents |\n\
             |---|--:|--:|--:|--:|--:|--:|---|--:|\n";
    for domain in &run.domains {
        let name = match domain.role {
            Role::Niche => format!("**{}** (niche)", escape(&domain.name)),
            Role::Old => escape(&domain.name),
        };
        let reason = domain.reason.as_ref();
        text += &format!(
            "| {name} | {} | {} | {} | {} | {} | {} | {} {}{} | {} |\n",
            plain(domain.base_bits_per_byte),
            plain(domain.tuned_bits_per_byte),
            signed_or_dash(domain.change),
            relative(domain.relative_change),
            interval(domain.interval),
            probability_or_dash(domain.adjusted_p_value),
            sign(domain.verdict),
            domain.verdict.word(),
            reason.map_or(String::new(), |reason| format!(": {reason}")),
            count(domain.documents),
        );
    }
    let figures = [
        ("Niche gain", run.summary.niche_gain),
        ("Mean forgetting", run.summary.mean_forgetting),
    ];
    for (name, figure) in figures {
        if let Some(figure) = figure {
            text += &format!(
                "\n{name}: {} {} bits per byte.\n",
                signed(figure.value),
                interval(Some(figure.interval))
            );
        }
    }
    if !run.questions.is_empty() {
        text += "\n| questions of | count | base | tuned | p (McNemar, Holm) |\n|---|--:|--:|--:|--:|\n";
    }
    for questions in &run.questions {
        text += &format!(
            "| {} | {} | {} | {} | {} |\n",
            escape(&questions.domain),
            questions.count,
            percent(questions.base_accuracy),
            percent(questions.tuned_accuracy),
            probability(questions.adjusted_p_value),
        );
    }
    text
}

/// A name as text, whatever signs it holds.
fn escape(text: &str) -> String {
    text.chars()
        .flat_map(|sign| {
            let special = "\\`*_|<>[]#".contains(sign);
            special.then_some('\\').into_iter().chain([sign])
        })
        .collect()
}
