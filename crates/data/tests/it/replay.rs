//! Tests of replay batches.

use std::sync::Arc;

use polymath_data::{BatchShape, MixturePart, MixtureStream, Replay, ReplayStream, TokenShard};
use proptest::prelude::*;

use crate::support::shelf;

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

/// Creates a shard of documents, each of which repeats one token.
fn monotone(token: u32) -> Arc<TokenShard> {
    let stories: Vec<shelf::Story> = (1..20).map(|length| vec![(token, true); length]).collect();
    shelf::shard(&stories)
}

fn replayed(rows: usize, share: f64, pool: Option<u64>, seed: u64) -> ReplayStream {
    let old = stream(&[monotone(1), monotone(2)], 1);
    let replay = Replay {
        share,
        pool,
        beside: false,
    };
    ReplayStream::new(stream(&[monotone(7)], rows), old, replay, seed).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    /// Checks that the share of replayed rows is exact to within two rows over any part of a run, that a batch does
    /// not depend on the order of requests, and that `is_replayed` agrees with the tokens of each row.
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

    /// Checks that the niche's rows come in the same order as without replay, with none left out. If replayed rows
    /// are added, each step has all its niche rows, and the share is exact to within two rows over the run, also
    /// after a change of share.
    #[test]
    fn the_niche_keeps_its_order(share in 0.01..0.5f64, later in 0.01..0.5f64, beside: bool, seed: u64) {
        let stories: Vec<shelf::Story> = (1..30u32).map(|token| vec![(token, true); 11]).collect();
        let niche = shelf::shard(&stories);
        let plain = stream(std::slice::from_ref(&niche), 1);
        let old = stream(&[monotone(299)], 1);
        let replay = Replay { share, pool: None, beside };
        let stream = ReplayStream::new(stream(&[niche], 5), old, replay, seed).unwrap();
        let stream = stream.with_change(10, later, None).unwrap();
        let mut next = 0;
        let mut all = [0, 0];
        for step in 0..20 {
            let batch = stream.batch(step);
            prop_assert_eq!(batch.rows * 8, batch.input_ids.len());
            let kept = batch.domains.iter().filter(|domain| **domain == 0).count();
            let as_promised = if beside { kept == 5 } else { batch.rows == 5 };
            prop_assert!(as_promised, "{kept} of {}", batch.rows);
            all[usize::from(step >= 10)] += batch.rows - kept;
            for (row, domain) in batch.domains.iter().enumerate() {
                if *domain == 0 {
                    prop_assert_eq!(&batch.targets[row * 8..row * 8 + 8], plain.batch(next).targets);
                    next += 1;
                }
            }
        }
        for (replayed, share) in all.into_iter().zip([share, later]) {
            let expected = 50.0 * if beside { share / (1.0 - share) } else { share };
            prop_assert!((replayed as f64 - expected).abs() <= 2.0, "{replayed} for {expected}");
        }
    }
}

/// Checks that the rows of a pool repeat in their order, and that another seed puts them at other positions.
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

/// Checks that each interval of 1/share rows has one replayed row, at a random position that is uniform over the
/// interval.
#[test]
fn replayed_rows_stand_anywhere() {
    let stream = replayed(8, 0.125, None, 5);
    let mut counts = [0; 8];
    let mut places = Vec::new();
    for step in 0..800 {
        let domains = stream.batch(step).domains;
        let place = domains.iter().position(|domain| *domain > 0).unwrap();
        counts[place] += 1;
        places.push(place);
    }
    // Expected: 100 ± 9.4 each.
    assert!(
        counts.iter().all(|count| (60..140).contains(count)),
        "{counts:?}"
    );
    let alike = places.windows(2).filter(|pair| pair[0] == pair[1]).count();
    assert!((60..140).contains(&alike), "{alike}");
}

/// Checks that the weights of the replayed domains can change at a step: no row of a domain is skipped or repeated,
/// and earlier changes for later steps are dropped.
#[test]
fn parts_change_between_steps() {
    let shelves = [0, 100].map(|first| {
        let stories: Vec<shelf::Story> = (1..60u32)
            .map(|token| vec![(first + token, true); 11])
            .collect();
        shelf::shard(&stories)
    });
    let make = || {
        let replay = Replay {
            share: 0.5,
            pool: None,
            beside: true,
        };
        ReplayStream::new(stream(&[monotone(7)], 8), stream(&shelves, 1), replay, 3).unwrap()
    };
    let stream = make();
    let stream = stream.with_change(20, 0.5, Some(&[1.0, 0.1])).unwrap();
    let stream = stream.with_change(10, 0.5, Some(&[1.0, 3.0])).unwrap();
    let mut rows = [Vec::new(), Vec::new()];
    let mut counts = [[0; 2]; 2];
    for step in 0..30 {
        let batch = stream.batch(step);
        for row in (0..batch.rows).filter(|row| batch.domains[*row] > 0) {
            let domain = batch.domains[row] - 1;
            rows[domain].push(batch.targets[row * 8..row * 8 + 8].to_vec());
            counts[usize::from(step >= 10)][domain] += 1;
        }
    }
    // Half of 10 steps of 8 rows, and three quarters of 20 steps.
    let close = |count: i32, expected: i32| (count - expected).abs() <= 3;
    assert!(
        close(counts[0][1], 40) && close(counts[1][1], 120),
        "{counts:?}"
    );
    // Without changes, each domain's rows come in the same order.
    let plain = make().replayable(0..600);
    for (domain, rows) in rows.iter().enumerate() {
        let of_domain = (0..plain.rows).filter(|row| plain.domains[*row] == domain);
        let expected = of_domain.map(|row| &plain.targets[row * 8..row * 8 + 8]);
        assert!(rows.iter().map(Vec::as_slice).eq(expected.take(rows.len())));
    }
    let error = stream.with_change(40, 0.5, Some(&[1.0])).unwrap_err();
    assert!(
        error.to_string().contains("1 weights for 2 domains"),
        "{error}"
    );
}

/// Checks that a share out of range is refused with its key.
#[test]
fn impossible_shares_are_refused() {
    for share in [0.0, 0.51, -1.0, f64::NAN] {
        let old = stream(&[monotone(1)], 1);
        let replay = Replay {
            share,
            ..Replay::default()
        };
        let error = ReplayStream::new(stream(&[monotone(7)], 2), old, replay, 1).unwrap_err();
        assert!(error.to_string().contains("`retention.replay`"), "{error}");
    }
}
