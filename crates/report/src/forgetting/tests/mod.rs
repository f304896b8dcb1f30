//! Tests of the report's verdicts, summary, forms and escaping.

mod answer;
mod coverage;
mod forms;
mod knowledge;
mod pages;
mod sureness;

use std::collections::BTreeMap;

use polymath_data::Overlap;

use super::*;
use crate::evidence::{DomainEvidence, FrequencyGroup, LostQuestion, Piece, WorstDocument};
use polymath_eval::DocumentScore;
use polymath_eval::statistics::{Figure, Verdict};

fn scores(factor: f64) -> DomainScores {
    let documents = (1..40).map(|at| DocumentScore {
        nats: f64::from(at) * 60.0 * factor * (1.0 + 0.01 * f64::from(at % 5)),
        tokens: 30 * at as u64,
        bytes: 100 * at as u64,
    });
    DomainScores {
        documents: documents.collect(),
        ..DomainScores::default()
    }
}

fn model(path: &str, niche: &str, factors: [f64; 3]) -> ModelScores {
    let point = |step, value| CurvePoint {
        step,
        heldout_bits_per_byte: BTreeMap::from([("chemistry".into(), value)]),
    };
    let answers = (0..20).map(|at| at % 2 == 0 && niche.is_empty()).collect();
    let method = (!niche.is_empty()).then(|| "full".to_owned());
    ModelScores {
        path: path.into(),
        method,
        niche: (!niche.is_empty()).then(|| niche.into()),
        domains: ["chemistry", "competition", "leaky"]
            .into_iter()
            .zip(factors)
            .map(|(name, factor)| (name.to_owned(), scores(factor)))
            .collect(),
        questions: BTreeMap::from([("chemistry".into(), answers)]),
        curve: vec![point(0, 0.9), point(50, 1.1)],
        ..ModelScores::default()
    }
}

fn base() -> ModelScores {
    model("checkpoints/base/best", "", [1.0, 1.0, 1.0])
}

fn tuned() -> ModelScores {
    model("checkpoints/tuned/best", "competition", [1.3, 0.7, 1.2])
}

fn report() -> ForgettingReport {
    let mut tuned = tuned();
    tuned.overlaps = ["chemistry", "competition", "leaky"]
        .map(|heldout| Overlap {
            train: "competition".into(),
            heldout: heldout.into(),
            exact_share: if heldout == "leaky" { 0.4 } else { 0.0 },
            ngram_share: 0.07,
            ngrams: 500,
        })
        .into();
    tuned.evidence = ["chemistry", "leaky"]
        .map(|domain| (domain.to_owned(), evidence()))
        .into();
    ForgettingReport::new(&base(), &[tuned], ReportSettings::default()).unwrap()
}

fn evidence() -> DomainEvidence {
    let piece = |text: &str, change| Piece {
        text: text.into(),
        change,
    };
    DomainEvidence {
        documents: vec![WorstDocument {
            document: 7,
            source: None,
            bytes: 800,
            change: 1.25,
            from: 40,
            tokens: 300,
            pieces: vec![
                piece("asked: ", None),
                piece("<i>water</i>", Some(6.5)),
                piece(" and", Some(0.1)),
                piece(" salt", Some(-2.0)),
            ],
        }],
        frequencies: vec![FrequencyGroup {
            frequency: "10 to 100".into(),
            tokens: 1234,
            change: 0.75,
            interval: Some([0.5, 1.0]),
        }],
        positions: Vec::new(),
        questions_lost: 12,
        questions: vec![LostQuestion {
            prompt: "What is <b>H2O</b>?".into(),
            answer: "water".into(),
            generated: Some("<i>ice</i>".into()),
        }],
    }
}

/// Returns the report of a retained domain with a significant change of `change` bits per byte.
pub(super) fn domain_report(name: &str, change: f64) -> DomainReport {
    let domain = report().runs[0].domains[1].clone();
    assert_eq!(domain.role, Role::Retained);
    DomainReport {
        name: name.into(),
        change: Some(change),
        interval: Some([change - 0.01, change + 0.01]),
        ..domain
    }
}

fn ends(figure: Figure) -> [f64; 2] {
    figure.interval.unwrap()
}

fn refusal(base: &ModelScores, run: ModelScores, settings: ReportSettings) -> String {
    let error = ForgettingReport::new(base, &[run], settings).unwrap_err();
    error.to_string()
}

/// Checks that the niche gains, that the retained domain is forgotten, and that the leaking domain is withheld.
#[test]
fn verdicts_follow_the_scores() {
    let report = report();
    let run = &report.runs[0];
    let verdicts: Vec<(&str, Verdict)> = run
        .domains
        .iter()
        .map(|domain| (domain.name.as_str(), domain.verdict))
        .collect();
    assert_eq!(
        verdicts,
        [
            ("competition", Verdict::Gained),
            ("chemistry", Verdict::Forgotten),
            ("leaky", Verdict::Withheld)
        ]
    );
    let leaky = &run.domains[2];
    assert_eq!((leaky.change, leaky.tuned_bits_per_byte), (None, None));
    let reason = leaky.reason.as_ref().unwrap();
    assert!(reason.contains("40 %") && reason.contains("“competition”"));
    assert!(run.questions[0].accuracy.p_value < 0.01);
    assert!(ends(run.questions[0].accuracy.change)[1] < 0.0);
    assert!(report.headline().contains("forgot chemistry"));
}

/// Checks that the summary leaves out withheld domains, and that the gain is the negated change of the niche.
#[test]
fn summary_follows_the_domains() {
    let report = report();
    let run = &report.runs[0];
    let (niche, chemistry) = (&run.domains[0], &run.domains[1]);
    let summary = &run.summary;
    assert_eq!(summary.niche_gain.unwrap().value, -niche.change.unwrap());
    let mean = summary.mean_forgetting.unwrap();
    assert_eq!(Some(mean.value), chemistry.change);
    for (end, same) in ends(mean).iter().zip(chemistry.interval.unwrap()) {
        assert!((end - same).abs() < 1e-12);
    }
    let worst = summary.worst_forgetting.as_ref().unwrap();
    assert_eq!(worst.domain, "chemistry");
}

/// Checks that an earlier niche is not a retained domain: it is shown, but is not part of any mean.
#[test]
fn earlier_niches_are_not_retained_domains() {
    let mut second = model("checkpoints/second/best", "competition", [0.5, 0.7, 1.2]);
    second.earlier_niches = vec!["chemistry".into()];
    let report = ForgettingReport::new(&base(), &[second], ReportSettings::default()).unwrap();
    let run = &report.runs[0];
    let roles: Vec<_> = run
        .domains
        .iter()
        .map(|domain| (&domain.name[..], domain.role, domain.verdict))
        .collect();
    let expected = [
        ("competition", Role::Niche, Verdict::Gained),
        ("chemistry", Role::Earlier, Verdict::Gained),
        ("leaky", Role::Retained, Verdict::Forgotten),
    ];
    assert_eq!(roles, expected);
    let mean = run.summary.mean_forgetting.unwrap();
    assert_eq!(Some(mean.value), run.domains[2].change);
    assert!(markdown::render(&report).contains("**chemistry** (earlier niche)"));
    assert!(report.table().contains("chemistry (earlier niche)"));
    assert!(
        html::render(&report)
            .unwrap()
            .contains("<small>earlier niche</small>")
    );
}

/// Checks the report of the base against itself: no change, intervals [0, 0], everything kept, and a page that says
/// so.
#[test]
fn base_against_itself_changes_nothing() {
    let report = ForgettingReport::new(&base(), &[base()], ReportSettings::default()).unwrap();
    for domain in &report.runs[0].domains {
        assert_eq!(domain.change, Some(0.0));
        assert_eq!(domain.interval, Some([0.0, 0.0]));
        assert_eq!(domain.verdict, Verdict::Kept);
    }
    assert_eq!(report.runs[0].questions[0].accuracy.p_value, 1.0);
    assert!(report.headline().contains("does not differ"));
    assert!(html::render(&report).unwrap().contains("does not differ"));
}

/// Checks that the results of a domain do not depend on other domains.
#[test]
fn domains_are_judged_independently() {
    let both = report();
    let without = |mut model: ModelScores| {
        model.domains.remove("chemistry");
        model.questions.clear();
        model
    };
    let alone = ForgettingReport::new(
        &without(base()),
        &[without(tuned())],
        ReportSettings::default(),
    );
    let uncorrected = |mut report: ForgettingReport| {
        let mut niche = report.runs.remove(0).domains.remove(0);
        niche.adjusted_p_value = None;
        niche
    };
    assert_eq!(uncorrected(alone.unwrap()), uncorrected(both));
}

/// Checks that scores that can't be compared are refused with the names of the run and the domain.
#[test]
fn incomparable_scores_are_refused() {
    let mut partial = tuned();
    partial.domains.remove("chemistry");
    let text = refusal(&base(), partial, ReportSettings::default());
    assert!(text.contains("`chemistry`") && text.contains("`checkpoints/tuned/best` was not"));

    let mut elsewhere = tuned();
    elsewhere.niche = Some("cooking".into());
    let text = refusal(&base(), elsewhere, ReportSettings::default());
    assert!(
        text.contains("`cooking`") && text.contains("`leaky`"),
        "{text}"
    );

    let mut shorter = tuned();
    shorter
        .domains
        .insert("leaky".into(), DomainScores::default());
    let text = refusal(&base(), shorter, ReportSettings::default());
    assert!(text.contains("`leaky`") && text.contains("different documents"));

    let mut unasked = base();
    unasked.questions.clear();
    let text = refusal(&unasked, tuned(), ReportSettings::default());
    assert!(text.contains("`0` and `20` questions"), "{text}");

    let settings = ReportSettings {
        tolerance: -1.0,
        ..ReportSettings::default()
    };
    assert!(refusal(&base(), tuned(), settings).contains("`-1`"));
}

/// Checks that runs are named by their folders, or by their paths if the folders have the same name.
#[test]
fn run_names_are_unique() {
    let named = |paths: [&str; 2]| {
        let runs = paths.map(|path| ModelScores {
            path: path.into(),
            ..tuned()
        });
        let report = ForgettingReport::new(&base(), &runs, ReportSettings::default()).unwrap();
        report
            .runs
            .into_iter()
            .map(|run| run.name)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        named(["runs/full/best", "runs/frozen/latest"]),
        ["full", "frozen"]
    );
    assert_eq!(
        named(["runs/a/step-000100", "lora"]),
        ["a/step-000100", "lora"]
    );
    assert_eq!(named(["x/full", "y/full"]), ["x/full", "y/full"]);
}
