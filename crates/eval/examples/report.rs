//! Writes a report from made-up scores, to look at: `cargo run -p polymath-eval --example report -- <folder>`.

use std::collections::BTreeMap;
use std::path::Path;

use polymath_eval::report::CurvePoint;
use polymath_eval::{
    DocumentScore, DomainScores, EvalError, ForgettingReport, ModelScores, Settings, write,
};

/// A domain's name, its documents, its base's bits per byte.
const DOMAINS: [(&str, usize, f64); 7] = [
    ("chemistry", 240, 1.31),
    ("competition", 180, 2.05),
    ("letters", 38, 2.41),
    ("literature", 410, 1.92),
    ("manuals", 95, 1.55),
    ("mathematics", 310, 1.12),
    ("physics", 260, 1.27),
];
/// A run's name, its method, and its change in each domain.
const RUNS: [(&str, &str, [f64; 7]); 3] = [
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
];

fn main() -> Result<(), EvalError> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "report".into());
    let base = scores("checkpoints/small/best", "", &[0.0; 7]);
    let runs: Vec<ModelScores> = RUNS
        .iter()
        .map(|(name, method, changes)| {
            let path = format!("checkpoints/{name}/best");
            let mut run = scores(&path, method, changes);
            run.niche = "competition".into();
            run.curve = curve(changes);
            run
        })
        .collect();
    let settings = Settings {
        context: 256,
        overlaps: BTreeMap::from([("manuals".into(), 0.41)]),
        ..Settings::default()
    };
    let report = ForgettingReport::new(&base, &runs, settings)?;
    print!("{}", report.table());
    write(&report, Path::new(&folder))
}

/// Documents of very different sizes, each with a change of its own.
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
        domains.insert((*name).to_owned(), DomainScores { documents });
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
        method: method.into(),
        domains,
        questions: questions.into_iter().collect(),
        ..ModelScores::default()
    }
}

fn curve(changes: &[f64]) -> Vec<CurvePoint> {
    let point = |step: u64| {
        let share = 1.0 - (-(step as f64) / 220.0).exp();
        let of_domain = DOMAINS.iter().zip(changes).enumerate();
        let heldout_bits_per_byte = of_domain.map(|(at, ((name, _, base), change))| {
            let noise = if step == 0 {
                0.0
            } else {
                0.01 * waves(at + step as usize, 5)
            };
            ((*name).to_owned(), base + change * share + noise)
        });
        CurvePoint {
            step,
            heldout_bits_per_byte: heldout_bits_per_byte.collect(),
        }
    };
    (0..=16).map(|at| point(at * 50)).collect()
}

/// A number from 0 to 1 that looks random.
fn waves(at: usize, salt: usize) -> f64 {
    ((at * 7919 + salt * 104_729) as f64 * 12.9898).sin().abs() * 43_758.545 % 1.0
}
