//! Plain-text form of the report for a terminal.

use super::{Answer, ForgettingReport, RunReport, knowledge, overview, tasks, wording};
use crate::aligned;
use crate::wording::{
    bound, figure, percent, plain, points, points_interval, probability, probability_or_dash,
    questions_asked, sign, signed, signed_or_dash,
};

/// Renders a report for a terminal: one block per run, with aligned columns.
pub fn render(report: &ForgettingReport) -> String {
    let mut text = format!(
        "Bits per byte on held-out documents (lower is better), against {}\n",
        report.base
    );
    for run in &report.runs {
        text += &of_run(run, report.settings.context);
    }
    if let Some(chain) = &report.chain {
        text += "\nover the chain\n";
        for measure in &chain.measures {
            text += &format!(
                "  {:46} {:>7}\n",
                measure.name,
                signed_or_dash(measure.value)
            );
        }
    }
    let answer = report.answer();
    if report.runs.len() > 1 {
        text += &format!("\n{}", aligned(&overview(report, &answer)));
    }
    // The answer and the table say all that the headline says of a single run with a niche.
    let headline = match &report.runs[..] {
        [run] if run.summary.niche_gain.is_some() => String::new(),
        _ => report.headline(),
    };
    let paragraphs = [
        answer.sentence,
        knowledge::sentences(report),
        aligned(&answers(report)),
        headline,
    ];
    for paragraph in paragraphs.iter().filter(|text| !text.is_empty()) {
        text += &format!("\n{}\n", paragraph.trim_end());
    }
    text
}

/// Formats a run's table with the lines below it: its summary, questions, tasks and notes. `context` is the report's
/// context in tokens.
fn of_run(run: &RunReport, context: usize) -> String {
    let mut text = format!("\n{} ({})\n", run.name, run.method);
    text += &aligned(&rows(run));
    let summary = &run.summary;
    if let Some(gain) = summary.niche_gain {
        text += &format!("  niche gain {}", figure(&gain));
    }
    if let Some(mean) = summary.mean_forgetting {
        text += &format!("  mean forgetting {}", figure(&mean));
    }
    if let Some(worst) = &summary.worst_forgetting {
        text += &format!(
            "\n  worst {} {}{}",
            worst.domain,
            signed(worst.change),
            bound(worst)
        );
    }
    text += "\n";
    for questions in &run.questions {
        text += &format!(
            "  {}: {} → {} of {}, {} {} points (p {})\n",
            questions.domain,
            percent(questions.accuracy.base.value),
            percent(questions.accuracy.tuned.value),
            questions_asked(questions),
            points(questions.accuracy.change.value),
            points_interval(questions.accuracy.change),
            probability(questions.accuracy.adjusted_p_value),
        );
    }
    text += &tasks::lines(&run.tasks);
    for note in wording::notes(run, context) {
        text += &format!("  {note}\n");
    }
    for domain in &run.domains {
        if let Some(setback) = &domain.setback {
            text += &format!("  {}\n", setback.sentence(&domain.name));
        }
        if let Some(reason) = &domain.reason {
            text += &format!("  {} {}: {reason}\n", domain.name, domain.verdict.word());
        }
    }
    text
}

/// Returns rows of example questions with the answers of the base and of two runs, column titles first; empty if there
/// are none.
fn answers(report: &ForgettingReport) -> Vec<Vec<String>> {
    let examples = knowledge::examples(report);
    if examples.questions.is_empty() {
        return Vec::new();
    }
    let head = ["question".to_owned(), "base".to_owned()];
    let rows = examples.questions.into_iter().map(|example| {
        let row = [example.question, example.base].into_iter();
        row.chain(example.after).collect()
    });
    let head = head.into_iter().chain(examples.runs).collect();
    std::iter::once(head).chain(rows).collect()
}

/// Returns one row for each run, column titles first.
fn overview(report: &ForgettingReport, answer: &Answer) -> Vec<Vec<String>> {
    let head = ["run", "gain", "worst retained", "", "verdict"];
    let rows = overview::rows(report, answer).into_iter().map(|row| {
        let mark = if row.recommended { " (take this)" } else { "" };
        vec![
            row.name + mark,
            row.gain,
            row.worst,
            row.worst_change,
            row.verdict,
        ]
    });
    std::iter::once(head.map(str::to_owned).to_vec())
        .chain(rows)
        .collect()
}

fn rows(run: &RunReport) -> Vec<Vec<String>> {
    let mut rows = vec![
        [
            "domain",
            "base",
            "tuned",
            "change",
            "95 % interval",
            "p (Holm)",
            "verdict",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for domain in &run.domains {
        let label = domain.role.label();
        let label = label.map_or(String::new(), |label| format!(" ({label})"));
        rows.push(vec![
            format!("{}{label}", domain.name),
            plain(domain.base_bits_per_byte),
            plain(domain.tuned_bits_per_byte),
            domain.shown_change(),
            domain.shown_interval(),
            probability_or_dash(domain.adjusted_p_value),
            format!("{} {}", sign(domain.verdict), domain.verdict.word()),
        ]);
    }
    rows
}
