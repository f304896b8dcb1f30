//! Tests of the text and the models of an audit: the tokens that documents begin with, the recorded digest, and
//! imported files.

use serde_json::{Value, json};

use super::{copy_model, models};
use crate::support::fixture::{polymath, read_json, succeed, write};

/// Checks that the bundled text begins with the base's begin token where it ends with another, and that
/// `audit.json` has the digest of the documentation and the settings of the flags.
#[test]
fn text_begins_as_the_base_expects() {
    let at = models();
    for (name, copy) in [("plain", "begun"), ("tuned", "begun-tuned")] {
        copy_model(&at.join(name), &at.join(copy));
        let path = at.join(copy).join("config.json");
        let mut config = read_json(&path);
        config["bos_token_id"] = 9.into();
        std::fs::write(&path, config.to_string()).unwrap();
    }
    let audit = [
        "audit",
        "begun",
        "begun-tuned",
        "--limit",
        "1000",
        "--tokens",
        "2000",
        "--seed",
        "7",
        "-o",
        "begun-audit",
    ];
    // So few documents leave the verdict open.
    polymath(at).args(audit).assert().code(4);
    let dataset = read_json(&at.join("begun-audit/dataset/dataset.json"));
    let end = read_json(&at.join("begun/config.json"))["eos_token_id"].clone();
    let ends = &dataset["tokenizer"];
    assert_eq!(
        (&ends["bos_token_id"], &ends["eos_token_id"]),
        (&json!(9), &end)
    );
    let audited = read_json(&at.join("begun-audit/audit.json"));
    let text = &audited["settings"]["text"];
    let page = include_str!("../../../docs/reference/audit-set.md");
    for (key, said) in [("version", "version"), ("sha256", "SHA-256")] {
        let value = text[key].to_string();
        let cell = value.trim_matches('"');
        let rows = [
            format!("| {said} | {cell} |"),
            format!("| {said} | `{cell}` |"),
        ];
        assert!(rows.iter().any(|row| page.contains(row)), "{key}: {value}");
    }
    assert_eq!(
        (
            &audited["settings"]["tokens"],
            &audited["settings"]["limit"]
        ),
        (&json!(2000), &json!(1000.0))
    );
    let report = &audited["report"];
    let settings = ["seed", "tolerance", "max_tokens"].map(|key| report["settings"][key].clone());
    assert_eq!(settings, [json!(7), json!(1000.0), json!(2000)]);
}

/// Checks that a GGUF file of another content is another model, though its name and the audit's folder are the same,
/// and that its figures are those of the folder that it was made from.
#[test]
fn another_file_of_the_same_name_is_another_model() {
    let at = models();
    write(at, "imported/.keep", "");
    let audited = |tuned: &str| -> Value {
        let arguments = [
            "audit",
            "plain",
            tuned,
            "--limit",
            "1000",
            "--tokens",
            "2000",
            "--precision",
            "f32",
        ];
        polymath(at)
            .args(arguments)
            .args(["-o", "imported-audit"])
            .assert()
            .code(4);
        let found = read_json(&at.join("imported-audit/audit.json"));
        let domains = found["report"]["runs"][0]["domains"]
            .as_array()
            .unwrap()
            .iter();
        domains.map(|domain| domain["change"].clone()).collect()
    };
    let mut changes = Vec::new();
    for model in ["tuned", "merged"] {
        let file = at.join("imported/model.gguf");
        let _ = std::fs::remove_file(&file);
        succeed(
            at,
            &[
                "export",
                model,
                "--gguf",
                "imported/model.gguf",
                "--type",
                "f32",
            ],
        );
        let of_file = audited("imported/model.gguf");
        let of_folder = audited(model);
        let pairs = of_file
            .as_array()
            .unwrap()
            .iter()
            .zip(of_folder.as_array().unwrap());
        for (file, folder) in pairs {
            let apart = file.as_f64().unwrap() - folder.as_f64().unwrap();
            assert!(apart.abs() < 1e-6, "{model}: {file} {folder}");
        }
        changes.push(of_file);
    }
    assert_ne!(changes[0], changes[1]);
}
