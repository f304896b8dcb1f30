//! Markdown form of the report, `report.md`.

use super::forgotten;
use super::ledger::ledger;
use super::sureness;
use super::tasks;
use super::{Answer, Chain, ForgettingReport, Provenance, RunReport, knowledge, overview, wording};
use crate::evidence::DomainEvidence;
use crate::untrusted::{code, inline};
use crate::wording::{
    asked, bound, count, interval, percent, plain, points, points_interval, probability,
    probability_or_dash, sign, signed, signed_or_dash,
};

/// Renders the report in GitHub-flavored Markdown.
pub fn render(report: &ForgettingReport) -> String {
    let answer = report.answer();
    let mut text = format!(
        "# Forgetting report\n\n{}{}\n\n{}{}Base: {}. Bits per byte on held-out documents; lower is better.\n",
        opening(&answer.sentence) + &opening(&knowledge::sentences(report)),
        inline(&report.headline()),
        overview(report, &answer),
        examples(report),
        code(&report.base)
    );
    text += "\n<details><summary>How sure is this?</summary>\n\n";
    for (term, says) in sureness::entries(report) {
        text += &format!("- **{term}**: {}\n", inline(&says));
    }
    text += "\n</details>\n";
    for run in &report.runs {
        text += &of_run(run, report.settings.context);
    }
    if let Some(chain) = &report.chain {
        text += &of_chain(chain);
    }
    text += &of_ledger(report);
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
    if let Some(split) = report.settings.split {
        text += &format!(
            "- Only the `{}` split of the held-out documents was scored.\n",
            split.name()
        );
    }
    text
}

/// Renders example questions with the answers of the base and of two runs.
fn examples(report: &ForgettingReport) -> String {
    let mut text = String::new();
    let examples = knowledge::examples(report);
    if examples.questions.is_empty() {
        return text;
    }
    let cells = |cells: &[String]| -> String {
        let cells = cells.iter().map(|cell| format!(" {} |", inline(cell)));
        cells.collect()
    };
    text += &format!("| question | base |{}\n", cells(&examples.runs));
    text += &format!("|---|---|{}\n", "---|".repeat(examples.runs.len()));
    for example in &examples.questions {
        let question = inline(&example.question);
        let base = inline(&example.base);
        text += &format!("| {question} | {base} |{}\n", cells(&example.after));
    }
    text + "\n"
}

fn opening(sentences: &str) -> String {
    match sentences.is_empty() {
        true => String::new(),
        false => format!("**{}**\n\n", inline(sentences)),
    }
}

/// Renders the overview of a report as a table with one row per run.
fn overview(report: &ForgettingReport, answer: &Answer) -> String {
    let settings = match report.runs.len() {
        1 => "settings",
        _ => "settings that differ",
    };
    let mut text = format!(
        "| run | {settings} | gain | worst retained domain | verdict |\n|---|---|--:|---|---|\n"
    );
    for row in overview::rows(report, answer) {
        let name = match row.recommended {
            true => format!("**{}** (take this)", inline(&row.name)),
            false => inline(&row.name),
        };
        let settings = row.settings.iter();
        let settings: Vec<String> = settings
            .map(|(key, value)| inline(&format!("{key} {value}")))
            .collect();
        text += &format!(
            "| {name} | {} | {} | {} {} | {} |\n",
            settings.join(", "),
            row.gain,
            inline(&row.worst),
            row.worst_change,
            inline(&row.verdict),
        );
    }
    text + "\n"
}

fn of_run(run: &RunReport, context: usize) -> String {
    let mut text = format!(
        "\n## {} ({})\n\n{}\n\n",
        inline(&run.name),
        inline(&run.method),
        code(&run.path)
    );
    text += &figures(run);
    for note in wording::notes(run, context) {
        text += &format!("\n{}\n", inline(&note));
    }
    text += &of_provenance(&run.provenance);
    for (domain, evidence) in forgotten::domains(run) {
        text += &of_evidence(&domain.name, evidence);
    }
    text
}

/// Renders tables of a run's domains, questions and tasks.
pub fn figures(run: &RunReport) -> String {
    let mut text = String::from(
        "| domain | base | tuned | change | relative | 95 % interval | p (Holm) | verdict | documents | groups | effective |\n\
         |---|--:|--:|--:|--:|--:|--:|---|--:|--:|--:|\n",
    );
    for domain in &run.domains {
        let name = match domain.role.label() {
            Some(label) => format!("**{}** ({label})", inline(&domain.name)),
            None => inline(&domain.name),
        };
        let reason = domain.reason.as_ref();
        text += &format!(
            "| {name} | {} | {} | {} | {} | {} | {} | {} {}{} | {} | {} | {} |\n",
            plain(domain.base_bits_per_byte),
            plain(domain.tuned_bits_per_byte),
            domain.shown_change(),
            domain.shown_relative(),
            domain.shown_interval(),
            probability_or_dash(domain.adjusted_p_value),
            sign(domain.verdict),
            domain.verdict.word(),
            reason.map_or(String::new(), |reason| format!(": {}", inline(reason))),
            count(domain.documents),
            count(domain.groups),
            domain.effective_groups.floor(),
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
                interval(figure.interval)
            );
        }
    }
    if let Some(worst) = &run.summary.worst_forgetting {
        text += &format!(
            "\nWorst: {} {}{}.\n",
            inline(&worst.domain),
            signed(worst.change),
            bound(worst)
        );
    }
    for domain in &run.domains {
        if let Some(setback) = domain.setback {
            text += &format!("\n{}\n", inline(&setback.sentence(&domain.name)));
        }
    }
    if !run.questions.is_empty() {
        text += "\n| questions of | count | base | tuned | change, points | p (McNemar, Holm) |\n|---|--:|--:|--:|--:|--:|\n";
    }
    for questions in &run.questions {
        text += &format!(
            "| {} | {} | {} | {} | {} {} | {} |\n",
            inline(&questions.domain),
            asked(questions),
            percent(questions.accuracy.base.value),
            percent(questions.accuracy.tuned.value),
            points(questions.accuracy.change.value),
            points_interval(questions.accuracy.change),
            probability(questions.accuracy.adjusted_p_value),
        );
    }
    text += &tasks::markdown(&run.tasks);
    text
}

/// Renders the settings and circumstances of a run.
fn of_provenance(provenance: &Provenance) -> String {
    if provenance.is_empty() {
        return String::new();
    }
    let facts = provenance.facts().into_iter();
    let facts: Vec<String> = facts
        .map(|(term, text)| inline(&format!("{term}: {text}")))
        .collect();
    let mut text = format!("\n{}\n", facts.join("; "));
    if !provenance.settings.is_empty() {
        text += "\n<details><summary>Settings</summary>\n\n";
        for (key, value) in &provenance.settings {
            text += &format!("- {}{}\n", code(key), inline(&format!(": {value}")));
        }
        text += "\n</details>\n";
    }
    text
}

/// Renders the evidence of forgetting in one domain.
fn of_evidence(domain: &str, evidence: &DomainEvidence) -> String {
    let mut text = format!("\n### Forgotten text in {}\n", inline(domain));
    if !evidence.frequencies.is_empty() {
        text += "\n| occurrences of the token per million training tokens | held-out tokens | bits per token | 95 % interval |\n\
                 |---|--:|--:|--:|\n";
    }
    for group in &evidence.frequencies {
        text += &format!(
            "| {} | {} | {} | {} |\n",
            inline(&group.frequency),
            count(group.tokens),
            signed(group.change),
            interval(group.interval)
        );
    }
    if !evidence.positions.is_empty() {
        text += "\n| position of the token in the document | held-out tokens | bits per token | 95 % interval |\n|---|--:|--:|--:|\n";
    }
    for group in &evidence.positions {
        text += &format!(
            "| {} | {} | {} | {} |\n",
            forgotten::position(group),
            count(group.tokens),
            signed(group.change),
            interval(group.interval)
        );
    }
    if let Some(register) = forgotten::register(evidence) {
        text += &format!("\n{}\n", inline(&register));
    }
    for document in evidence
        .documents
        .iter()
        .filter(|one| forgotten::is_lost(one))
    {
        let shown: String = document
            .pieces
            .iter()
            .map(|piece| piece.text.as_str())
            .collect();
        let shown: Vec<&str> = shown.split_whitespace().collect();
        text += &format!(
            "\n{}, {} bits per byte ({}):\n\n> {}\n\nLost most: {}\n",
            inline(&forgotten::name(document)),
            signed(document.change),
            forgotten::place(document),
            inline(&shown.join(" ")),
            inline(&forgotten::named(document).join(", ")),
        );
    }
    if evidence.questions_lost > 0 {
        text += &format!(
            "\n{} questions that the base answers and this run does not:\n\n",
            evidence.questions_lost
        );
    }
    for question in &evidence.questions {
        let prompt: Vec<&str> = question.prompt.split_whitespace().collect();
        text += &format!(
            "- {} → {}",
            inline(&prompt.join(" ")),
            inline(&question.answer)
        );
        if let Some(generated) = &question.generated {
            text += &format!(" (now: {})", inline(generated));
        }
        text += "\n";
    }
    text
}

/// Renders a chain: a table of the domains' scores after every stage, and the measures of continual learning.
fn of_chain(chain: &Chain) -> String {
    let mut text = String::from(
        "\n## Chain of fine-tunings\n\nBits per byte; each run was tuned from the one before it.\n\n| after |",
    );
    for domain in &chain.domains {
        text += &format!(" {} |", inline(domain));
    }
    text += &format!("\n|---|{}\n", "--:|".repeat(chain.domains.len()));
    for stage in &chain.stages {
        text += &format!("| {} |", inline(&stage.name));
        for (domain, bits) in chain.domains.iter().zip(&stage.bits_per_byte) {
            let own = if stage.niche.as_ref() == Some(domain) {
                "**"
            } else {
                ""
            };
            text += &format!(" {own}{}{own} |", plain(*bits));
        }
        text += "\n";
    }
    text += "\n";
    for measure in &chain.measures {
        text += &format!(
            "- **{}**: {}. {}\n",
            measure.name,
            signed_or_dash(measure.value),
            measure.definition
        );
    }
    text
}

fn of_ledger(report: &ForgettingReport) -> String {
    let Some(ledger) = ledger(report) else {
        return String::new();
    };
    let mut text = String::from(
        "\n## Leak ledger\n\nShare of each domain's held-out documents in training text: whole documents · 13-word sequences.\n\n\
        | held-out |",
    );
    for source in &ledger.sources {
        text += &format!(" {} |", inline(source));
    }
    text += &format!("\n|---|{}\n", "--:|".repeat(ledger.sources.len()));
    for (name, cells) in &ledger.rows {
        text += &format!("| {} |", inline(name));
        for cell in cells {
            let mark = if cell.leaks { "▲ " } else { "" };
            text += &format!(" {mark}{} |", cell.text);
        }
        text += "\n";
    }
    text
}
