//! What training batches promise.

mod shelf;

use std::collections::BTreeMap;
use std::sync::Arc;

use polymath_data::{Batch, BatchShape, IGNORED, MixturePart, MixtureStream, TokenShard};
use proptest::prelude::*;

const BOS: u32 = 999;

fn stream(
    shards: &[(Arc<TokenShard>, f64)],
    rows: usize,
    length: usize,
    seed: u64,
) -> MixtureStream {
    let parts = shards
        .iter()
        .enumerate()
        .map(|(number, (shard, weight))| MixturePart {
            name: format!("domain {number}"),
            shard: shard.clone(),
            weight: *weight,
        });
    let shape = BatchShape {
        rows,
        sequence_length: length,
    };
    MixtureStream::new(parts.collect(), shape, BOS, seed).unwrap()
}

/// One position: what is read, what is predicted, where its document begins in the row.
type Position = (u32, u32, u32);

fn row(batch: &Batch, row: usize) -> Vec<Position> {
    let range = row * batch.sequence_length..(row + 1) * batch.sequence_length;
    range
        .map(|at| {
            (
                batch.input_ids[at],
                batch.targets[at],
                batch.document_starts[at],
            )
        })
        .collect()
}

/// A domain's positions over so many batches, in the order of its rows.
fn positions(stream: &MixtureStream, steps: u64, part: usize) -> Vec<Position> {
    let mut all = Vec::new();
    for step in 0..steps {
        let batch = stream.batch(step);
        for number in (0..batch.rows).filter(|row| batch.domains[*row] == part) {
            all.extend(row(&batch, number));
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// In each epoch every document stands exactly once, in an order of its own, each of its tokens predicted from the
    /// one before it, its first from the beginning-of-text token, and nothing where the mask says so.
    #[test]
    fn every_token_is_predicted_once_an_epoch(
        stories in shelf::stories(true),
        rows in 1..4usize,
        length in 1..50usize,
        seed in any::<u64>(),
    ) {
        let shard = shelf::shard(&stories);
        let stream = stream(&[(shard.clone(), 1.0)], rows, length, seed);
        let tokens = shard.tokens() as usize;
        let steps = (3 * tokens).div_ceil(rows * length) as u64;
        let stream = positions(&stream, steps, 0);
        for epoch in stream.chunks_exact(tokens) {
            let mut left = stories.clone();
            let mut rest = epoch;
            while !rest.is_empty() {
                prop_assert_eq!(rest[0].0, BOS);
                let end = 1 + rest[1..].iter().position(|at| at.0 == BOS).unwrap_or(rest.len() - 1);
                let (document, others) = rest.split_at(end);
                let found = left.iter().position(|story| reads_as(story, document));
                prop_assert!(found.is_some(), "no such document, or twice: {document:?}");
                left.swap_remove(found.unwrap());
                rest = others;
            }
            prop_assert!(left.is_empty());
        }
    }

    /// A document's start is the first of its positions in the row: the row's first, or where the beginning-of-text
    /// token is read.
    #[test]
    fn documents_start_where_they_start(stories in shelf::stories(false), length in 1..60usize, step in 0..9u64) {
        let stream = stream(&[(shelf::shard(&stories), 1.0)], 2, length, 5);
        let batch = stream.batch(step);
        for number in 0..2 {
            let mut start = 0;
            for (at, position) in row(&batch, number).into_iter().enumerate() {
                if position.0 == BOS {
                    start = at as u32;
                }
                prop_assert_eq!(position.2, start);
            }
        }
    }

    /// A batch depends on the seed and the step alone: not on what was asked for before, nor on the batch's size.
    #[test]
    fn a_batch_is_a_function_of_its_step(
        stories in shelf::stories(false),
        others in shelf::stories(false),
        mut order in Just((0..12u64).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let shards = [(shelf::shard(&stories), 1.0), (shelf::shard(&others), 2.5)];
        let one = stream(&shards, 4, 16, 3);
        let straight: Vec<Batch> = (0..12).map(|step| one.batch(step)).collect();
        order.extend([5, 5, 0]);
        for step in order {
            prop_assert_eq!(&one.batch(step), &straight[step as usize]);
        }
        prop_assert_eq!(&stream(&shards, 4, 16, 3).batch(7), &straight[7]);
        prop_assert_ne!(
            (0..12).map(|step| stream(&shards, 4, 16, 4).batch(step)).collect::<Vec<_>>(),
            straight.clone()
        );
        let wide = stream(&shards, 8, 16, 3).batch(2);
        let halves = [row(&wide, 1), row(&wide, 6)];
        prop_assert_eq!(halves, [row(&straight[4], 1), row(&straight[5], 2)]);
    }

    /// Over any stretch from the start, each domain has its share of the rows to within a few, and at the end of every
    /// block of 1024 to within one (the heaviest takes up what the others' rounding leaves).
    #[test]
    fn rows_follow_the_weights(weights in prop::collection::vec(0.01..1.0f64, 1..6), seed in any::<u64>()) {
        let shard = shelf::shard(&[vec![(7, true), (0, true)]]);
        let shards: Vec<_> = weights.iter().map(|weight| (shard.clone(), *weight)).collect();
        let stream = stream(&shards, 64, 1, seed);
        let sum: f64 = weights.iter().sum();
        let mut counts: BTreeMap<usize, f64> = BTreeMap::new();
        for step in 0..48u64 {
            for part in stream.batch(step).domains {
                *counts.entry(part).or_default() += 1.0;
            }
            let rows = 64.0 * (step + 1) as f64;
            let whole = (step + 1) % 16 == 0;
            let heaviest = weights.iter().cloned().fold(0.0, f64::max);
            for (part, weight) in weights.iter().enumerate() {
                let count = counts.get(&part).copied().unwrap_or(0.0);
                let off = (count - rows * weight / sum).abs();
                let most = if !whole {
                    weights.len() as f64 + 2.0
                } else if *weight < heaviest {
                    1.0
                } else {
                    0.5 * weights.len() as f64
                };
                prop_assert!(off <= most, "part {part}: off by {off} after {rows} rows");
            }
        }
    }
}

/// Whether `document` is all of `story`, each token predicted from the one before.
fn reads_as(story: &shelf::Story, document: &[Position]) -> bool {
    let inputs = std::iter::once(BOS).chain(story.iter().map(|token| token.0));
    let targets = story
        .iter()
        .map(|&(token, scored)| if scored { token } else { IGNORED });
    story.len() == document.len()
        && inputs
            .zip(targets)
            .zip(document)
            .all(|((input, target), at)| (input, target) == (at.0, at.1))
}

/// Two epochs go through the documents in different orders.
#[test]
fn epochs_differ() {
    let stories: Vec<shelf::Story> = (1..100)
        .map(|token| vec![(token, true), (0, true)])
        .collect();
    let shard = shelf::shard(&stories);
    let length = shard.tokens() as usize;
    let stream = stream(&[(shard, 1.0)], 1, length, 1);
    assert_ne!(stream.batch(0).targets, stream.batch(1).targets);
}

/// What can't be trained on is refused, by name.
#[test]
fn impossible_mixtures_are_refused() {
    let shard = shelf::shard(&[vec![(0, true)]]);
    let part = |weight| MixturePart {
        name: "poetry".into(),
        shard: shard.clone(),
        weight,
    };
    let shape = BatchShape {
        rows: 1,
        sequence_length: 8,
    };
    for parts in [
        vec![],
        vec![part(-1.0), part(1.0)],
        vec![part(f64::NAN)],
        vec![part(0.0)],
    ] {
        assert!(MixtureStream::new(parts, shape, BOS, 1).is_err());
    }
    let empty = BatchShape { rows: 0, ..shape };
    assert!(MixtureStream::new(vec![part(1.0)], empty, BOS, 1).is_err());
}
