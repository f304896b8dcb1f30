//! Tests of the overlap measurement between datasets.

use std::path::Path;

use polymath_data::{Dataset, NoProgress, Overlap, PrepareConfig, measure_overlaps, prepare};

fn dataset(folder: &Path, name: &str, mut config: serde_json::Value) -> Dataset {
    config["output"] = folder.join(name).to_str().into();
    let config: PrepareConfig = serde_json::from_value(config).unwrap();
    prepare(&config, false, &NoProgress).unwrap()
}

fn write(folder: &Path, name: &str, texts: impl Iterator<Item = String>) {
    let lines = texts.map(|text| format!("{}\n", serde_json::json!({ "text": text })));
    std::fs::write(folder.join(name), lines.collect::<String>()).unwrap();
}

/// Returns a sentence of 20 words that no other number gives, with multi-byte characters.
fn sentence(kind: &str, number: usize) -> String {
    (0..20)
        .map(|at| format!("{kind}{}é ", number * 20 + at))
        .collect()
}

/// Checks that held-out text in another dataset's training split is found, whole and in parts, and that within one
/// dataset the manifest's figures are returned.
#[test]
fn overlap_across_data_sets_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(
        at,
        "old.jsonl",
        (0..40).map(|number| sentence("old", number)),
    );
    write(
        at,
        "heldout.jsonl",
        (100..120).map(|number| sentence("old", number)),
    );
    write(
        at,
        "other.jsonl",
        (0..40).map(|number| sentence("other", number)),
    );
    // A quarter of the old held-out documents is in the niche whole, another quarter within longer documents.
    let niche = (100..110).map(|number| match number {
        ..105 => sentence("old", number).to_uppercase(),
        _ => format!("before {}after", sentence("old", number)),
    });
    write(
        at,
        "niche.jsonl",
        niche.chain((0..40).map(|number| sentence("niche", number))),
    );
    let retain = serde_json::json!({
        "heldout_fraction": 0.3,
        "tokenizer": { "vocab_size": 300 },
        "domains": {
            "old": { "paths": [at.join("old.jsonl")], "heldout_paths": [at.join("heldout.jsonl")] },
            "other": { "paths": [at.join("other.jsonl")] },
        },
    });
    let retain = dataset(at, "retain", retain);
    let tuned = serde_json::json!({
        "heldout_fraction": 0.01,
        "tokenizer": { "path": retain.tokenizer_path() },
        "domains": { "niche": { "paths": [at.join("niche.jsonl")] } },
    });
    let tuned = dataset(at, "tuned", tuned);
    let heldout = [
        retain.of_domain("old"),
        retain.of_domain("other"),
        tuned.of_domain("niche"),
    ];
    let found = measure_overlaps(&heldout, tuned.of_domain("niche")).unwrap();
    let names: Vec<(&str, &str)> = found
        .iter()
        .map(|pair| (pair.train.as_str(), pair.heldout.as_str()))
        .collect();
    assert_eq!(
        names,
        [("niche", "old"), ("niche", "other"), ("niche", "niche")]
    );
    let shares = |pair: &Overlap| (pair.exact_share, pair.ngram_share);
    let (exact, ngram) = shares(&found[0]);
    assert!((0.15..=0.25).contains(&exact), "{exact}");
    assert!((0.4..=0.5).contains(&ngram), "{ngram}");
    assert_eq!(shares(&found[1]), (0.0, 0.0));
    assert_eq!(found[2], tuned.manifest().overlaps[0]);
    let error = measure_overlaps(&heldout, tuned.of_domain("old")).unwrap_err();
    assert!(error.to_string().contains("`niche`"), "{error}");
}
