//! Tests of domains that have held-out files and no training text.

use polymath_data::{BatchShape, MixturePart, MixtureStream, Split};

use crate::support::desk::{Desk, sentences};

/// Checks that a domain with held-out files alone keeps every document for scoring, that it can't be trained on, and
/// that it trains no tokenizer.
#[test]
fn a_domain_of_heldout_files_is_only_scored() {
    let mut desk = Desk::new();
    desk.file("atoms.jsonl", sentences("Atom", 60));
    let judged = desk.file("judged.jsonl", sentences("Judge", 40));
    desk.domain("atoms", &["atoms.jsonl"]);
    desk.domain("judged", &[]).heldout_paths = vec![judged];
    let dataset = desk.prepare().unwrap();
    let written = &dataset.manifest().domains["judged"];
    assert_eq!(
        (written.train.documents, written.heldout.documents),
        (0, 40)
    );
    let shard = dataset.shard("judged", Split::Heldout).unwrap();
    assert_eq!(shard.documents(), 40);
    let part = MixturePart {
        name: "judged".into(),
        shard: dataset.shard("judged", Split::Train).unwrap(),
        weight: 1.0,
    };
    let shape = BatchShape {
        rows: 2,
        sequence_length: 8,
    };
    let refused = MixtureStream::new(vec![part], shape, 0, 1);
    let error = refused.err().unwrap().to_string();
    assert!(
        error.contains("judged") && error.contains("no tokens"),
        "{error}"
    );

    desk.config.domains.remove("atoms");
    desk.config.output = desk.folder.path().join("other");
    let error = desk.prepare().unwrap_err().to_string();
    assert!(
        error.contains("tokenizer") && error.contains("`path`"),
        "{error}"
    );
    desk.config.tokenizer.vocab_size = None;
    desk.config.tokenizer.sample_bytes = None;
    desk.config.tokenizer.path = Some(dataset.tokenizer_path());
    assert_eq!(desk.prepare().unwrap().domain_names(), ["judged"]);
}
