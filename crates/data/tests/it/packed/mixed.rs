//! Tests of packed rows in mixtures of several domains, and of replayed packed rows.

use super::*;

/// Checks that a domain's weight is its share of the tokens, without padding, even if its rows are padded.
#[test]
fn shares_are_of_tokens() {
    let padded = shard(&vec![vec![(15, 5)]; 40]); // one example of 20 tokens per row of 32
    let full = shelf::numbered(&[3000]);
    let stream = stream(
        vec![part("a", &padded, 1.0), part("b", &full, 3.0)],
        8,
        32,
        2,
    );
    let mut tokens = [0, 0];
    let mut all = 0;
    for step in 0..256 {
        let batch = stream.batch(step);
        all += batch.tokens();
        for (row, part) in batch.domains.iter().enumerate() {
            let range = row * 32..(row + 1) * 32;
            let padding = batch.input_ids[range]
                .iter()
                .filter(|id| **id == BOS)
                .count() as u64;
            tokens[*part] += match part {
                0 => 33 - padding, // the first token of the example has the same input
                _ => 32,
            };
        }
    }
    assert_eq!(tokens.iter().sum::<u64>(), all);
    let share = tokens[0] as f64 / all as f64;
    assert!((share - 0.25).abs() < 0.002, "{share}");
    let padding = 1.0 - all as f64 / (256.0 * 8.0 * 32.0);
    assert!(
        (padding - stream.padding()).abs() < 0.002,
        "{padding} {}",
        stream.padding()
    );
}

/// Checks that replayed examples with prompts are packed like the niche's.
#[test]
fn replayed_examples_stay_whole() {
    let niche = shelf::numbered(&[500]);
    let old = shard(&vec![vec![(9, 4)]; 30]);
    let replay = Replay {
        share: 0.5,
        pool: Some(5),
        beside: false,
    };
    let niche = stream(vec![part("niche", &niche, 1.0)], 4, 32, 1);
    let old = stream(vec![part("old", &old, 1.0)], 1, 32, 2);
    assert!((old.padding() - 6.0 / 32.0).abs() < 1e-12);
    let stream = ReplayStream::new(niche, old, replay, 3).unwrap();
    assert!((stream.padding() - 3.0 / 32.0).abs() < 1e-12);
    let mut replayed = 0;
    for step in 0..20 {
        let batch = stream.batch(step);
        for row in (0..batch.rows).filter(|row| batch.is_replayed(*row)) {
            let targets = &batch.targets[row * 32..(row + 1) * 32];
            let scored = targets.iter().filter(|target| **target != IGNORED);
            assert_eq!(scored.count(), 8, "two whole examples a row");
            replayed += 1;
        }
    }
    assert_eq!(replayed, 40);
}
