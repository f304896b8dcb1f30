//! Tests of the content of a report's forms: settings of the runs, sign of a gain, improvements, setbacks, positions of
//! losses, and visible white space.

use super::sureness::run_of;
use super::*;
use crate::evidence::PositionGroup;

fn every_form(report: &ForgettingReport) -> [String; 3] {
    [
        html::render(report).unwrap(),
        markdown::render(report),
        report.table(),
    ]
}

fn settings(pairs: &[(&str, &str)]) -> Provenance {
    let settings = pairs.iter();
    Provenance {
        settings: settings
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        ..Provenance::default()
    }
}

/// Checks that runs of the same method are told apart by the settings that differ, and only by these.
#[test]
fn settings_that_differ_are_in_the_overview() {
    let mut plain = run_of("a", [0.2, 0.3]);
    plain.provenance = settings(&[("method", "full"), ("run", "checkpoints/a")]);
    let mut limited = run_of("b", [0.0, 0.2]);
    limited.provenance = settings(&[
        ("method", "full"),
        ("run", "checkpoints/b"),
        ("retention.limits.default", "0.02"),
    ]);
    let report =
        ForgettingReport::new(&base(), &[plain, limited], ReportSettings::default()).unwrap();
    let rows = overview::rows(&report, &report.answer());
    let settings: Vec<Vec<(&str, &str)>> = rows
        .iter()
        .map(|row| {
            let pairs = row.settings.iter();
            pairs
                .map(|(key, value)| (key.as_str(), value.as_str()))
                .collect()
        })
        .collect();
    assert_eq!(
        settings,
        [
            vec![("method", "full")],
            vec![("method", "full"), ("retention.limits.default", "0.02")]
        ]
    );
    let [page, markdown, _] = every_form(&report);
    for text in [page, markdown] {
        assert!(text.contains("retention.limits.default"), "{text}");
        assert!(!text.contains("checkpoints&#x2f;b</span>"));
    }
}

/// Checks that every fact of a run is in HTML, Markdown and JSON.
#[test]
fn circumstances_of_a_run_are_shown() {
    let mut run = tuned();
    run.provenance = Provenance {
        step: Some(40),
        steps: Some(50),
        tokens: Some(123_456),
        seconds: Some(61.0),
        seed: Some(17),
        begun: Some("2026-11-30 09:00 UTC".into()),
        version: Some("0.1.0".into()),
        machine: Some("Some CPU, 4 threads".into()),
        ..settings(&[("training.learning_rate", "0.0003")])
    };
    let report = ForgettingReport::new(&base(), &[run], ReportSettings::default()).unwrap();
    let [page, markdown, _] = every_form(&report);
    let json = serde_json::to_string(&report).unwrap();
    for fact in ["0.0003", "2026-11-30", "0.1.0", "Some CPU, 4 threads", "17"] {
        for text in [&page, &markdown, &json] {
            assert!(text.contains(fact), "{fact}: {text}");
        }
    }
    for text in [&page, &markdown] {
        assert!(text.contains("50 (scored: step 40)"), "{text}");
        assert!(text.contains("1 min 01 s") && text.contains("123\u{202f}456"));
    }
}

/// Checks that the gain on a niche is positive wherever it stands.
#[test]
fn a_gain_has_one_sign() {
    let report = ForgettingReport::new(
        &base(),
        &[run_of("a", [0.2, 0.3])],
        ReportSettings::default(),
    );
    for text in every_form(&report.unwrap()) {
        assert!(text.contains("gain +0.300"), "{text}");
        assert!(!text.contains("−0.300"), "{text}");
    }
}

/// Checks that a retained domain that is better for sure is improved and counts as kept; one that is hardly better is
/// kept.
#[test]
fn a_retained_domain_that_is_better_for_sure_is_improved() {
    let of = |forgotten: f64| {
        let run = run_of("b", [forgotten, 0.3]);
        ForgettingReport::new(&base(), &[run], ReportSettings::default()).unwrap()
    };
    let better = of(-0.1);
    let chemistry = &better.runs[0].domains[1];
    assert_eq!(chemistry.verdict, Verdict::Improved);
    assert_eq!(better.runs[0].kept(), (2, 2));
    assert_eq!(better.answer().recommended, ["b"]);
    for text in every_form(&better) {
        assert!(text.contains("▼ improved"), "{text}");
    }
    // A fraction of the spread of the documents.
    assert_eq!(of(-0.0001).runs[0].domains[1].verdict, Verdict::Kept);
}

/// Checks that a loss is given as a step of the base's training in every form.
#[test]
fn a_loss_is_given_in_steps_of_the_base() {
    let mut base = base();
    let point = |(step, bits): (u64, f64)| CurvePoint {
        step,
        heldout_bits_per_byte: BTreeMap::from([("chemistry".to_owned(), bits)]),
    };
    base.curve = [(0, 3.0), (100, 2.2), (200, 2.0)].map(point).into();
    base.provenance.step = Some(200);
    let run = run_of("a", [0.1, 0.3]);
    let report = ForgettingReport::new(&base, &[run], ReportSettings::default()).unwrap();
    for text in every_form(&report) {
        assert!(text.contains("about step 150 of 200"), "{text}");
    }
}

/// Checks that a context of the evaluations during training that is not that of the report is marked; the same one is
/// not.
#[test]
fn another_context_is_marked() {
    let of = |context| {
        let mut run = tuned();
        run.provenance = settings(&[("training.sequence_length", "128")]);
        let settings = ReportSettings {
            context,
            ..ReportSettings::default()
        };
        ForgettingReport::new(&base(), &[run], settings).unwrap()
    };
    for text in every_form(&of(256)) {
        assert!(text.contains("had a context of 128 tokens"), "{text}");
    }
    for text in every_form(&of(128)) {
        assert!(!text.contains("had a context of"), "{text}");
    }
}

/// Checks that a loss at the start of documents alone is called a switch of register, and that a loss that stays later
/// in them is called forgetting.
#[test]
fn a_switch_of_register_is_told_from_forgetting() {
    let group = |place, change: f64| PositionGroup {
        tokens_of_document: place,
        tokens: 1000,
        change,
        interval: Some([change - 0.05, change + 0.05]),
    };
    let of = |last: f64| DomainEvidence {
        positions: vec![group((1, Some(16)), 0.9), group((17, None), last)],
        ..evidence()
    };
    let said = |last| forgotten::register(&of(last)).unwrap_or_default();
    assert!(
        said(0.02).contains("a switch of register, which"),
        "{}",
        said(0.02)
    );
    assert!(said(0.8).contains("rather than a switch of register"));
    assert_eq!(forgotten::register(&evidence()), None);
    let mut report = report();
    report.runs[0].evidence.insert("chemistry".into(), of(0.8));
    let [page, markdown, _] = every_form(&report);
    for text in [page, markdown] {
        assert!(
            text.contains("1 to 16") && text.contains("from 17"),
            "{text}"
        );
        assert!(text.contains("rather than a switch of register"));
    }
}

/// Checks that spaces and line ends of lost tokens are drawn, so that no token looks empty.
#[test]
fn white_space_of_tokens_is_drawn() {
    let mut found = evidence();
    let piece = |text: &str| Piece {
        text: text.into(),
        change: Some(3.0),
    };
    found.documents[0].pieces = [" ", "\n\n", " salt", "\t"].map(piece).into();
    let names = forgotten::named(&found.documents[0]);
    let names: Vec<&str> = names
        .iter()
        .map(|name| name.split('”').next().unwrap())
        .collect();
    assert_eq!(names, ["“·", "“↵↵", "“·salt", "“⇥"]);
    let mut report = report();
    report.runs[0].evidence.insert("chemistry".into(), found);
    let page = html::render(&report).unwrap();
    assert!(page.contains("title=\"+3.0 bits\">·</span>"), "{page}");
    assert!(page.contains("title=\"+3.0 bits\">↵\n↵\n</span>"), "{page}");
}
