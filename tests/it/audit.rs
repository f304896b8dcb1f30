//! Tests of `polymath audit`: the report of valid comparisons, and planted faults, each named and without a figure.

mod models;
mod texts;

use std::cell::Cell;
use std::path::PathBuf;

use candle_core::Device;
use polymath_model::{Implementation, Precision};
use polymath_report::audit::{AuditVerdict, FindingKind};
use polymath_study::audit::{AuditOptions, audit};
use polymath_study::{Scored, Setup, StudyProgress};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::{Value, json};

use self::models::{copy_model, foreign, models, run};
use crate::support::fixture::{polymath, read_json, succeed, write};

/// Checks that whole models and adapters of other programs are reported without findings, that the base against itself
/// is exactly 0, and that the verdict gives the exit code.
#[test]
fn a_valid_audit_ends_with_the_report() {
    let found = run(&["plain", "tuned", "foreign", "--limit", "1000"]);
    assert_eq!(
        (found.code, &found.json["verdict"]),
        (0, &json!("kept")),
        "{}",
        found.told
    );
    assert!(found.kinds().is_empty(), "{}", found.told);
    let again = found.json["base_again"].as_object().unwrap();
    assert!(
        again.len() == 1 && again.values().all(|change| *change == json!(0.0)),
        "{again:?}"
    );
    let runs = found.json["report"]["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 2);
    assert!(runs[0]["domains"].as_array().unwrap().len() >= 4);
    assert!(
        found.page.contains("a change of exactly 0") && found.page.contains("Retained domains")
    );

    let own = [
        "plain",
        "tuned",
        "--texts",
        "counting.jsonl",
        "--texts",
        "niche=letters.jsonl",
        "--niche",
        "niche",
    ];
    let found = run(&own);
    assert_eq!(
        (found.code, &found.json["verdict"]),
        (3, &json!("broken")),
        "{}",
        found.told
    );
    assert!(
        found.told.contains("forgot") && found.told.contains("counting"),
        "{}",
        found.told
    );
    let domains = found.json["report"]["runs"][0]["domains"]
        .as_array()
        .unwrap();
    let of = |name: &str| {
        domains
            .iter()
            .find(|domain| domain["name"] == name)
            .unwrap()
    };
    assert_eq!(of("niche")["role"], "niche");
    assert!(of("niche")["change"].as_f64() < Some(0.0));
    assert_eq!(
        (&of("counting")["role"], &of("counting")["verdict"]),
        (&json!("retained"), &json!("forgotten"))
    );
}

/// Checks that runs of this program are compared by the digests that they record, and that `--json` prints the file.
#[test]
fn runs_of_this_program_are_verified_by_their_digests() {
    let settings = ["--limit", "1000", "--precision", "f32", "--json"];
    let found = run(&[&["base", "full", "lora"][..], &settings].concat());
    assert_eq!(found.code, 0);
    let printed: Value = serde_json::from_str(&found.told).unwrap();
    assert_eq!(printed, found.json);
    assert_eq!(printed["findings"], json!([]));
    assert_eq!(printed["settings"]["precision"], "f32");
}

/// Checks that a base into which the adapter was merged is named: against the original base, by the adapter's record,
/// and from the weights alone when the merged model replaced the base.
#[test]
fn a_base_that_carries_the_adapter_is_named() {
    for adapter in ["lora", "foreign"] {
        let found = run(&["merged", adapter]);
        found.refuses("base_carries_adapter");
        assert!(found.what().contains("1.00 times"), "{}", found.what());
    }
    let at = models();
    foreign(at, "of-merged", "merged");
    run(&["merged", "of-merged"]).refuses("base_carries_adapter");
    // The same adapter on a base that does not carry it, which nothing on this machine verifies.
    foreign(at, "of-unknown", "someone/unknown");
    let found = run(&["plain", "of-unknown", "--limit", "1000"]);
    assert_eq!(
        (found.kinds(), found.code),
        (vec!["unverified_base"], 0),
        "{}",
        found.told
    );
}

/// Checks that a base that is not the base is named: by digest, by the weights of the named base, and by distance.
#[test]
fn a_base_that_is_not_the_base_is_named() {
    for tuned in ["full", "lora", "foreign"] {
        run(&["stranger", tuned]).refuses("wrong_base");
    }
    let found = run(&["stranger", "tuned"]);
    found.refuses("wrong_base");
    assert!(found.what().contains("1.4"), "{}", found.what());
}

/// Checks that a model against itself is refused: every change would be 0.
#[test]
fn a_base_against_itself_gives_no_verdict() {
    let found = run(&["plain", "plain"]);
    found.refuses("same_weights");
}

/// Checks that an adapter on the base is named: beside the base's weights, and as the base itself.
#[test]
fn an_adapter_left_on_the_base_is_named() {
    let at = models();
    copy_model(&at.join("plain"), &at.join("laden"));
    foreign(at, "beside", "plain");
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        std::fs::copy(at.join("beside").join(name), at.join("laden").join(name)).unwrap();
    }
    let found = run(&["laden", "tuned"]);
    found.refuses("adapter_on_base");
    assert!(
        found.what().contains("adapter_config.json"),
        "{}",
        found.what()
    );
    run(&["foreign", "tuned"]).refuses("adapter_on_base");
}

/// Checks that one added token, another chat template and another end token are named, and do not stop the comparison.
#[test]
fn differences_of_tokenizer_and_template_are_named() {
    let at = models();
    copy_model(&at.join("tuned"), &at.join("dressed"));
    copy_model(&at.join("plain"), &at.join("templated"));
    let path = at.join("dressed/tokenizer.json");
    let mut tokenizer = read_json(&path);
    let added = json!({
        "id": 280, "content": "<tool>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true
    });
    tokenizer["added_tokens"]
        .as_array_mut()
        .unwrap()
        .push(added);
    std::fs::write(&path, tokenizer.to_string()).unwrap();
    write(
        at,
        "templated/chat_template.jinja",
        "{% for m in messages %}{{ m.content }}\n{% endfor %}",
    );
    write(
        at,
        "dressed/chat_template.jinja",
        "{% for m in messages %}{{ m.role }}{% endfor %}",
    );
    let found = run(&["templated", "dressed", "--limit", "1000", "--prompts", "8"]);
    assert_eq!(
        found.kinds(),
        ["tokenizer", "chat_template"],
        "{}",
        found.told
    );
    assert_eq!(found.code, 0, "{}", found.told);
    assert!(
        found
            .what()
            .contains("1 token more than the base's: `<tool>` ("),
        "{}",
        found.what()
    );
    assert!(found.what().contains("{{ m.role }}"), "{}", found.what());
    let behavior = found.json["behavior"].as_array().unwrap();
    let counts = behavior
        .iter()
        .map(|report| report["count"].as_u64().unwrap());
    assert_eq!(counts.collect::<Vec<_>>(), [8, 4, 4], "{}", found.told);
    assert!(
        found.page.contains("harmful requests refused"),
        "{}",
        found.page
    );
    let without = run(&["plain", "tuned", "--limit", "1000"]);
    let why = without.json["behavior_left_out"].as_str().unwrap();
    assert!(
        why.contains("plain") && why.contains("no chat template"),
        "{why}"
    );
    assert!(
        without.page.contains("no chat template"),
        "{}",
        without.page
    );
}

/// Progress receiver that replaces the base's weights while the first tuned model is scored.
struct Swaps {
    begun: Cell<usize>,
    at: usize,
    from: PathBuf,
    to: PathBuf,
}

impl StudyProgress for Swaps {
    fn say(&self, _text: &str) {}

    fn begin(&self, _scored: Scored) {
        self.begun.set(self.begun.get() + 1);
        if self.begun.get() == self.at {
            let beside = self.to.with_extension("new");
            std::fs::copy(&self.from, &beside).unwrap();
            std::fs::rename(&beside, &self.to).unwrap();
        }
    }
}

/// Checks that a base that does not score exactly as before is named, and that no figure is left.
#[test]
fn a_base_that_changes_between_its_scores_is_named() {
    let at = models();
    copy_model(&at.join("plain"), &at.join("fleeting"));
    let output = tempfile::tempdir().unwrap();
    let audited = |swapped_at| {
        let progress = Swaps {
            begun: Cell::new(0),
            at: swapped_at,
            from: at.join("merged/model.safetensors"),
            to: at.join("fleeting/model.safetensors"),
        };
        let setup = Setup {
            device: Device::Cpu,
            implementation: Implementation::default(),
            precision: Precision::F32,
            progress: &progress,
        };
        let options = AuditOptions {
            tokens: 4000,
            ..AuditOptions::in_folder(output.path().into())
        };
        audit(&at.join("fleeting"), &[at.join("tuned")], &options, &setup).unwrap()
    };
    let domains = audited(usize::MAX).report.unwrap().runs[0].domains.len();
    let found = audited(domains + 1);
    assert_eq!(found.verdict, AuditVerdict::Invalid);
    assert_eq!(found.findings[0].kind, FindingKind::BaseNotExact);
    assert!(found.report.is_none());
}

/// Checks that GGUF files are audited like folders.
#[test]
fn gguf_files_are_audited() {
    let at = models();
    for name in ["plain", "tuned"] {
        let file = format!("{name}.gguf");
        succeed(at, &["export", name, "--gguf", &file, "--type", "f32"]);
    }
    let found = run(&["plain.gguf", "tuned.gguf", "--limit", "1000"]);
    assert_eq!((found.code, found.kinds().len()), (0, 0), "{}", found.told);
}

/// Checks that names of texts that clash, and a niche without text, are refused before anything is scored.
#[test]
fn impossible_audits_are_refused() {
    let at = models();
    let refused = |arguments: &[&str], message: &str| {
        let mut command = polymath(at);
        command
            .args(["audit", "plain", "tuned", "-o", "refused"])
            .args(arguments);
        command.assert().code(2).stderr(contains(message));
    };
    refused(
        &["--texts", "a=letters.jsonl", "--texts", "a=counting.jsonl"],
        "my-a=",
    );
    refused(&["--niche", "law"], "--texts law=");
    refused(&["--texts", "law=missing.txt"], "missing.txt");
    refused(&["--texts", "law="], "NAME=PATH");
    let mut command = polymath(at);
    command.args(["audit", "plain", "nowhere", "-o", "refused"]);
    command
        .assert()
        .failure()
        .stderr(contains("nowhere").and(contains("checkpoint")));
}
