//! What replay promises of its batches.

mod shelf;

use std::sync::Arc;

use polymath_data::{BatchShape, MixturePart, MixtureStream, ReplayStream, TokenShard};
use proptest::prelude::*;

fn stream(shards: &[Arc<TokenShard>], rows: usize) -> MixtureStream {
    let parts = shards
        .iter()
        .zip('a'..)
        .map(|(shard, name)| MixturePart {
            name: name.into(),
            shard: shard.clone(),
            weight: 1.0,
        })
        .collect();
    let shape = BatchShape {
        rows,
        sequence_length: 8,
    };
    MixtureStream::new(parts, shape, 0, 5).unwrap()
}

/// A shard of documents that each hold one token again and again.
fn monotone(token: u32) -> Arc<TokenShard> {
    let stories: Vec<shelf::Story> = (1..20).map(|length| vec![(token, true); length]).collect();
    shelf::shard(&stories)
}

fn replayed(rows: usize, share: f64, pool: Option<u64>, seed: u64) -> ReplayStream {
    let old = stream(&[monotone(1), monotone(2)], 1);
    ReplayStream::new(stream(&[monotone(7)], rows), old, (share, pool), seed).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    /// Over any stretch of a run the share is right to within two rows, a batch is the same however it is asked for, and
    /// which rows are replayed is what their tokens say.
    #[test]
    fn shares_hold_over_any_stretch(
        share in 0.005..0.5f64,
        rows in 1..20usize,
        from in 0..500u64,
        steps in 1..100u64,
        seed: u64,
    ) {
        let stream = replayed(rows, share, None, seed);
        let mut count = 0;
        for step in from..from + steps {
            let batch = stream.batch(step);
            prop_assert_eq!(batch.domains.len(), rows);
            prop_assert_eq!(batch.targets.len(), rows * 8);
            for (row, domain) in batch.domains.iter().enumerate() {
                let token = [7, 1, 2][*domain];
                prop_assert_eq!(batch.targets[row * 8], token);
                count += usize::from(*domain > 0);
            }
        }
        let expected = share * (rows as u64 * steps) as f64;
        prop_assert!((count as f64 - expected).abs() <= 2.0, "{count} for {expected}");
        prop_assert_eq!(stream.batch(from), replayed(rows, share, None, seed).batch(from));
        let rows = rows as u64;
        let all = stream.replayed_before((from + steps) * rows) - stream.replayed_before(from * rows);
        prop_assert_eq!(all, count as u64);
    }

    /// The niche's rows come in the order that they have without replay, none left out.
    #[test]
    fn the_niche_keeps_its_order(share in 0.01..0.5f64, seed: u64) {
        let stories: Vec<shelf::Story> = (1..30u32).map(|token| vec![(token, true); 11]).collect();
        let niche = shelf::shard(&stories);
        let plain = stream(std::slice::from_ref(&niche), 1);
        let old = stream(&[monotone(299)], 1);
        let stream = ReplayStream::new(stream(&[niche], 5), old, (share, None), seed).unwrap();
        let mut next = 0;
        for step in 0..20 {
            let batch = stream.batch(step);
            for (row, domain) in batch.domains.iter().enumerate() {
                if *domain == 0 {
                    prop_assert_eq!(&batch.targets[row * 8..row * 8 + 8], plain.batch(next).targets);
                    next += 1;
                }
            }
        }
    }
}

/// A pool's rows come again in their order, and another seed places them elsewhere.
#[test]
fn pools_repeat() {
    let stream = replayed(4, 0.5, Some(3), 1);
    let mut rows = Vec::new();
    for step in 0..9 {
        let batch = stream.batch(step);
        for (row, domain) in batch.domains.iter().enumerate() {
            if *domain > 0 {
                rows.push((*domain, batch.input_ids[row * 8..row * 8 + 8].to_vec()));
            }
        }
    }
    assert_eq!(rows.len(), 18);
    assert!((3..18).all(|row| rows[row] == rows[row - 3]));
    let places = |seed| -> Vec<Vec<usize>> {
        let stream = replayed(16, 0.05, None, seed);
        (0..20).map(|step| stream.batch(step).domains).collect()
    };
    assert_ne!(places(1), places(2));
}

/// A share outside the range is refused by its key.
#[test]
fn impossible_shares_are_refused() {
    for share in [0.0, 0.51, -1.0, f64::NAN] {
        let old = stream(&[monotone(1)], 1);
        let error =
            ReplayStream::new(stream(&[monotone(7)], 2), old, (share, None), 1).unwrap_err();
        assert!(error.to_string().contains("`retention.replay`"), "{error}");
    }
}
