//! Tests of the evidence against values computed separately: documents with known changes, token groups by frequency,
//! and questions.

use std::collections::BTreeMap;
use std::f64::consts::LN_2;

use polymath_data::{
    DomainConfig, NoProgress, PrepareConfig, TokenShard, TokenizerConfig, prepare,
};

use super::*;

const DOMAIN: &str = "letters";
/// Increase in bits of each token of a document, by the document's index modulo the length. Documents that are too
/// short to be shown have another one.
const RISES: [f64; 5] = [0.25, -1.0, 2.0, 0.5, 1.0];
/// Number of prompt tokens at the beginning of each document.
const PROMPT: usize = 3;

fn rise(shard: &TokenShard, document: usize) -> f64 {
    match shard.document(document).bytes {
        0..200 => 5.0,
        _ => RISES[document % RISES.len()],
    }
}

/// Returns a dataset of 120 documents, a third of which are too short to be shown, and 30 questions.
fn dataset(folder: &std::path::Path) -> Dataset {
    let text = |number: usize| {
        let word = |at: usize| format!("{} ", (number * 7 + at * at) % 97);
        (0..if number.is_multiple_of(3) {
            5
        } else {
            90 + number
        })
            .map(word)
            .collect::<String>()
    };
    let line = |number: usize| serde_json::json!({ "text": text(number) }).to_string() + "\n";
    let documents: String = (0..120).map(line).collect();
    let question = |at: usize| {
        serde_json::json!({ "prompt": format!("{at}?"), "answer": "a" }).to_string() + "\n"
    };
    let questions: String = (0..30).map(question).collect();
    let write = |name: &str, text: String| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let domain = DomainConfig {
        paths: vec![write("letters.jsonl", documents).display().to_string()],
        questions: Some(write("questions.jsonl", questions)),
        ..DomainConfig::default()
    };
    let config = PrepareConfig {
        output: folder.join("data"),
        heldout_fraction: 0.3,
        seed: 0,
        tokenizer: TokenizerConfig {
            vocab_size: Some(280),
            ..TokenizerConfig::default()
        },
        domains: BTreeMap::from([(DOMAIN.to_owned(), domain)]),
    };
    prepare(&config, false, &NoProgress).unwrap()
}

/// Returns scores of a model in which each token costs one bit plus `by` times the increase of its document in
/// [`RISES`].
fn scores(shard: &TokenShard, by: f64) -> DomainScores {
    let tokens = |document: usize| {
        let bits = 1.0 + by * rise(shard, document);
        let nats = |at: usize| match at < PROMPT {
            true => f32::NAN,
            false => (bits * LN_2) as f32,
        };
        let length = shard.document(document).len();
        TokenScores {
            document: document as u32,
            nats: (0..length).map(nats).collect(),
        }
    };
    DomainScores {
        tokens_of: (0..shard.documents()).map(tokens).collect(),
        ..DomainScores::default()
    }
}

fn near(found: f64, expected: f64) {
    assert!(
        (found - expected).abs() < 1e-3,
        "{found} and not {expected}"
    );
}

/// Checks that a loss in the first 16 tokens of each document is found there and nowhere else, and tokens beyond the
/// context are left out.
#[test]
fn losses_are_found_by_position() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = dataset(folder.path());
    let shard = dataset.shard(DOMAIN, Split::Heldout).unwrap();
    let base = scores(&shard, 0.0);
    let mut tuned = base.clone();
    for document in &mut tuned.tokens_of {
        let first = document.nats.iter_mut().take(16);
        first.for_each(|nats| *nats += 2.0 * LN_2 as f32);
    }
    let evidence = Evidence {
        dataset: &dataset,
        domain: DOMAIN,
        base: &base,
        tuned: &tuned,
        answers: (&[], &[]),
        generated: &BTreeMap::new(),
        context: 64,
        seed: 1,
    };
    let found = evidence.gather().unwrap().positions;
    let expected = [((1, Some(16)), 2.0), ((17, Some(64)), 0.0)];
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (found, (place, change)) in found.iter().zip(expected) {
        assert_eq!(found.tokens_of_document, place);
        near(found.change, change);
        let (from, to) = (place.0 as usize - 1, place.1.unwrap() as usize);
        let lengths = (0..shard.documents()).map(|at| shard.document(at).len());
        let tokens = lengths.map(|length| length.min(to).saturating_sub(from.max(PROMPT)));
        assert_eq!(found.tokens, tokens.sum::<usize>() as u64);
    }
}

#[test]
fn losses_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = dataset(folder.path());
    let shard = dataset.shard(DOMAIN, Split::Heldout).unwrap();
    // Both models answer the first question, only the base the next 23, and only the tuned model the last.
    let answers: (Vec<bool>, Vec<bool>) = (0..30).map(|at| (at < 24, at == 0 || at == 29)).unzip();
    let evidence = Evidence {
        dataset: &dataset,
        domain: DOMAIN,
        base: &scores(&shard, 0.0),
        tuned: &scores(&shard, 1.0),
        answers: (&answers.0, &answers.1),
        generated: &BTreeMap::from([(12, "no".to_owned()), (29, "unused".to_owned())]),
        context: 64,
        seed: 1,
    };
    let found = evidence.gather().unwrap();
    assert_eq!((found.questions_lost, found.questions.len()), (23, 20));
    let shown = |at: usize| {
        let question = &found.questions[at];
        (question.prompt.as_str(), question.generated.as_deref())
    };
    // The question with a generated answer is first, the others keep their order.
    assert_eq!(shown(0), ("12?", Some("no")));
    assert_eq!((shown(1), shown(19)), (("1?", None), ("20?", None)));
    assert_worst_documents(&found.documents, &shard);
    assert_frequencies(&found.frequencies, &dataset, &shard);
}

/// Asserts that the three documents with the largest loss per byte are shown, the worst first, and none that is too
/// short.
fn assert_worst_documents(found: &[WorstDocument], shard: &TokenShard) {
    let change = |document: &usize| {
        let stored = shard.document(*document);
        (stored.len() - PROMPT) as f64 * rise(shard, *document) / stored.bytes as f64
    };
    let long = |document: &usize| shard.document(*document).bytes >= 200;
    let (mut worst, short): (Vec<usize>, Vec<usize>) = (0..shard.documents()).partition(long);
    let by_change = |a: &usize, b: &usize| change(b).total_cmp(&change(a));
    worst.sort_by(by_change);
    assert!(
        worst.len() > 5
            && short
                .iter()
                .any(|document| change(document) > change(&worst[0]))
    );
    assert_eq!(found.len(), 3);
    for (found, expected) in found.iter().zip(worst) {
        let stored = shard.document(expected);
        assert_eq!(found.document as usize, expected);
        assert_eq!(
            (found.bytes, found.tokens),
            (stored.bytes, stored.len() - 1)
        );
        near(found.change, change(&expected));
        // Each token of the section is a piece, and the section is within the document.
        let unscored = PROMPT.saturating_sub(found.from);
        assert_eq!(found.pieces.len(), WINDOW.min(found.tokens));
        for (at, piece) in found.pieces.iter().enumerate() {
            assert_eq!(piece.change.is_none(), at < unscored);
            near(
                piece.change.unwrap_or(rise(shard, expected)),
                rise(shard, expected),
            );
        }
    }
}

/// Asserts the mean increase over the scored tokens of each frequency group, with a separate count of the training
/// text.
fn assert_frequencies(found: &[FrequencyGroup], dataset: &Dataset, shard: &TokenShard) {
    let tokens_of = |shard: &TokenShard, index: usize| {
        let mut tokens = Vec::new();
        shard
            .document(index)
            .copy_tokens(0..shard.document(index).len(), &mut tokens);
        tokens
    };
    let train = dataset.shard(DOMAIN, Split::Train).unwrap();
    let all: Vec<u32> = (0..train.documents())
        .flat_map(|index| tokens_of(&train, index))
        .collect();
    let name = |token: u32| {
        let count = all.iter().filter(|other| **other == token).count();
        match count * 1_000_000 / all.len() {
            10_000.. => "over 10 000",
            1_000.. => "1 000 to 10 000",
            100.. => "100 to 1 000",
            10.. => "10 to 100",
            _ => "under 10, or never",
        }
    };
    let mut groups: BTreeMap<&str, (u64, f64)> = BTreeMap::new();
    for document in 0..shard.documents() {
        for token in tokens_of(shard, document).into_iter().skip(PROMPT) {
            let (tokens, sum) = groups.entry(name(token)).or_default();
            (*tokens, *sum) = (*tokens + 1, *sum + rise(shard, document));
        }
    }
    assert!(groups.len() > 1, "{groups:?}");
    assert_eq!(found.len(), groups.len());
    for group in found {
        let (tokens, sum) = groups[group.frequency.as_str()];
        assert_eq!(group.tokens, tokens, "{}", group.frequency);
        near(group.change, sum / tokens as f64);
    }
}

/// Checks that the section with the largest loss is found. Unscored tokens count as no change.
#[test]
fn worst_section_is_found() {
    let mut changes = vec![Some(0.1); 500];
    changes[300..310].fill(Some(2.0));
    changes[40] = None;
    let from = worst_section(&changes);
    assert!((190..=300).contains(&from), "{from}");
    assert_eq!(worst_section(&changes[..50]), 0);
    assert_eq!(worst_section(&[]), 0);
}

/// Checks that an incomplete character is recognized, and that an invalid byte is not taken for one.
#[test]
fn incomplete_characters_are_detected() {
    assert!(is_cut("é".as_bytes().split_at(1).0));
    assert!(is_cut(&"a🙂".as_bytes()[..3]));
    assert!(!is_cut("é".as_bytes()));
    assert!(!is_cut(&[0xa9]));
    assert!(!is_cut(b""));
}
