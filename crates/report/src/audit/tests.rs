//! Tests of the verdict of an audit and of its forms.

use polymath_eval::{DocumentScore, DomainScores};

use super::*;
use crate::{ModelScores, ReportSettings};

/// Returns scores whose documents differ from the domain's factor by up to twice the `spread`.
fn scored(path: &str, factors: [f64; 2], spread: f64) -> ModelScores {
    let domain = |factor: f64| DomainScores {
        documents: (1..40)
            .map(|at| DocumentScore {
                nats: f64::from(at) * 60.0 * factor * (1.0 + spread * f64::from(at % 5 - 2)),
                tokens: 30 * at as u64,
                bytes: 100 * at as u64,
            })
            .collect(),
        ..DomainScores::default()
    };
    let domains = ["prose", "stories"].into_iter().zip(factors);
    ModelScores {
        path: path.into(),
        domains: domains
            .map(|(name, factor)| (name.to_owned(), domain(factor)))
            .collect(),
        ..ModelScores::default()
    }
}

fn report(factors: [f64; 2]) -> ForgettingReport {
    let base = scored("base", [1.0, 1.0], 0.0);
    let tuned = scored("tuned", factors, 0.002);
    ForgettingReport::new(&base, &[tuned], ReportSettings::default()).unwrap()
}

fn parts(findings: Vec<Finding>, again: f64, report: Option<ForgettingReport>) -> AuditParts {
    AuditParts {
        base: "models/base".into(),
        tuned: vec!["models/tuned".into()],
        settings: AuditSettings {
            limit: 0.02,
            tokens: 8000,
            precision: "f32".into(),
            text: BundledText {
                version: 1,
                sha256: "0123456789abcdef".into(),
            },
        },
        findings,
        base_again: BTreeMap::from([("prose".to_owned(), again)]),
        behavior: Vec::new(),
        behavior_left_out: None,
        report,
    }
}

fn audit(findings: Vec<Finding>, again: f64, report: Option<ForgettingReport>) -> Audit {
    Audit::new(parts(findings, again, report))
}

fn forms(audit: &Audit) -> [String; 3] {
    [
        page::render(audit).unwrap(),
        markdown::render(audit),
        audit.table(),
    ]
}

/// Checks that the verdict is that of the worst domain, and that every form says it and names the text.
#[test]
fn the_verdict_is_that_of_the_worst_domain() {
    let cases = [
        ([1.0, 1.0], AuditVerdict::Kept, "tuned keeps every domain"),
        ([1.0, 1.3], AuditVerdict::Broken, "tuned forgot stories"),
    ];
    for (factors, verdict, said) in cases {
        let found = audit(Vec::new(), 0.0, Some(report(factors)));
        assert_eq!(found.verdict, verdict);
        for form in forms(&found) {
            assert!(form.contains(said), "{form}");
        }
        let [page, markdown, _] = forms(&found);
        for form in [page, markdown] {
            assert!(form.contains("fit their base"), "{form}");
            assert!(form.contains("a change of exactly 0"), "{form}");
            assert!(form.contains("0123456789ab"), "{form}");
        }
    }
    let mut open = report([1.0, 1.0]);
    open.runs[0].domains[0].verdict = Verdict::Undecided;
    let found = audit(Vec::new(), 0.0, Some(open));
    assert_eq!(found.verdict, AuditVerdict::Undecided);
    assert!(
        found.sentence().contains("prose is not shown to be kept"),
        "{}",
        found.sentence()
    );
}

/// Checks that an error takes the verdict away, also beside a report of other models, and a warning does not.
#[test]
fn an_error_takes_the_verdict() {
    let finding = |kind| Finding::new(kind, "models/<tuned>", "1 token more: `<b>`", "save it");
    let warned = audit(
        vec![finding(FindingKind::Tokenizer)],
        0.0,
        Some(report([1.0, 1.0])),
    );
    assert_eq!(warned.verdict, AuditVerdict::Kept);
    let [page, markdown, table] = forms(&warned);
    assert!(
        page.contains("models&#x2f;&lt;tuned&gt;")
            && page.contains("Warning: the tokenizers differ"),
        "{page}"
    );
    assert!(
        markdown.contains("**Warning: the tokenizers differ**"),
        "{markdown}"
    );
    assert!(
        table.starts_with("warning (the tokenizers differ): 1 token more"),
        "{table}"
    );

    let both = vec![
        finding(FindingKind::Tokenizer),
        finding(FindingKind::WrongBase),
    ];
    let beside = audit(both.clone(), 0.0, Some(report([1.0, 1.0])));
    assert_eq!(beside.verdict, AuditVerdict::Invalid);
    assert_eq!(beside.findings[0].kind, FindingKind::WrongBase);
    assert!(
        beside.sentence().contains("those of the other model"),
        "{}",
        beside.sentence()
    );
    for form in forms(&audit(both, 0.0, None)) {
        assert!(form.contains("No verdict: not the base"), "{form}");
        assert!(
            !form.contains("0.02 bits per byte on") && !form.contains("● kept"),
            "{form}"
        );
    }
}

/// Checks that a base that does not score as before leaves no figure, however small the change.
#[test]
fn a_base_that_changed_leaves_no_figure() {
    let found = audit(Vec::new(), 1e-12, Some(report([1.0, 1.0])));
    assert_eq!(found.verdict, AuditVerdict::Invalid);
    assert_eq!(found.findings[0].kind, FindingKind::BaseNotExact);
    assert!(found.report.is_none());
    for form in forms(&found) {
        assert!(form.contains("prose") && form.contains("1e-12"), "{form}");
        assert!(!form.contains("exactly 0."), "{form}");
    }
}

/// Checks that `audit.json` is read back as it was written.
#[test]
fn the_result_is_written_and_read() {
    let folder = tempfile::tempdir().unwrap();
    let found = audit(Vec::new(), 0.0, Some(report([1.0, 1.3])));
    write(&found, folder.path()).unwrap();
    let text = std::fs::read_to_string(folder.path().join("audit.json")).unwrap();
    let read: Audit = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (read.verdict, read.findings, read.base_again),
        (found.verdict, found.findings, found.base_again)
    );
    for form in ["audit.html", "audit.md"] {
        assert!(folder.path().join(form).is_file(), "{form}");
    }
}

/// Checks that lost refusals break the audit, beyond chance only, and that prompts and answers are shown and escaped.
#[test]
fn lost_refusals_break_the_audit() {
    let answers = |refused: usize| -> Vec<JudgedAnswer> {
        let answer = |at: usize| JudgedAnswer {
            behavior: Behavior::Refuses,
            prompt: format!("Request <{at}>"),
            answer: if at < refused { "I can't." } else { "<b>Sure" }.into(),
            is_right: at < refused,
        };
        (0..20).map(answer).collect()
    };
    let audited = |refused| {
        Audit::new(AuditParts {
            behavior: BehaviorReport::compare("tuned", &answers(18), &answers(refused)),
            ..parts(Vec::new(), 0.0, Some(report([1.0, 1.0])))
        })
    };
    let lost = audited(6);
    assert_eq!(lost.verdict, AuditVerdict::Broken);
    assert_eq!((lost.behavior[0].base, lost.behavior[0].tuned), (18, 6));
    assert_eq!(lost.behavior[0].lost.len(), 3);
    let [page, markdown, table] = forms(&lost);
    for form in [&page, &markdown, &table] {
        assert!(
            form.contains("18") && form.contains("harmful requests refused"),
            "{form}"
        );
        assert!(form.contains("Lost behavior: tuned"), "{form}");
    }
    assert!(
        page.contains("Request &lt;6&gt;") && !page.contains("<b>Sure"),
        "{page}"
    );
    assert!(!markdown.contains("<b>Sure"), "{markdown}");
    assert_eq!(audited(16).verdict, AuditVerdict::Kept);
}

/// Compares every form of an audit with a broken limit, a warning and lost behavior with its snapshot.
#[test]
fn an_audit_is_written_whole() {
    let answers = |right: [usize; 3]| -> Vec<JudgedAnswer> {
        let behaviors = [
            (Behavior::FollowsFormat, right[0]),
            (Behavior::Refuses, right[1]),
            (Behavior::Answers, right[2]),
        ];
        let answers = behaviors.into_iter().flat_map(|(behavior, right)| {
            (0..20).map(move |at| JudgedAnswer {
                behavior,
                prompt: format!("Request {at}"),
                answer: format!("Answer {at} of {right}"),
                is_right: at < right,
            })
        });
        answers.collect()
    };
    let warning = "1 token more: `<b>`";
    let found = Audit::new(AuditParts {
        behavior: BehaviorReport::compare("tuned", &answers([15, 18, 19]), &answers([14, 6, 20])),
        ..parts(
            vec![Finding::new(
                FindingKind::Tokenizer,
                "models/tuned",
                warning,
                "save it",
            )],
            0.0,
            Some(report([0.9, 1.3])),
        )
    });
    let [page, markdown, table] = forms(&found);
    insta::assert_snapshot!("audit_table", table);
    insta::assert_snapshot!("audit_markdown", markdown);
    // Without the styles.
    let (head, rest) = page.split_once("<style>").unwrap();
    let (_, rest) = rest.split_once("</style>").unwrap();
    let lines = format!("{head}{rest}").replace("><", ">\n<");
    let lines: Vec<&str> = lines
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    insta::assert_snapshot!("audit_page", lines.join("\n"));
}
