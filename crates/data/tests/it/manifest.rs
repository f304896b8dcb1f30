//! Test of every field of a dataset's manifest.

use polymath_data::{OnBadRecord, Split};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::desk::Desk;

const WORDS: [&str; 12] = [
    "river", "lamp", "bridge", "apples", "letter", "gate", "box", "road", "keys", "clock", "stone",
    "paper",
];

/// Returns a text of 16 words, which have four sequences of 13.
fn text(number: u32) -> String {
    let mut state = number * 7 + 3;
    let words = (0..14).map(|_| {
        state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        format!(
            "{}{}",
            WORDS[(state >> 8) as usize % 12],
            (state >> 16) % 50
        )
    });
    format!("é {number} {}", words.collect::<Vec<_>>().join(" "))
}

fn record(number: u32) -> String {
    json!({ "text": text(number) }).to_string() + "\n"
}

fn records(numbers: &[u32]) -> String {
    numbers.iter().map(|number| record(*number)).collect()
}

/// Checks every field against the sources: a domain with copies within it, of a held-out text and of another domain, an
/// empty text, two bad records, an unknown key and a file of plain text, and a domain without any of these.
#[test]
fn the_manifest_counts_every_document() {
    let mut desk = Desk::new();
    desk.config.seed = 9;
    let keyed: String = (0..5u32)
        .map(|number| json!({"text": text(number), "url": "u"}).to_string() + "\n")
        .collect();
    let odd = "{\"text\": \" \\n\"}\nno JSON\n{\"text\": 7}\n";
    let law = keyed + &records(&[5, 6, 7, 8, 9, 10, 11, 0]) + odd;
    desk.file("law.jsonl", law);
    desk.file("law.txt", text(20));
    let held = desk.file("law_held.jsonl", records(&[30, 31, 5]));
    desk.file("code.jsonl", records(&[40, 41, 7, 42]));
    let held_code = desk.file("code_held.jsonl", records(&[50, 51]));
    let domain = desk.domain("law", &["law.jsonl", "law.txt"]);
    (domain.heldout_paths, domain.on_bad_record) = (vec![held], Some(OnBadRecord::Skip));
    desk.domain("code", &["code.jsonl"]).heldout_paths = vec![held_code];
    let dataset = desk.prepare().unwrap();

    let tokenizer = dataset.tokenizer().unwrap();
    let digest = |name: &str| {
        let bytes = std::fs::read(dataset.path().join(name)).unwrap();
        let digest = Sha256::digest(bytes);
        digest
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let split = |domain: &str, split: Split, numbers: &[u32]| -> Value {
        let texts: Vec<String> = numbers.iter().map(|number| text(*number)).collect();
        let tokens = texts.iter().map(|text| {
            let encoding = tokenizer.encode(text.as_str(), false).unwrap();
            encoding.get_ids().len() + 1
        });
        json!({
            "documents": texts.len(), "groups": texts.len(), "tokens": tokens.sum::<usize>(),
            "bytes": texts.iter().map(String::len).sum::<usize>(),
            "sha256": digest(&format!("{domain}/{}", split.file_name()))
        })
    };
    let overlap = |train: &str, heldout: &str, ngrams: u32| {
        json!({
            "train": train, "heldout": heldout, "exact_share": 0.0, "ngram_share": 0.0, "ngrams": ngrams
        })
    };
    let path = dataset.path().join("dataset.json");
    let mut found: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let source = found.as_object_mut().unwrap().remove("source").unwrap();
    assert_eq!(source.as_str().unwrap().len(), 64);
    assert_eq!(
        found,
        json!({
            "schema": 1, "reads_all_text": true, "seed": 9, "heldout_fraction": 0.2,
            "tokenizer": {
                "vocab_size": 300, "sha256": digest("tokenizer.json"), "bos_token_id": 0, "eos_token_id": 0
            },
            "end_sources": {"begin": "the trained tokenizer", "end": "the trained tokenizer"},
            "domains": {
                "code": {
                    "train": split("code", Split::Train, &[40, 41, 7, 42]),
                    "heldout": split("code", Split::Heldout, &[50, 51]),
                    "files": 2, "read": 6, "duplicates_dropped": 0, "duplicates_across_domains": 0, "empty_dropped": 0,
                    "cut_documents": 0, "group": "record", "questions": 0
                },
                "law": {
                    "train": split("law", Split::Train, &[0, 1, 2, 3, 4, 6, 8, 9, 10, 11, 20]),
                    "heldout": split("law", Split::Heldout, &[30, 31, 5]),
                    "files": 3, "read": 18, "duplicates_dropped": 3, "duplicates_across_domains": 1, "empty_dropped": 1,
                    "bad_records_dropped": 2, "cut_documents": 0, "group": "document", "questions": 0,
                    "notes": {"unused_keys": {"url": 5}}
                }
            },
            "overlaps": [
                overlap("code", "code", 8), overlap("law", "code", 8), overlap("code", "law", 12),
                overlap("law", "law", 12)
            ]
        })
    );
}
