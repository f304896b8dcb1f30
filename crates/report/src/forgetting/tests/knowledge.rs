use super::*;
use crate::forgetting::knowledge::{Example, examples, sentences};

/// Returns evidence of lost questions, given by their prompts and generated answers; `more` further questions are lost
/// and not listed.
fn lost(questions: &[(&str, Option<&str>)], more: usize) -> BTreeMap<String, DomainEvidence> {
    let listed = questions.iter().map(|(prompt, generated)| LostQuestion {
        prompt: format!("Question: {prompt}\nAnswer:"),
        answer: format!(" {prompt}-right"),
        generated: generated.map(str::to_owned),
    });
    let evidence = DomainEvidence {
        questions_lost: questions.len() + more,
        questions: listed.collect(),
        ..DomainEvidence::default()
    };
    BTreeMap::from([("chemistry".to_owned(), evidence)])
}

/// Returns a report on the runs `full` and `budget`; the second has a limit.
fn two(
    full: BTreeMap<String, DomainEvidence>,
    budget: BTreeMap<String, DomainEvidence>,
) -> ForgettingReport {
    let run = |path: &str, evidence| ModelScores {
        evidence,
        ..model(path, "competition", [1.3, 0.7, 1.2])
    };
    let mut runs = [
        run("checkpoints/full", full),
        run("checkpoints/budget", budget),
    ];
    runs[1].questions = base().questions;
    let limit = ("retention.limits.default".to_owned(), "0.02".to_owned());
    runs[1].provenance.settings = BTreeMap::from([limit]);
    ForgettingReport::new(&base(), &runs, ReportSettings::default()).unwrap()
}

fn shown(example: &Example) -> (&str, &str, Vec<&str>) {
    let after = example.after.iter().map(String::as_str);
    (&example.question, &example.base, after.collect())
}

/// Checks that the sentence on the answers follows the recommendation directly in every form, with the limit of a run
/// that has one.
#[test]
fn the_answers_follow_the_recommendation() {
    let report = two(lost(&[("A", Some("wrong"))], 9), lost(&[], 0));
    let sentence =
        "The base knew 10 of 20 answers on chemistry; full knows 0 and budget (budget of 0.02) 10.";
    assert_eq!(sentences(&report), sentence);
    let answer = report.answer().sentence;
    let answer_length = answer.len();
    let answer = answer.split([',', ';', ':']).next().unwrap();
    for text in [
        markdown::render(&report),
        report.table(),
        html::render(&report).unwrap(),
    ] {
        let place = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part}: {text}"));
        let between = &text[place(answer)..place(sentence)];
        assert!(between.len() < answer_length + 60, "{between}");
        assert!(place(sentence) < place("A-right"), "{text}");
    }
}

/// Checks that examples have the answers of both runs, and that a question is left out if one of the answers is not
/// stored.
#[test]
fn examples_have_the_answers_before_and_after() {
    let full = lost(
        &[
            ("A", Some("16")),
            ("B", Some("x\n y")),
            ("C", None),
            ("D", Some("")),
        ],
        0,
    );
    let found = examples(&two(full.clone(), lost(&[("B", Some("z"))], 0)));
    assert_eq!(found.runs, ["full", "budget"]);
    let rows: Vec<_> = found.questions.iter().map(shown).collect();
    assert_eq!(
        rows,
        [
            ("A", "A-right", vec!["16", "A-right"]),
            ("B", "B-right", vec!["x y", "z"]),
            ("D", "D-right", vec!["", "D-right"]),
        ]
    );
    // The second run lost more questions than are listed: of those not listed, nothing is known.
    let found = examples(&two(full.clone(), lost(&[("B", Some("z"))], 1)));
    let rows: Vec<_> = found.questions.iter().map(shown).collect();
    assert_eq!(rows, [("B", "B-right", vec!["x y", "z"])]);
    // Nothing was lost.
    assert_eq!(
        examples(&two(lost(&[], 0), lost(&[], 0))),
        Default::default()
    );
}

/// Checks that questions of the niche are neither counted nor examples of what was lost.
#[test]
fn questions_of_the_niche_are_not_told() {
    let evidence = lost(&[("A", Some("16"))], 0).remove("chemistry").unwrap();
    let answers = |right| BTreeMap::from([("competition".to_owned(), vec![right; 20])]);
    let base = ModelScores {
        questions: answers(true),
        ..base()
    };
    let run = ModelScores {
        questions: answers(false),
        evidence: BTreeMap::from([("competition".to_owned(), evidence)]),
        ..tuned()
    };
    let report = ForgettingReport::new(&base, &[run], ReportSettings::default()).unwrap();
    assert_eq!(report.runs[0].questions[0].domain, "competition");
    assert_eq!(sentences(&report), "");
    assert_eq!(examples(&report), Default::default());
}
