//! Tests of training batches.

use std::collections::BTreeMap;
use std::sync::Arc;

use polymath_data::{Batch, BatchShape, MixturePart, MixtureStream, Packing, TokenShard};
use proptest::prelude::*;

use crate::support::shelf;

const BOS: u32 = 0xffff_0000;

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

/// Position in a row: input token, target token, and start of its document within the row.
type Position = (u32, u32, u32);

fn row(batch: &Batch, row: usize) -> Vec<Position> {
    let range = row * batch.sequence_length()..(row + 1) * batch.sequence_length();
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Checks that after the rows of an epoch every token was predicted once more, from the token before it or, at
    /// the start of a document, from the begin token. Only the row across the epoch's end holds tokens of the next
    /// epoch.
    #[test]
    fn every_token_is_predicted_once_an_epoch(
        lengths in prop::collection::vec(1..60usize, 1..12),
        length in 1..50usize,
        seed in any::<u64>(),
    ) {
        let shard = shelf::numbered(&lengths);
        let tokens = shard.tokens() as usize;
        let first_of_documents: Vec<u32> = lengths
            .iter()
            .scan(1, |next, length| Some(std::mem::replace(next, *next + *length as u32)))
            .collect();
        let stream = stream(&[(shard, 1.0)], 1, length, seed);
        let mut counts = vec![0; tokens];
        let mut rows = 0;
        for epoch in 1..=4 {
            while rows < (epoch * tokens).div_ceil(length) {
                for (input, target, _) in row(&stream.batch(rows as u64), 0) {
                    let begins = first_of_documents.contains(&target);
                    let continues = |input| input + 1 == target || input == BOS && begins;
                    prop_assert!(continues(input), "{input} before {target}");
                    counts[target as usize - 1] += 1;
                }
                rows += 1;
            }
            // A row may be longer than an epoch and hold several.
            let (whole, early) = (rows * length / tokens, rows * length % tokens);
            prop_assert!(tokens < length || whole == epoch);
            let expected = [whole, whole + 1];
            prop_assert!(counts.iter().all(|count| expected.contains(count)), "{counts:?}");
            prop_assert_eq!(counts.iter().filter(|count| **count > whole).count(), early);
        }
    }

    /// Checks that a document's start is its first position in the row: the first position of the row, or one whose
    /// input is the begin token.
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

    /// Checks that a batch depends on the seed and the step only, not on earlier requests or the batch size.
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

    /// Checks that each domain has its share of the rows: to within a few after any number of rows, and to within one
    /// at the end of every block of 1024 (the domain with the largest weight takes the rounding of the others).
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

/// Checks that the rows of a document of 5 MB are spread evenly over the epoch, next to any other documents: neither
/// within a window nor next to their neighbors in the text.
#[test]
fn a_long_document_lies_spread_over_the_epoch() {
    const LENGTH: usize = 256;
    let mut lengths = vec![400; 3000];
    lengths[700] = 1_300_000; // about 5 MB
    let before = 700 * 400;
    let shard = shelf::numbered(&lengths);
    let stream = stream(&[(shard.clone(), 1.0)], 1, LENGTH, 3);
    let rows = shard.tokens().div_ceil(LENGTH as u64);
    // Start of each row in the document, and its time in the epoch, from 0 to 1.
    let mut found = Vec::new();
    for at in 0..rows {
        let target = stream.batch(at).targets[0] as usize - 1;
        if (before..before + lengths[700]).contains(&target) {
            found.push((
                at as f64 / rows as f64,
                (target - before) as f64 / lengths[700] as f64,
            ));
        }
    }
    let count = found.len() as f64;
    assert!((5075.0..5081.0).contains(&count), "{count}");
    // Kolmogorov–Smirnov test against the uniform distribution, at a level of 0.1 %.
    let apart = |at: (usize, &(f64, f64))| (at.1.0 - at.0 as f64 / count).abs();
    let most = found.iter().enumerate().map(apart).fold(0.0, f64::max);
    assert!(most < 1.95 / count.sqrt(), "{most}");
    // The time of a row and its position in the document are uncorrelated.
    let products = found
        .iter()
        .map(|(time, place)| (time - 0.5) * (place - 0.5));
    let correlation = products.sum::<f64>() / count * 12.0;
    assert!(correlation.abs() < 4.0 / count.sqrt(), "{correlation}");
    let next = |pair: &[(f64, f64)]| (pair[1].1 - pair[0].1).abs() * (lengths[700] / LENGTH) as f64;
    let neighbors = found.windows(2).filter(|pair| next(pair) < 1.5).count();
    assert!(
        neighbors < 12,
        "{neighbors} of {count} rows follow a neighbor"
    ); // expected: 2
}

/// Checks that the rows of each domain of a mixture come in the same order as without the other domains, and that the
/// order of domains does not depend on their content.
#[test]
fn mixtures_keep_the_order_of_each_domain() {
    let long = shelf::numbered(&[5000]);
    let short = shelf::numbered(&[3, 9, 4]);
    let mixed = stream(&[(long.clone(), 3.0), (short.clone(), 1.0)], 4, 16, 9);
    let others = stream(&[(short, 3.0), (long.clone(), 1.0)], 4, 16, 9);
    let alone = stream(&[(long, 1.0)], 1, 16, 9);
    let mut next = 0;
    for step in 0..200 {
        let batch = mixed.batch(step);
        assert_eq!(batch.domains, others.batch(step).domains);
        for number in (0..4).filter(|row| batch.domains[*row] == 0) {
            assert_eq!(row(&batch, number), row(&alone.batch(next), 0));
            next += 1;
        }
    }
    assert_eq!(next, 600);
}

/// Checks that two epochs have different orders of documents.
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

/// Checks that rows of one document, and rows of many documents, have a different order in each epoch, for each
/// domain of a mixture and under each seed.
#[test]
fn orders_differ_by_epoch_part_and_seed() {
    const ROWS: usize = 40;
    let one_document = (shelf::numbered(&[ROWS * 8]), 8, ROWS);
    // Here an epoch is one row, so only the documents have an order.
    let one_row = (shelf::numbered(&[2; ROWS]), 2 * ROWS, 1);
    for (shard, length, rows) in [one_document, one_row] {
        let order = |seed: u64| -> [Vec<u32>; 2] {
            let parts = [(shard.clone(), 1.0), (shard.clone(), 1.0)];
            let stream = stream(&parts, 1, length, seed);
            let mut orders = [Vec::new(), Vec::new()];
            for step in 0.. {
                let batch = stream.batch(step);
                orders[batch.domains[0]].extend(batch.targets);
                if orders.iter().all(|order| order.len() >= 3 * rows * length) {
                    break;
                }
            }
            orders
        };
        let mut seen = std::collections::BTreeSet::new();
        for seed in [3, 4] {
            for part in order(seed) {
                for epoch in part.chunks(rows * length).take(3) {
                    assert!(seen.insert(epoch.to_vec()), "an order comes again");
                }
            }
        }
        assert_eq!(seen.len(), 2 * 2 * 3);
    }
}

/// Checks that the order of domains differs between blocks of rows and between seeds, and is not a fixed cycle.
#[test]
fn turns_differ_by_block_and_seed() {
    let shard = shelf::shard(&[vec![(7, true), (0, true)]]);
    let mut seen = std::collections::BTreeSet::new();
    for seed in [3, 4] {
        let parts = vec![(shard.clone(), 1.0); 4];
        let stream = stream(&parts, 1024, 1, seed);
        for block in 0..3 {
            let turns = stream.batch(block).domains;
            assert!(seen.insert(turns), "block {block} of seed {seed}");
        }
    }
    // Four equal domains take one turn each in every four rows, in any of 24 orders: 64 ± 8 of 1536 are this one.
    let rounds = seen.iter().flat_map(|turns| turns.chunks(4));
    let in_order = rounds.filter(|round| **round == [0, 1, 2, 3]).count();
    assert!((20..120).contains(&in_order), "{in_order} of 1536");
}

/// Checks that rows with one example each, which the plan lists by length, come in a different order in each epoch,
/// for each domain and under each seed, and never by length.
#[test]
fn rows_come_in_no_order_of_length() {
    let example =
        |length: u32| -> shelf::Story { (1..=length).map(|at| (at, at == length)).collect() };
    let shard = shelf::wide(&(17..=32).map(example).collect::<Vec<_>>());
    assert_eq!(Packing::of(&shard, 32).unwrap().rows, 16);
    let mut seen = std::collections::BTreeSet::from([(17..=32).rev().collect::<Vec<usize>>()]);
    for seed in [1, 2] {
        let stream = stream(&[(shard.clone(), 1.0), (shard.clone(), 1.0)], 1, 32, seed);
        let mut orders = [Vec::new(), Vec::new()];
        for step in 0..128 {
            let batch = stream.batch(step);
            let example = batch
                .document_starts
                .iter()
                .take_while(|start| **start == 0);
            orders[batch.domains[0]].push(example.count());
        }
        for order in orders {
            for epoch in order.chunks_exact(16).take(3) {
                let mut lengths = epoch.to_vec();
                lengths.sort_unstable();
                assert_eq!(lengths, (17..=32).collect::<Vec<usize>>());
                assert!(seen.insert(epoch.to_vec()), "{epoch:?} comes again");
            }
        }
    }
    assert_eq!(seen.len(), 1 + 2 * 2 * 3);
}

/// Checks that data that can't be trained on are refused by name.
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
