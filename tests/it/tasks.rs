//! Tests of multiple-choice tasks through the binary: scored, written item by item, compared in the report, and
//! refused if invalid.

use std::path::Path;

use predicates::str::contains;
use serde_json::{Value, json};

use crate::support::fixture::polymath;

fn write_lines(folder: &Path, name: &str, lines: impl Iterator<Item = Value>) {
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// Trains a base on letters and tunes it to digits until it has forgotten the letters.
fn make_runs(folder: &Path) {
    let text = |signs: &[&str], number: usize| {
        let words: Vec<&str> = (0..30 + number)
            .map(|at| signs[(at + number) % signs.len()])
            .collect();
        json!({ "text": words.join(" ") })
    };
    let [letters, digits]: [&[&str]; 2] = [&["ab", "cd", "ef"], &["12", "34", "56"]];
    write_lines(folder, "letters.jsonl", (0..60).map(|n| text(letters, n)));
    write_lines(folder, "digits.jsonl", (0..60).map(|n| text(digits, n)));
    let prepare = "output = \"data\"\nheldout_fraction = 0.3\n[tokenizer]\nvocab_size = 290\n[domains.letters]\n\
                   paths = [\"letters.jsonl\"]\n[domains.digits]\npaths = [\"digits.jsonl\"]\n";
    let pretrain = "dataset = \"data\"\nrun = \"base\"\n[mixture]\ndomains = [\"letters\"]\n[model]\nhidden_size = 32\n\
                    num_hidden_layers = 1\nnum_attention_heads = 2\n[training]\nsteps = 60\nbatch_size = 4\n\
                    sequence_length = 32\nlearning_rate = 1e-2\n[evaluation]\nevery = 60\n";
    let finetune = "base = \"base\"\ndataset = \"data\"\ndomain = \"digits\"\nretain = \"data\"\nrun = \"tuned\"\n\
                    [training]\nsteps = 150\nbatch_size = 4\nlearning_rate = 1e-2\n[evaluation]\nevery = 150\n";
    for (name, text) in [
        ("prepare", prepare),
        ("pretrain", pretrain),
        ("finetune", finetune),
    ] {
        std::fs::write(folder.join(format!("{name}.toml")), text).unwrap();
        let config = format!("{name}.toml");
        polymath(folder).args([name, &config]).assert().success();
    }
}

fn write_tasks(folder: &Path) {
    let choices = (0..8).map(|number| {
        let answer = number % 2;
        let mut choices = ["cd", "34"];
        choices.swap(0, answer);
        json!({ "context": "ef ab cd ef ab", "choices": choices, "answer": answer })
    });
    write_lines(folder, "tasks/letters.jsonl", choices);
    let cloze = json!({ "context": "ef ab cd ef ab", "choices": ["cd"], "answer": 0 });
    write_lines(folder, "tasks/next.jsonl", std::iter::once(cloze));
}

/// Checks that a base is scored that solves the tasks, and a tuned model that no longer does; that the report lists
/// the lost items, on its page too; and that an invalid task is refused.
#[test]
fn tasks_are_scored_and_compared() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    make_runs(at);
    write_tasks(at);
    let scored = ["evaluate", "base", "--tasks", "tasks", "--json"];
    let output = polymath(at)
        .args(scored)
        .args(["--items", "items.jsonl"])
        .output()
        .unwrap();
    let scores: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(scores["tasks"]["letters"]["items"], 8);
    assert_eq!(scores["tasks"]["letters"]["acc"]["value"], 1.0);
    assert_eq!(scores["tasks"]["letters"]["acc_norm"]["value"], 1.0);
    assert_eq!(scores["tasks"]["next"]["acc"]["value"], 1.0);
    assert_eq!(scores["tasks"]["next"]["acc_norm"], Value::Null);
    let items = std::fs::read_to_string(at.join("items.jsonl")).unwrap();
    let items: Vec<Value> = items
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(items.len(), 9);
    for item in &items[..8] {
        assert_eq!(item["choice"], item["answer"]);
        let [right, wrong] = [0, 1].map(|at| {
            let place = (item["answer"].as_u64().unwrap() as usize + at) % 2;
            item["log_likelihoods"][place].as_f64().unwrap()
        });
        assert!(wrong < right && right < 0.0, "{item}");
    }

    polymath(at)
        .args(["report", "base", "tuned", "base", "--dataset", "data"])
        .args(["--tasks", "tasks", "-o", "report"])
        .assert()
        .success()
        .stdout(contains("letters acc: 100"));
    let text = std::fs::read_to_string(at.join("report/report.json")).unwrap();
    let report: Value = serde_json::from_str(&text).unwrap();
    let [tuned, itself] = [0, 1].map(|run| report["runs"][run]["tasks"][0].clone());
    assert_eq!(tuned["task"], "letters");
    assert_eq!(tuned["acc"]["change"]["value"], -1.0);
    assert_eq!(tuned["lost_lines"].as_array().unwrap().len(), 8);
    assert_eq!(tuned["lost"][0]["answer"], "cd");
    assert_eq!(tuned["lost"][0]["chosen"], "34");
    assert!(tuned["acc"]["p_value"].as_f64() < Some(0.01));
    assert_eq!(itself["acc"]["change"]["value"], 0.0);
    assert_eq!(itself["acc"]["p_value"], 1.0);
    for file in ["report.html", "report.md"] {
        let page = std::fs::read_to_string(at.join("report").join(file)).unwrap();
        assert!(page.contains("ef ab cd ef ab") && page.contains("acc_norm"));
    }

    let refused = |arguments: &[&str], what: &str| {
        let refusal = polymath(at)
            .args(["evaluate", "base"])
            .args(arguments)
            .assert();
        refusal.code(2).stderr(contains(what));
    };
    refused(&["--tasks", "missing.jsonl"], "missing.jsonl");
    let item = json!({ "context": "a", "choices": ["b", "c"], "answer": 5 });
    write_lines(at, "wrong.jsonl", std::iter::once(item));
    refused(&["--tasks", "wrong.jsonl"], "from 0 to 1");
    refused(&["--items", "items.jsonl"], "--tasks");
}
