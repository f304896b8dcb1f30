//! What the batches of an evaluation promise.

mod shelf;

use polymath_data::{Half, IGNORED, ScoringBatches, ScoringOptions};
use proptest::prelude::*;

const BOS: u32 = 999;

fn options(rows: usize, sequence_length: usize, stride: Option<usize>) -> ScoringOptions {
    ScoringOptions {
        rows,
        sequence_length,
        stride,
        bos_token_id: BOS,
        max_tokens: None,
        seed: 1,
        half: None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Every scored token is a target exactly once, counted to its document, and read after all the context that its
    /// window holds; with a stride, after at least `length - stride` tokens of it.
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
            prop_assert_eq!(scoring.document_of.len(), batch.rows * length);
            for at in 0..batch.input_ids.len() {
                let document = scoring.document_of[at];
                prop_assert_eq!(document == u32::MAX, batch.targets[at] == IGNORED);
                if document == u32::MAX {
                    continue;
                }
                let start = at / length * length + batch.document_starts[at] as usize;
                // The inputs since the document's start are the tokens before the target.
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

    /// A choice is of whole documents, within its bound unless one document alone is beyond it, and the same again.
    #[test]
    fn a_choice_keeps_documents_whole(stories in shelf::stories(false), most in 1..400u64, seed in 0..9u64) {
        let shard = shelf::shard(&stories);
        let limited = ScoringOptions { max_tokens: Some(most), seed, ..options(2, 16, None) };
        let batches = ScoringBatches::new(&shard, limited);
        let chosen = batches.documents().to_vec();
        prop_assert!(!chosen.is_empty() && chosen.is_sorted());
        prop_assert!(batches.tokens() <= most || chosen.len() == 1);
        let scored: u64 = batches.iter().map(|batch| batch.document_of.iter().filter(|&&of| of != u32::MAX).count() as u64).sum();
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

/// Short documents share rows: less than a tenth of the positions is padding.
#[test]
fn rows_are_packed_tightly() {
    let lengths = (0..2000u32).map(|number| 3 + number.wrapping_mul(2_654_435_761) % 200);
    let stories: Vec<shelf::Story> = lengths
        .map(|length| (0..length).map(|at| ((at + 1) % length, true)).collect())
        .collect();
    let shard = shelf::shard(&stories);
    let batches = ScoringBatches::new(&shard, options(8, 256, None));
    let positions: usize = batches
        .iter()
        .map(|scoring| scoring.document_of.len())
        .sum();
    assert!(
        (positions as f64) < 1.1 * shard.tokens() as f64,
        "{positions} for {}",
        shard.tokens()
    );
}

/// The halves share no document and leave none out, follow from a document's tokens alone, and are about as large.
#[test]
fn halves_divide_the_documents() {
    let story = |number: u32| -> shelf::Story {
        vec![
            (1 + number % 250, true),
            (1 + number / 250, true),
            (0, true),
        ]
    };
    let stories: Vec<shelf::Story> = (0..2000).map(story).collect();
    let shard = shelf::shard(&stories);
    let of = |half, max_tokens| {
        let options = ScoringOptions {
            half,
            max_tokens,
            ..options(2, 16, None)
        };
        ScoringBatches::new(&shard, options).documents().to_vec()
    };
    let (development, test) = (
        of(Some(Half::Development), None),
        of(Some(Half::Test), None),
    );
    let mut all = [development.clone(), test.clone()].concat();
    all.sort_unstable();
    assert_eq!(all, of(None, None));
    // 2000 fair coins: four deviations are 90.
    assert!(
        (910..=1090).contains(&development.len()),
        "{}",
        development.len()
    );
    let some = of(Some(Half::Test), Some(300));
    assert!(some.len() == 100 && some.iter().all(|document| test.contains(document)));
    // The same documents elsewhere, in another order, are in the same halves.
    let other = shelf::shard(&stories.iter().rev().cloned().collect::<Vec<_>>());
    for index in 0..2000 {
        assert_eq!(shard.half_of(index), other.half_of(1999 - index));
    }
    // Recorded, so that figures stay comparable from version to version.
    let first: Vec<bool> = (0..8)
        .map(|index| shard.half_of(index) == Half::Test)
        .collect();
    assert_eq!(first, [false, true, false, false, false, true, false, true]);
}
