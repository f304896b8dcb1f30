//! Tests of scoring batches.

use polymath_data::{
    HeldoutSplit, IGNORED, ScoringBatches, ScoringOptions, TokenPlace, TokenShard,
};
use proptest::prelude::*;

use crate::support::shelf;

const BOS: u32 = 999;

fn options(rows: usize, sequence_length: usize, stride: Option<usize>) -> ScoringOptions {
    ScoringOptions {
        rows,
        sequence_length,
        stride,
        bos_token_id: BOS,
        max_tokens: None,
        seed: 1,
        split: None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Checks that every scored token is a target exactly once, assigned to its document, and predicted from all
    /// context in its window; with a stride, from at least `length - stride` tokens.
    #[test]
    fn every_token_is_scored_once(
        stories in shelf::stories(true),
        rows in 1..4usize,
        length in 1..50usize,
        stride in prop::option::of(1..50usize),
    ) {
        let shard = shelf::shard(&stories);
        let batches = ScoringBatches::new(&shard, options(rows, length, stride));
        let least_context = length - stride.unwrap_or(length).clamp(1, length);
        let mut found: Vec<Vec<u32>> = vec![Vec::new(); stories.len()];
        for scoring in batches.iter() {
            let batch = &scoring.batch;
            prop_assert!(batch.rows <= rows);
            prop_assert_eq!(batch.input_ids.len(), batch.rows * length);
            prop_assert_eq!(scoring.scored.len(), batch.rows * length);
            for at in 0..batch.input_ids.len() {
                let scored = scoring.scored[at];
                prop_assert_eq!(scored.is_none(), batch.targets[at] == IGNORED);
                let Some(TokenPlace { document, .. }) = scored else {
                    continue;
                };
                let start = at / length * length + batch.document_starts[at] as usize;
                // The inputs from the document's start on are the tokens before the target.
                let story = &stories[document as usize];
                let read = &batch.input_ids[start..=at];
                let place = places(story).find(|&place| {
                    story[place].0 == batch.targets[at] && before(story, place).ends_with(read)
                        && (read.len() > least_context || read[0] == BOS)
                });
                prop_assert!(place.is_some(), "target {} after {:?}", batch.targets[at], read);
                found[document as usize].push(batch.targets[at]);
            }
        }
        for (mut found, story) in found.into_iter().zip(&stories) {
            let mut expected: Vec<u32> = places(story).map(|place| story[place].0).collect();
            found.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(found, expected);
        }
    }

    /// Checks that a selection consists of whole documents, stays within its token limit unless a single document
    /// exceeds it, and is reproducible.
    #[test]
    fn a_choice_keeps_documents_whole(stories in shelf::stories(false), most in 1..400u64, seed in 0..9u64) {
        let shard = shelf::shard(&stories);
        let limited = ScoringOptions { max_tokens: Some(most), seed, ..options(2, 16, None) };
        let batches = ScoringBatches::new(&shard, limited);
        let chosen = batches.documents().to_vec();
        prop_assert!(!chosen.is_empty() && chosen.is_sorted());
        prop_assert!(batches.tokens() <= most || chosen.len() == 1);
        let scored: u64 = batches.iter().map(|batch| batch.scored.iter().flatten().count() as u64).sum();
        prop_assert_eq!(scored, batches.tokens());
        let again = ScoringBatches::new(&shard, limited);
        prop_assert_eq!(again.documents(), &chosen[..]);
    }
}

fn places(story: &shelf::Story) -> impl Iterator<Item = usize> {
    (0..story.len()).filter(|&place| story[place].1)
}

fn before(story: &shelf::Story, place: usize) -> Vec<u32> {
    std::iter::once(BOS)
        .chain(story[..place].iter().map(|token| token.0))
        .collect()
}

/// Checks that short documents share rows: less than a tenth of the positions is padding.
#[test]
fn rows_are_packed_tightly() {
    let lengths = (0..2000u32).map(|number| 3 + number.wrapping_mul(2_654_435_761) % 200);
    let stories: Vec<shelf::Story> = lengths
        .map(|length| (0..length).map(|at| ((at + 1) % length, true)).collect())
        .collect();
    let shard = shelf::shard(&stories);
    let batches = ScoringBatches::new(&shard, options(8, 256, None));
    let positions: usize = batches.iter().map(|scoring| scoring.scored.len()).sum();
    assert!(
        (positions as f64) < 1.1 * shard.tokens() as f64,
        "{positions} for {}",
        shard.tokens()
    );
}

fn of_split(shard: &TokenShard, split: Option<HeldoutSplit>) -> Vec<u32> {
    let options = ScoringOptions {
        split,
        ..options(2, 16, None)
    };
    ScoringBatches::new(shard, options).documents().to_vec()
}

/// Checks that the splits are disjoint and complete, and that without groups they depend on a document's tokens only.
#[test]
fn splits_divide_the_documents() {
    let story = |number: u32| -> shelf::Story {
        vec![
            (1 + number % 250, true),
            (1 + number / 250, true),
            (0, true),
        ]
    };
    let stories: Vec<shelf::Story> = (0..2000).map(story).collect();
    let shard = shelf::shard(&stories);
    let of = |split| of_split(&shard, Some(split));
    let (dev, test) = (of(HeldoutSplit::Dev), of(HeldoutSplit::Test));
    assert!(of(HeldoutSplit::Audit).is_empty());
    let mut all = [dev.clone(), test.clone()].concat();
    all.sort_unstable();
    assert_eq!(all, of_split(&shard, None));
    // 2000 fair coin flips: four standard deviations are 90.
    assert!((910..=1090).contains(&dev.len()), "{}", dev.len());
    let limited = ScoringOptions {
        split: Some(HeldoutSplit::Test),
        max_tokens: Some(300),
        ..options(2, 16, None)
    };
    let some = ScoringBatches::new(&shard, limited).documents().to_vec();
    assert!(some.len() == 100 && some.iter().all(|document| test.contains(document)));
    // The same documents in another order are in the same splits.
    let other = shelf::shard(&stories.iter().rev().cloned().collect::<Vec<_>>());
    for index in 0..2000 {
        assert_eq!(shard.split_of(index), other.split_of(1999 - index));
    }
    // Recorded values, so that results stay comparable between versions.
    let first: Vec<bool> = (0..8)
        .map(|index| shard.split_of(index) == HeldoutSplit::Test)
        .collect();
    assert_eq!(first, [false, true, false, false, false, true, false, true]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Checks that all documents of a group are in one split, that every document is in one, and that the order of
    /// storage does not matter.
    #[test]
    fn groups_stay_together(of_document in prop::collection::vec(0..120u64, 1..400)) {
        let groups: Vec<u64> = of_document.iter().map(|group| group * 0x9e37_79b9 + 1).collect();
        let shard = shelf::grouped(&groups);
        let mut found = std::collections::BTreeMap::new();
        for (index, group) in groups.iter().enumerate() {
            prop_assert_eq!(shard.group_of(index), Some(*group));
            let split = *found.entry(*group).or_insert_with(|| shard.split_of(index));
            prop_assert_eq!(split, shard.split_of(index));
        }
        let of = |split| of_split(&shard, Some(split));
        let mut all: Vec<u32> = HeldoutSplit::ALL.map(of).concat();
        all.sort_unstable();
        prop_assert_eq!(all.len(), groups.len());
        all.dedup();
        prop_assert_eq!(all.len(), groups.len());
        let back: Vec<u64> = groups.iter().rev().copied().collect();
        let other = shelf::grouped(&back);
        for index in 0..groups.len() {
            prop_assert_eq!(shard.split_of(index), other.split_of(groups.len() - 1 - index));
        }
    }
}

/// Checks that selections under `max_tokens` are unbiased over seeds, for any spread of document sizes: the mean size
/// and the mean of a figure that grows with the size equal those of all documents. Skipping long documents would make
/// them 1 to 25 % too small.
#[test]
fn a_choice_does_not_depend_on_length() {
    // Log-normal sizes with σ = 0.5, 1 and 1.5, from equally spaced quantiles (logistic approximation of the normal
    // distribution).
    for spread in [0.5, 1.0, 1.5] {
        let quantile = |at: f64| (at / (1.0 - at)).ln() * 0.5513;
        let length = |number: usize| {
            (60.0 * (spread * quantile((number as f64 + 0.5) / 200.0)).exp()).ceil() as usize
        };
        let lengths: Vec<usize> = (0..200).map(length).collect();
        let shard = shelf::numbered(&lengths);
        let mean = lengths.iter().sum::<usize>() as f64 / 200.0;
        let root = lengths
            .iter()
            .map(|length| (*length as f64).sqrt())
            .sum::<f64>()
            / 200.0;
        for documents in [4.0, 15.0, 60.0] {
            let (mut found, mut found_root) = (0.0, 0.0);
            let seeds = if documents < 10.0 { 20_000 } else { 5_000 };
            for seed in 0..seeds {
                let limited = ScoringOptions {
                    max_tokens: Some((documents * mean) as u64),
                    seed,
                    ..options(1, 4096, None)
                };
                let batches = ScoringBatches::new(&shard, limited);
                let chosen = batches.documents();
                assert!(batches.tokens() as f64 <= documents * mean || chosen.len() == 1);
                let sizes = chosen.iter().map(|index| lengths[*index as usize] as f64);
                found += batches.tokens() as f64 / chosen.len() as f64;
                found_root += sizes.map(f64::sqrt).sum::<f64>() / chosen.len() as f64;
            }
            let ratios = [found / mean, found_root / root].map(|sum| sum / seeds as f64);
            assert!(
                ratios.iter().all(|ratio| (ratio - 1.0).abs() < 0.03),
                "{spread} {documents} {ratios:?}"
            );
        }
    }
}
