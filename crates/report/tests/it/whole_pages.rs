//! The whole content of every page, table and JSON file, from made-up scores.
//!
//! A change that is meant is accepted with `INSTA_UPDATE=always`, and then read in the difference of the snapshots.

use std::path::Path;
use std::sync::Arc;

use polymath_data::{Task, TaskItem};
use polymath_eval::{DocumentScore, DomainScores, ItemScore, TaskScores};
use polymath_report::{ForgettingReport, ModelScores, ReportSettings};
use serde_json::Value;

use super::page::synthetic;

/// Returns a line for each number, text and list of a JSON value with its place. Of a list, only its length and its
/// first and last elements are given, and of a number six decimals, in which processors agree.
fn lines(place: &str, value: &Value, text: &mut String) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                lines(&format!("{place}.{key}"), value, text);
            }
        }
        Value::Array(values) => {
            *text += &format!("{place}: {} elements\n", values.len());
            let last = values.len().saturating_sub(1);
            for (at, value) in values.iter().enumerate() {
                if at == 0 || at == last {
                    lines(&format!("{place}[{at}]"), value, text);
                }
            }
        }
        Value::Number(number) if number.is_f64() => {
            *text += &format!("{place} = {:.6}\n", number.as_f64().unwrap());
        }
        value => *text += &format!("{place} = {value}\n"),
    }
}

/// Returns a page without its styles and without what a browser runs, one element a line.
fn content(page: &str) -> String {
    let mut text = page.to_owned();
    for element in ["style", "script"] {
        let (begin, end) = (format!("<{element}"), format!("</{element}>"));
        while let Some(from) = text.find(&begin) {
            let to = text[from..].find(&end).unwrap();
            text.replace_range(from..from + to + end.len(), "");
        }
    }
    let lines = text.replace("><", ">\n<");
    let lines: Vec<&str> = lines
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    lines.join("\n")
}

/// Compares the forms of a page with their snapshots.
fn check(name: &str, stem: &str, table: &str, write: impl FnOnce(&Path)) {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());
    let read = |ending: &str| {
        let file = folder.path().join(format!("{stem}.{ending}"));
        std::fs::read_to_string(file).unwrap()
    };
    insta::assert_snapshot!(format!("{name}_table"), table);
    insta::assert_snapshot!(format!("{name}_markdown"), read("md"));
    let mut json = String::new();
    lines("", &serde_json::from_str(&read("json")).unwrap(), &mut json);
    insta::assert_snapshot!(format!("{name}_json"), json);
    insta::assert_snapshot!(format!("{name}_page"), content(&read("html")));
}

#[test]
fn a_report_is_written_whole() {
    let report = synthetic::report().unwrap();
    let write = |folder: &Path| polymath_report::write(&report, folder).unwrap();
    check("report", "report", &report.table(), write);
}

#[test]
fn a_chain_is_written_whole() {
    let report = synthetic::chain().unwrap();
    let write = |folder: &Path| polymath_report::write(&report, folder).unwrap();
    check("chain", "report", &report.table(), write);
}

#[test]
fn a_frontier_is_written_whole() {
    let frontier = synthetic::frontier().unwrap();
    let write = |folder: &Path| frontier.write(folder).unwrap();
    check("frontier", "frontier", &frontier.table(), write);
}

#[test]
fn a_transfer_matrix_is_written_whole() {
    let transfer = synthetic::transfer();
    let write = |folder: &Path| transfer.write(folder).unwrap();
    check("transfer", "transfer", &transfer.table(), write);
}

#[test]
fn a_reset_is_written_whole() {
    let reset = synthetic::reset().unwrap();
    let write = |folder: &Path| reset.write(folder).unwrap();
    check("reset", "reset", &reset.table(), write);
}

/// Returns the scores of a model on a task of 40 items and a cloze task of 20.
fn answered(
    path: &str,
    right: fn(usize) -> bool,
    by_length: fn(usize) -> bool,
    cut: usize,
) -> ModelScores {
    let item = |number: usize, choices: &[&str]| TaskItem {
        line: 2 * number as u64 + 1,
        context: format!("{} question {number}", "long ".repeat(50)),
        choices: choices.iter().map(|choice| (*choice).to_owned()).collect(),
        answer: 0,
        delimiter: " ".into(),
    };
    let score = |item: &TaskItem, number: usize| {
        let is_cloze = item.choices.len() == 1;
        ItemScore {
            line: item.line,
            answer: 0,
            log_likelihoods: vec![-1.0; item.choices.len()],
            greedy: vec![right(number); item.choices.len()],
            choice: usize::from(!is_cloze && !right(number)),
            choice_normalized: (!is_cloze).then_some(usize::from(!by_length(number))),
            right: right(number),
            right_normalized: (!is_cloze).then_some(by_length(number)),
            tokens_cut: usize::from(number < cut),
        }
    };
    let task = |name: &str, count: usize, choices: &[&str]| {
        let items: Vec<TaskItem> = (0..count).map(|number| item(number, choices)).collect();
        let scores = items
            .iter()
            .enumerate()
            .map(|(number, item)| score(item, number));
        let scores = scores.collect();
        let (name, path) = (name.to_owned(), name.into());
        let task = Arc::new(Task {
            name: name.clone(),
            path,
            items,
        });
        (
            name,
            TaskScores {
                task,
                items: scores,
            },
        )
    };
    let documents = (1..40).map(|bytes| DocumentScore {
        nats: f64::from(bytes) * 60.0,
        tokens: 30,
        bytes: 100 * bytes as u64,
    });
    let domain = DomainScores {
        documents: documents.collect(),
        ..DomainScores::default()
    };
    ModelScores {
        path: path.into(),
        domains: [("law".to_owned(), domain)].into(),
        questions: [("law".to_owned(), (0..24).map(right).collect())].into(),
        question_groups: [("law".to_owned(), (0..24).map(|number| number / 2).collect())].into(),
        tasks: [
            task("cloze", 20, &["only"]),
            task("sums", 40, &["right", "wrong"]),
        ]
        .into(),
        ..ModelScores::default()
    }
}

/// Checks the figures of tasks and questions by hand, and their forms against the snapshots.
#[test]
fn tasks_are_written_whole() {
    let base = answered("base", |number| number < 30, |number| number < 10, 3);
    let tuned = answered("tuned", |number| number % 5 == 0, |number| number < 14, 1);
    let report = ForgettingReport::new(&base, &[tuned], ReportSettings::default()).unwrap();
    let [cloze, sums] = &report.runs[0].tasks[..] else {
        panic!("{:?}", report.runs[0].tasks)
    };
    assert_eq!((&*sums.task, sums.items, sums.items_cut), ("sums", 40, 3));
    let lines = |numbers: &mut dyn Iterator<Item = u64>| -> Vec<u64> {
        numbers.map(|number| 2 * number + 1).collect()
    };
    let lost = lines(&mut (0..30).filter(|number| number % 5 != 0));
    assert_eq!((&sums.lost_lines, sums.lost.len()), (&lost, 20));
    assert_eq!(sums.won_lines, lines(&mut [30, 35].into_iter()));
    let first = &sums.lost[0];
    assert_eq!(
        (first.line, &*first.answer, first.chosen.as_deref()),
        (3, "right", Some("wrong"))
    );
    let by_length = sums.normalized_accuracy.unwrap();
    let values = [
        (sums.accuracy.base, 0.75),
        (sums.accuracy.tuned, 0.2),
        (sums.accuracy.change, -0.55),
        (by_length.base, 0.25),
        (by_length.tuned, 0.35),
        (by_length.change, 0.1),
        (cloze.accuracy.base, 1.0),
        (cloze.accuracy.tuned, 0.2),
        (report.runs[0].questions[0].accuracy.tuned, 5.0 / 24.0),
    ];
    for (found, expected) in values {
        assert!(
            (found.value - expected).abs() < 1e-12,
            "{found:?} {expected}"
        );
    }
    assert_eq!(
        (cloze.normalized_accuracy, cloze.lost[0].chosen.clone()),
        (None, None)
    );
    let questions = &report.runs[0].questions[0];
    assert_eq!((questions.count, questions.groups), (24, 12));
    let write = |folder: &Path| polymath_report::write(&report, folder).unwrap();
    check("tasks", "report", &report.table(), write);
}
