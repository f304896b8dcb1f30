//! Reports of synthetic scores, for examples and tests.

mod curves;

use std::collections::BTreeMap;

use polymath_data::Overlap;
use polymath_eval::statistics::Figure;
use polymath_eval::{DocumentScore, DomainScores, Endpoints, SplitScores};
use polymath_report::evidence::{
    DomainEvidence, FrequencyGroup, LostQuestion, Piece, PositionGroup, WorstDocument,
};
use polymath_report::forgetting::{CurvePoint, Provenance};
use polymath_report::frontier::{Candidate, Frontier, FrontierSettings, ScoredRun};
use polymath_report::reset::{BeforeAfter, Block, GainAndForgetting, Reset, ResetSetting, Step};
use polymath_report::transfer::{Row, Setting, Transfer};
use polymath_report::{ForgettingReport, ModelScores, ReportError, ReportSettings};

use curves::{curve, curve_of_base, provenance};

/// Domains: name, number of documents, and the base's bits per byte.
const DOMAINS: [(&str, usize, f64); 7] = [
    ("chemistry", 240, 1.31),
    ("competition", 180, 2.05),
    ("letters", 64, 2.41),
    ("literature", 410, 1.92),
    ("manuals", 95, 1.55),
    ("mathematics", 310, 1.12),
    ("physics", 260, 1.27),
];
/// Name, method and change per domain of each run.
const RUNS: [(&str, &str, [f64; 7]); 4] = [
    (
        "competition-full",
        "full",
        [0.21, -0.62, 0.14, 0.38, 0.09, -0.04, 0.11],
    ),
    (
        "competition-frozen",
        "frozen",
        [0.05, -0.41, 0.024, 0.09, 0.012, -0.02, 0.025],
    ),
    (
        "competition-lora",
        "lora",
        [0.02, -0.47, 0.018, 0.055, 0.01, -0.03, 0.004],
    ),
    (
        "competition-limits",
        "full",
        [0.008, -0.52, 0.004, 0.011, 0.003, -0.03, 0.002],
    ),
];

/// Returns a report of four runs over seven domains with all sections.
///
/// # Errors
/// Fails if the scores do not fit together.
#[allow(dead_code, reason = "used by some of the programs")]
pub fn report() -> Result<ForgettingReport, ReportError> {
    let mut base = scores("checkpoints/small/best", "", &[0.0; 7]);
    base.curve = curve_of_base();
    base.provenance = Provenance {
        step: Some(1600),
        steps: Some(1600),
        ..provenance("pretraining", 5210.0)
    };
    let runs: Vec<ModelScores> = RUNS
        .iter()
        .map(|(name, method, changes)| {
            let path = format!("checkpoints/{name}/best");
            let mut run = scores(&path, method, changes);
            run.niche = Some("competition".into());
            run.curve = curve(changes);
            run.overlaps = overlaps();
            run.evidence = evidence(changes);
            run.provenance = provenance(method, 61.0);
            if name.ends_with("limits") {
                let limits = ("retention.limits.default".to_owned(), "0.02".to_owned());
                run.provenance.settings.extend([limits]);
            }
            run
        })
        .collect();
    let settings = ReportSettings {
        context: 256,
        ..ReportSettings::default()
    };
    ForgettingReport::new(&base, &runs, settings)
}

/// Returns a forgetting report of a chain of two fine-tunings, the second of which starts from the first.
///
/// # Errors
/// Fails if the scores do not fit together.
#[allow(dead_code, reason = "used by some of the programs")]
pub fn chain() -> Result<ForgettingReport, ReportError> {
    let mut base = scores("checkpoints/small/best", "", &[0.0; 7]);
    base.sha256 = Some("base".into());
    let mut first = scores("checkpoints/competition/best", "full", &RUNS[0].2);
    first.niche = Some("competition".into());
    (first.tuned_from, first.sha256) = (Some("base".into()), Some("first".into()));
    let changes = [0.3, -0.2, -0.7, 0.31, 0.02, 0.03, 0.2];
    let mut second = scores("checkpoints/letters/best", "full", &changes);
    second.niche = Some("letters".into());
    (second.tuned_from, second.sha256) = (Some("first".into()), Some("second".into()));
    ForgettingReport::new(&base, &[first, second], ReportSettings::default())
}

/// Returns a frontier of four methods over two seeds, each also mixed with the base at one half.
///
/// # Errors
/// Fails if the scores do not fit together.
#[allow(dead_code, reason = "used by some of the programs")]
pub fn frontier() -> Result<Frontier, ReportError> {
    let both = |changes: &[f64]| {
        let scores = scores("", "", changes).domains;
        SplitScores {
            dev: scores.clone(),
            test: scores,
        }
    };
    let base = both(&[0.0; 7]);
    let mut runs = Vec::new();
    for (name, _, changes) in RUNS {
        for (seed, scale) in [(1, 1.0), (2, 1.06)] {
            for share in [None, Some(0.5)] {
                let part = share.map_or(1.0, |share: f64| share.powf(0.7));
                let moved = changes.map(|change| change * scale * part);
                let candidate = Candidate {
                    method: name.trim_start_matches("competition-").into(),
                    share,
                    seed,
                    tokens: 400_000,
                    seconds: 61.0,
                };
                let scored = both(&moved);
                runs.push(ScoredRun { candidate, scored });
            }
        }
    }
    let settings = FrontierSettings {
        niche: "competition".into(),
        limit: 0.05,
        reference: None,
        diverged: Vec::new(),
    };
    Frontier::new(settings, &base, &runs)
}

/// Returns a transfer matrix of all domains.
#[allow(dead_code, reason = "used by some of the programs")]
pub fn transfer() -> Transfer {
    let row = |(number, (domain, _, _)): (usize, &(&str, usize, f64))| {
        let change = |at: usize| {
            let value = if at == number {
                -1.4
            } else {
                0.3 * waves(at + 9 * number, 7) - 0.05
            };
            Figure {
                value,
                interval: Some([value - 0.03, value + 0.03]),
            }
        };
        let cosine = |at: usize| {
            if at == number {
                1.0
            } else {
                waves(at * number, 8) - 0.3
            }
        };
        Row {
            domain: (*domain).to_owned(),
            changes: (0..DOMAINS.len()).map(change).collect(),
            gradient_cosines: (0..DOMAINS.len()).map(cosine).collect(),
            early_divergence: 0.2 * waves(number, 9),
        }
    };
    let setting = Setting {
        base: "checkpoints/small/best".into(),
        seeds: 1,
        tokens: 250_000,
        early_share: 0.05,
    };
    let names = DOMAINS.map(|domain| domain.0.to_owned()).to_vec();
    Transfer::new(
        setting,
        names,
        DOMAINS.iter().enumerate().map(row).collect(),
    )
}

/// Returns a reset of three blocks, each alone and cumulatively.
///
/// # Errors
/// Fails if the scores do not fit together.
#[allow(dead_code, reason = "used by some of the programs")]
pub fn reset() -> Result<Reset, ReportError> {
    let changed = |share: f64| {
        let changes = RUNS[0].2.map(|change| change * share);
        scores("", "", &changes).domains
    };
    let (tuned, base) = (changed(1.0), changed(0.0));
    let names = ["layer 000", "layer 001", "embedding and head"];
    let blocks = (1..).zip(names).map(|(number, name)| {
        let reset = changed(1.0 - 0.15 * f64::from(number));
        let scores = BeforeAfter {
            before: &tuned,
            after: &reset,
        };
        Block::new(name, "competition", scores)
    });
    let steps = (0..4).map(|reset| {
        let after = changed(1.0 - reset as f64 / 3.0);
        let scores = BeforeAfter {
            before: &base,
            after: &after,
        };
        let changes = GainAndForgetting::new("competition", scores);
        Step {
            reset,
            dev: changes.clone(),
            test: changes,
        }
    });
    let setting = ResetSetting {
        models: Endpoints {
            base: "base".as_ref(),
            tuned: "tuned".as_ref(),
        },
        niche: "competition",
        limit: 0.1,
    };
    let blocks = blocks.collect::<Result<_, _>>()?;
    Ok(Reset::new(setting, blocks, steps.collect()))
}

/// Returns the scores of a model. Its documents have very different sizes, and each has its own change.
fn scores(path: &str, method: &str, changes: &[f64]) -> ModelScores {
    let mut domains = BTreeMap::new();
    for ((name, documents, base), change) in DOMAINS.iter().zip(changes) {
        let documents = (0..*documents).map(|at| {
            let bytes = 300 + (3000.0 * waves(at, 1).powi(4)) as u64;
            let own = 1.0 + 1.6 * (waves(at, 2) - 0.5);
            let bits = base * (0.8 + 0.4 * waves(at, 3)) + change * own;
            DocumentScore {
                nats: bits * std::f64::consts::LN_2 * bytes as f64,
                tokens: bytes / 4,
                bytes,
            }
        });
        let documents = documents.collect();
        let scores = DomainScores {
            documents,
            ..DomainScores::default()
        };
        domains.insert((*name).to_owned(), scores);
    }
    let questions = [
        ("chemistry", 0.71, 0.9),
        ("competition", 0.18, -0.6),
        ("mathematics", 0.83, 0.0),
    ];
    let questions = questions.map(|(name, share, loss)| {
        let at = DOMAINS.iter().position(|domain| domain.0 == name);
        let share = share - loss * at.map_or(0.0, |at| changes[at].abs());
        let right = (0..200).map(|at| waves(at, 4) < share).collect();
        (name.to_owned(), right)
    });
    ModelScores {
        path: path.into(),
        method: (!method.is_empty()).then(|| method.into()),
        domains,
        questions: questions.into_iter().collect(),
        ..ModelScores::default()
    }
}

/// Returns overlaps in which a tenth of the 13-word sequences of the domain `manuals`, and 41 % of its documents,
/// occur in the fine-tuning text.
fn overlaps() -> Vec<Overlap> {
    let overlap = |(name, _, _): &(&str, usize, f64)| Overlap {
        train: "competition".into(),
        heldout: (*name).to_owned(),
        exact_share: if *name == "manuals" { 0.41 } else { 0.0 },
        ngram_share: if *name == "manuals" { 0.1 } else { 0.002 },
        ngrams: 20_000,
    };
    DOMAINS.iter().map(overlap).collect()
}

/// Returns evidence for each retained domain with a loss: documents, token frequencies and questions.
fn evidence(changes: &[f64]) -> BTreeMap<String, DomainEvidence> {
    let words = "The reaction of sodium hydroxide with dilute hydrochloric acid gives sodium chloride and water; the \
                 naïve reader may check the masses on both sides, and will find that <nothing> is lost. ";
    let of_domain = |((name, _, _), change): (&(&str, usize, f64), &f64)| {
        let pieces = words.repeat(2);
        let pieces = pieces
            .split_inclusive(' ')
            .enumerate()
            .map(|(at, text)| Piece {
                text: text.into(),
                change: Some(change * (40.0 * waves(at, 6).powi(4) - 2.0)),
            });
        let document = WorstDocument {
            document: 11,
            source: Some("plays/the-tempest.txt".into()),
            bytes: 2400,
            change: 2.0 * change,
            from: 90,
            tokens: 640,
            pieces: pieces.collect(),
        };
        let group = |(at, frequency): (usize, &str)| FrequencyGroup {
            frequency: frequency.into(),
            tokens: 50_000 / (at as u64 + 1).pow(3),
            change: change * (1.0 + at as f64),
            interval: Some([
                change * (0.8 + 0.7 * at as f64),
                change * (1.2 + 1.3 * at as f64),
            ]),
        };
        let groups = [
            "over 10 000",
            "1 000 to 10 000",
            "100 to 1 000",
            "10 to 100",
            "under 10, or never",
        ];
        let question = |number: u64| LostQuestion {
            prompt: format!("Question: how many protons has element {number}?\nAnswer: "),
            answer: number.to_string(),
            generated: Some((number + 1).to_string()),
        };
        let evidence = DomainEvidence {
            documents: vec![document.clone(), document],
            frequencies: groups.into_iter().enumerate().map(group).collect(),
            positions: positions(*change),
            questions_lost: 31,
            questions: vec![question(8), question(26)],
        };
        ((*name).to_owned(), evidence)
    };
    let lost = DOMAINS
        .iter()
        .zip(changes)
        .filter(|(_, change)| **change > 0.0);
    lost.map(of_domain).collect()
}

/// Returns losses that are largest at the start of documents.
fn positions(change: f64) -> Vec<PositionGroup> {
    let places = [(1, Some(16)), (17, Some(64)), (65, Some(256)), (257, None)];
    let group = |(at, place): (usize, (u64, Option<u64>))| {
        let change = change * [9.0, 5.0, 3.2, 2.8][at];
        PositionGroup {
            tokens_of_document: place,
            tokens: 4000 * (at as u64 + 1),
            change,
            interval: Some([0.8 * change, 1.2 * change]),
        }
    };
    places.into_iter().enumerate().map(group).collect()
}

/// Returns a reproducible pseudo-random number from 0 to 1.
fn waves(at: usize, salt: usize) -> f64 {
    ((at * 7919 + salt * 104_729) as f64 * 12.9898).sin().abs() * 43_758.545 % 1.0
}
