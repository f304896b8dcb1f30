//! Forgotten text as it is shown on the HTML page and in Markdown.

use minijinja::{Value, context};

use super::{DomainReport, Role, RunReport};
use crate::charts::key;
use crate::evidence::{DomainEvidence, Piece, PositionGroup, WorstDocument};
use crate::wording::{count, interval, signed};

/// Maximum number of pieces listed below the shaded text.
const NAMED: usize = 8;
/// Smallest change of a document, in bits per byte, that is not shown as 0.
const SMALLEST_SHOWN: f64 = 0.0005;
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

/// Returns a run's evidence as values for the page's template; `None` without evidence.
pub fn of_run(run: &RunReport, number: usize) -> Option<Value> {
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
            let lost = evidence.documents.iter().filter(|one| is_lost(one));
            let documents: Vec<Value> = lost.map(document).collect();
            let questions = evidence.questions.iter();
            let questions: Vec<Value> = questions
                .map(|question| {
                    context! {
                        prompt => &question.prompt,
                        answer => &question.answer,
                        generated => &question.generated,
                    }
                })
                .collect();
            context! {
                name => &domain.name,
                change => domain.change.map(signed),
                setback => domain.setback.map(|setback| setback.sentence(&domain.name)),
                register => register(evidence),
                documents,
                questions_lost => count(evidence.questions_lost as u64),
                questions,
            }
        })
        .collect();
    let places: Vec<String> = domains
        .iter()
        .map(|(_, evidence)| &evidence.positions)
        .max_by_key(|groups| groups.len())?
        .iter()
        .map(position)
        .collect();
    let at_places: Vec<Value> = domains
        .iter()
        .map(|(domain, evidence)| {
            let cells: Vec<Value> = places.iter().map(|name| at_place(evidence, name)).collect();
            context! { name => &domain.name, cells }
        })
        .collect();
    let first = number == 0;
    let key = key(number);
    let lost = domains.iter().any(|(_, evidence)| {
        evidence.documents.iter().any(is_lost) || !evidence.questions.is_empty()
    });
    Some(context! { name => &run.name, key, first, groups, rows, places, at_places, texts, lost })
}

/// Returns true if a document lost as much as its figure can show.
pub fn is_lost(document: &WorstDocument) -> bool {
    document.change >= SMALLEST_SHOWN
}

/// Describes a position group: `1 to 16`.
pub fn position(group: &PositionGroup) -> String {
    let (from, to) = group.tokens_of_document;
    match to {
        Some(to) => format!("{} to {}", count(from), count(to)),
        None => format!("from {}", count(from)),
    }
}

/// Returns a sentence that tells a switch of register (style of text) from forgetting, by the positions in documents at
/// which the loss is large; `None` if it is unclear.
///
/// A model that expects another kind of text at the start of a document finds back with context; what it forgot stays
/// lost ([Zheng 2025](https://arxiv.org/abs/2501.13453)).
pub fn register(evidence: &DomainEvidence) -> Option<String> {
    let mut known = evidence
        .positions
        .iter()
        .filter(|group| group.interval.is_some());
    let (first, last) = (known.next()?, known.next_back()?);
    let ([from_first, _], [from_last, to_last]) = (first.interval?, last.interval?);
    let at = |group: &PositionGroup| {
        format!(
            "{} bits per token at tokens {}",
            signed(group.change),
            position(group)
        )
    };
    let (start, end) = (at(first), at(last));
    if from_first > to_last.max(0.0) && first.change >= 2.0 * last.change {
        return Some(format!(
            "The loss stands at the start of documents ({start}, {end}): much of it is a switch of register, which context undoes, \
            rather than forgetting."
        ));
    }
    (from_last > 0.0).then(|| {
        format!(
            "The loss stays after much context ({start}, {end}): it is forgetting rather than a switch of register."
        )
    })
}

fn at_place(evidence: &DomainEvidence, name: &str) -> Value {
    let mut groups = evidence.positions.iter();
    match groups.find(|group| position(group) == name) {
        Some(group) => context! {
            change => signed(group.change),
            interval => interval(group.interval),
            tokens => count(group.tokens),
        },
        None => context! { change => "–" },
    }
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
            let text = match (shade.is_empty(), piece.text.trim().is_empty()) {
                (true, _) => piece.text.clone(),
                // Makes the end of a shaded line visible, and spaces that are all of a token.
                (false, false) => piece.text.replace('\n', "↵\n"),
                (false, true) => visible(&piece.text).replace('↵', "↵\n"),
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

/// Describes the range of the document's tokens that is shown, such as `tokens 1 to 64 of 300`.
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

/// Lists the pieces with the largest loss in words: `“·water” +6.5 bits`. Repeated pieces are listed once with their
/// largest loss.
pub fn named(document: &WorstDocument) -> Vec<String> {
    let mut lost: Vec<(String, f64, usize)> = Vec::new();
    for piece in &document.pieces {
        let (text, change) = (visible(&piece.text), piece.change.unwrap_or(0.0));
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

/// Makes white space in a token visible, since a token with a space before its word is another one than without.
fn visible(text: &str) -> String {
    let drawn = text.replace('\r', "␍").replace('\n', "↵");
    drawn.replace('\t', "⇥").replace(' ', "·")
}

fn bits(change: f64) -> String {
    format!("{change:+.1} bits").replace('-', "−")
}
