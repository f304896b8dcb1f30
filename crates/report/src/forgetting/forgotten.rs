//! Forgotten text as it is shown on the HTML page and in Markdown.

use minijinja::{Value, context};

use super::{DomainReport, Role, RunReport};
use crate::evidence::{DomainEvidence, Piece, WorstDocument};
use crate::wording::{count, interval, signed};

/// Maximum number of pieces listed below the shaded text.
const NAMED: usize = 8;
/// Changes, in bits, from which each deeper shade is used.
const SHADES: [f64; 4] = [0.5, 1.0, 2.0, 4.0];

/// Returns the retained domains of a run that have evidence, by descending loss.
pub fn domains(run: &RunReport) -> Vec<(&DomainReport, &DomainEvidence)> {
    let mut found: Vec<(&DomainReport, &DomainEvidence)> = run
        .domains
        .iter()
        .filter(|domain| domain.role == Role::Retained)
        .filter_map(|domain| Some((domain, run.evidence.get(&domain.name)?)))
        .filter(|(_, evidence)| *evidence != &DomainEvidence::default())
        .collect();
    found.sort_by(|a, b| {
        b.0.change
            .unwrap_or(0.0)
            .total_cmp(&a.0.change.unwrap_or(0.0))
    });
    found
}

/// Returns the template values of a run, or `None` if it has no evidence.
pub fn of_run(run: &RunReport, key: String) -> Option<Value> {
    let domains = domains(run);
    // Names of the frequency groups in order, from the domain that has most of them.
    let groups: Vec<String> = domains
        .iter()
        .map(|(_, evidence)| &evidence.frequencies)
        .max_by_key(|groups| groups.len())?
        .iter()
        .map(|group| group.frequency.clone())
        .collect();
    let rows: Vec<Value> = domains
        .iter()
        .map(|(domain, evidence)| {
            let cells: Vec<Value> = groups.iter().map(|name| cell(evidence, name)).collect();
            context! { name => &domain.name, cells }
        })
        .collect();
    let texts: Vec<Value> = domains
        .iter()
        .map(|(domain, evidence)| {
            let documents: Vec<Value> = evidence.documents.iter().map(document).collect();
            let questions = evidence.questions.iter();
            let questions: Vec<Value> = questions
                .map(|question| context! { prompt => &question.prompt, answer => &question.answer })
                .collect();
            context! {
                name => &domain.name,
                change => domain.change.map(signed),
                documents,
                questions_lost => count(evidence.questions_lost as u64),
                questions,
            }
        })
        .collect();
    Some(context! { name => &run.name, key, groups, rows, texts })
}

fn cell(evidence: &DomainEvidence, name: &str) -> Value {
    let mut groups = evidence.frequencies.iter();
    match groups.find(|group| group.frequency == name) {
        Some(group) => context! {
            change => signed(group.change),
            interval => interval(group.interval),
            tokens => count(group.tokens),
        },
        None => context! { change => "–" },
    }
}

fn document(document: &WorstDocument) -> Value {
    let pieces: Vec<Value> = document
        .pieces
        .iter()
        .map(|piece| {
            let shade = shade(piece);
            // Makes the end of a shaded line visible.
            let text = match shade.is_empty() {
                true => piece.text.clone(),
                false => piece.text.replace('\n', "↵\n"),
            };
            context! { text, shade, title => piece.change.map(bits) }
        })
        .collect();
    context! {
        number => document.document + 1,
        source => &document.source,
        change => signed(document.change),
        place => place(document),
        pieces,
        named => named(document),
    }
}

/// Returns the name of a document: its number and its source.
pub fn name(document: &WorstDocument) -> String {
    let number = document.document + 1;
    match &document.source {
        Some(source) => format!("Document {number} ({source})"),
        None => format!("Document {number}"),
    }
}

/// Describes which tokens of the document are shown.
pub fn place(document: &WorstDocument) -> String {
    let to = (document.from + crate::evidence::WINDOW).min(document.tokens);
    match document.from {
        0 if to == document.tokens => format!("all {to} tokens"),
        from => format!("tokens {} to {to} of {}", from + 1, document.tokens),
    }
}

/// Returns the class for a piece's shade: `lost1` to `lost4`, `won1` or `won2`; empty for a small change.
fn shade(piece: &Piece) -> String {
    let change = piece.change.unwrap_or(0.0);
    let depth = SHADES.iter().filter(|from| change.abs() >= **from).count();
    match depth {
        0 => String::new(),
        _ if change > 0.0 => format!("lost{depth}"),
        _ => format!("won{}", depth.div_ceil(2)),
    }
}

/// Lists the pieces with the largest loss, such as `“water” +6.5 bits`. Repeated pieces are listed once, with their
/// largest loss.
pub fn named(document: &WorstDocument) -> Vec<String> {
    let mut lost: Vec<(String, f64, usize)> = Vec::new();
    for piece in &document.pieces {
        let (text, change) = (
            visible(piece.text.trim_matches(' ')),
            piece.change.unwrap_or(0.0),
        );
        if change < SHADES[1] {
            continue;
        }
        match lost.iter_mut().find(|(known, ..)| *known == text) {
            Some((_, largest, times)) => {
                *largest = largest.max(change);
                *times += 1;
            }
            None => lost.push((text, change, 1)),
        }
    }
    lost.sort_by(|a, b| b.1.total_cmp(&a.1));
    let name = |(text, change, times): &(String, f64, usize)| match times {
        1 => format!("“{text}” {}", bits(*change)),
        _ => format!("“{text}” {times} times, up to {}", bits(*change)),
    };
    lost.iter().take(NAMED).map(name).collect()
}

/// Replaces line breaks and tabs by visible characters.
fn visible(text: &str) -> String {
    text.replace('\n', "↵").replace('\t', "⇥")
}

fn bits(change: f64) -> String {
    format!("{change:+.1} bits").replace('-', "−")
}
