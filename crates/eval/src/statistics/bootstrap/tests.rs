//! Tests of the paired bootstrap over groups.

use super::*;
use crate::DocumentScore;

fn scores(documents: impl Iterator<Item = (f64, u64)>) -> DomainScores {
    DomainScores {
        documents: documents
            .map(|(nats, bytes)| DocumentScore {
                nats,
                tokens: bytes / 4 + 1,
                bytes,
            })
            .collect(),
        ..DomainScores::default()
    }
}

/// Checks that the change of a model against itself is exactly 0, with the interval [0, 0] for five or more groups
/// and none for fewer.
#[test]
fn base_against_itself_is_exactly_zero() {
    for count in [1, 2, 4, 5, 50] {
        let base = scores((1..=count).map(|at| (f64::from(at) * 1.7, at as u64 * 3)));
        let change = paired_change(&base, &base, 2000, 1).unwrap();
        assert_eq!(change.value, 0.0);
        assert_eq!(change.interval, (count >= 5).then_some([0.0; 2]));
        let bootstrap = PairedBootstrap::new(&base, &base, 2000, 1).unwrap();
        let p_value = |limit| bootstrap.against(limit).map(|against| against.p_value);
        assert_eq!(p_value(0.1), (count >= 5).then_some(2.0 / 2001.0));
        assert_eq!(p_value(0.0), (count >= 5).then_some(1.0));
    }
}

/// Checks that fewer than five groups give no interval, no verdict and no bound, for any number of documents.
#[test]
fn few_groups_decide_nothing() {
    let mut base = scores((1..50).map(|at| (f64::from(at), at as u64)));
    let tuned = scores((1..50).map(|at| (f64::from(at * at % 37), at as u64)));
    for (groups, some) in [(4, false), (5, true)] {
        base.groups = (1..50).map(|at| at % groups).collect();
        let bootstrap = PairedBootstrap::new(&base, &tuned, 500, 1).unwrap();
        let change = bootstrap.change();
        assert_eq!((change.documents, change.groups), (49, groups as usize));
        assert_eq!(change.interval.is_some(), some);
        assert_eq!(bootstrap.against(0.1).is_some(), some);
        assert_eq!(bootstrap.bound(Side::Upper, LEVEL).is_some(), some);
        assert_eq!(bootstrap.deciding_groups(0.1, LEVEL).is_some(), some);
    }
}

/// Checks that copies count once: three copies of each document as one group give the same interval as the documents
/// alone.
#[test]
fn copies_of_a_document_tell_nothing_new() {
    let nats = |at: i32| (f64::from(at * at % 37), at as u64);
    let (base, tuned) = (
        scores((1..30).map(|at| (f64::from(at), at as u64))),
        scores((1..30).map(nats)),
    );
    let thrice = |scores: &DomainScores| DomainScores {
        documents: scores.documents.repeat(3),
        groups: (1..30).collect::<Vec<u64>>().repeat(3),
        ..DomainScores::default()
    };
    let once = paired_change(&base, &tuned, 1000, 1).unwrap();
    let grouped = paired_change(&thrice(&base), &thrice(&tuned), 1000, 1).unwrap();
    assert_eq!((grouped.documents, grouped.groups), (87, 29));
    let ends = |change: Change| change.interval.unwrap();
    for (found, expected) in ends(grouped).iter().zip(ends(once)) {
        assert!((found - expected).abs() < 1e-9, "{found} {expected}");
    }
    let mut apart = thrice(&base);
    apart.groups.clear();
    let mut apart_tuned = thrice(&tuned);
    apart_tuned.groups.clear();
    let [low, high] = ends(paired_change(&apart, &apart_tuned, 1000, 1).unwrap());
    let [wide_low, wide_high] = ends(once);
    assert!(high - low < 0.7 * (wide_high - wide_low));
}

/// Checks that a constant increase of one bit per byte is found, with an interval of zero width.
#[test]
fn a_known_change_is_found() {
    let base = scores((1..50).map(|at| (f64::from(at), at as u64)));
    let tuned = scores((1..50).map(|at| (f64::from(at) * (1.0 + LN_2), at as u64)));
    let change = paired_change(&base, &tuned, 2000, 1).unwrap();
    let [low, high] = change.interval.unwrap();
    for end in [change.value, low, high] {
        assert!((end - 1.0).abs() < 1e-9, "{end}");
    }
}

/// Checks that the same seed gives the same interval and another seed a different one.
#[test]
fn the_seed_decides() {
    let base = scores((1..50).map(|at| (f64::from(at), at as u64)));
    let tuned = scores((1..50).map(|at| (f64::from(at * at % 37), at as u64)));
    let of = |seed| paired_change(&base, &tuned, 200, seed).unwrap();
    assert_eq!(of(1), of(1));
    assert_ne!(of(1).interval, of(2).interval);
}

/// Checks that scores that can't be compared are refused: different documents, no documents, values that are not
/// finite, or no resamples.
#[test]
fn what_cannot_be_compared_is_refused() {
    let base = scores((1..50).map(|at| (f64::from(at), at as u64)));
    let refused = |tuned: &DomainScores, resamples| {
        let error = paired_change(&base, tuned, resamples, 1).unwrap_err();
        error.to_string()
    };
    assert!(refused(&scores([(1.0, 1)].into_iter()), 10).contains("different documents"));
    let diverged = scores((1..50).map(|at| (f64::NAN, at as u64)));
    assert!(refused(&diverged, 10).contains("not finite"));
    assert!(refused(&base, 0).contains("resamples"));
    let nothing = DomainScores::default();
    assert!(paired_change(&nothing, &nothing, 10, 1).is_err());
}

/// Checks that the p-value against a limit is below a level exactly if the bound of that level excludes the limit, on
/// the side that `above` gives.
#[test]
fn p_values_follow_the_bounds() {
    let base = scores((1..50).map(|at| (f64::from(at), at as u64)));
    let tuned = scores((1..50).map(|at| (f64::from(at * at % 37) * 0.2, at as u64)));
    let bootstrap = PairedBootstrap::new(&base, &tuned, 1000, 1).unwrap();
    for level in [LEVEL, 0.1] {
        let bound = |side| bootstrap.bound(side, level).unwrap();
        let width = bound(Side::Upper) - bound(Side::Lower);
        for (end, outwards) in [(bound(Side::Lower), -1.0), (bound(Side::Upper), 1.0)] {
            let outside = bootstrap.against(end + outwards * 0.01 * width).unwrap();
            assert!(outside.p_value < level, "{outside:?}");
            assert_eq!(outside.above, outwards < 0.0);
            let inside = bootstrap.against(end - outwards * 0.01 * width).unwrap();
            assert!((level..2.0 * level).contains(&inside.p_value), "{inside:?}");
        }
    }
    let value = bootstrap.change().value;
    assert!(bootstrap.against(value).unwrap().p_value > 0.5);
    let far = bootstrap.against(value - 100.0).unwrap().p_value;
    assert!((far - 2.0 / 1001.0).abs() < 1e-12, "{far}");
}

/// Checks that, with few groups, `against_none` gives a gain a larger p-value than `against(0.0)`; for a loss, or
/// with many groups, both give the same p-value.
#[test]
fn a_gain_of_few_groups_has_to_be_clear() {
    let of = |count: i32, sign: f64| {
        let nats = |at: i32| f64::from(at * 7 % 5) * 0.2 + 0.4;
        let base = scores((0..count).map(|_| (10.0, 10)));
        let tuned = scores((0..count).map(|at| (10.0 + sign * nats(at), 10)));
        PairedBootstrap::new(&base, &tuned, 1000, 1).unwrap()
    };
    let p_values = |count, sign| {
        let bootstrap = of(count, sign);
        let found = [bootstrap.against(0.0), bootstrap.against_none()];
        found.map(|against| against.unwrap().p_value)
    };
    let [plain, strict] = p_values(8, -1.0);
    assert!(plain < 0.05 && strict > 2.0 * plain, "{plain} {strict}");
    for (count, sign) in [(8, 1.0), (60, -1.0)] {
        let [plain, strict] = p_values(count, sign);
        assert_eq!(plain, strict, "{count} {sign}");
    }
}

/// Checks that, with few effective groups, `against_none` treats a loss as strictly as a gain: the same changes with
/// opposite signs have the same p-value, up to resampling noise.
#[test]
fn losses_of_few_groups_have_to_be_as_clear_as_gains() {
    let nats = |at: u32| f64::from(at * 7 % 5) * 0.2 + 0.2;
    let p_value = |sign: f64| {
        let base = scores((0..8).map(|_| (10.0, 10)));
        let tuned = scores((0..8).map(|at| (10.0 + sign * nats(at), 10)));
        let bootstrap = PairedBootstrap::new(&base, &tuned, 20_000, 1).unwrap();
        bootstrap.against_none().unwrap().p_value
    };
    let (gain, loss) = (p_value(-1.0), p_value(1.0));
    assert!(
        gain > 0.01 && (gain / loss - 1.0).abs() < 0.2,
        "{gain} {loss}"
    );
}

/// Checks `deciding_groups`: repeating the sample, as new groups, up to that number makes the test significant; fewer
/// groups do not.
#[test]
fn the_groups_that_decide_do() {
    let nats = |at: u64| (at as f64 + (at * 7919 % 31) as f64 - 15.0, 40);
    let many = |times: u64| scores((0..30 * times).map(|at| nats(at % 30)));
    let flat = |times: u64| scores((0..30 * times).map(|at| ((at % 30) as f64, 40)));
    let of = |times| PairedBootstrap::new(&flat(times), &many(times), 1000, 1).unwrap();
    let (once, limit) = (of(1), 0.06);
    let needed = once.deciding_groups(limit, LEVEL).unwrap();
    assert!(
        once.against(limit).unwrap().p_value > LEVEL && needed > 60,
        "{needed}"
    );
    let times = needed as f64 / 30.0;
    let p_value = |times: f64| of(times.round() as u64).against(limit).unwrap().p_value;
    assert!(p_value(times * 1.3) < LEVEL, "{needed}");
    assert!(p_value(times * 0.7) > LEVEL, "{needed}");
    assert_eq!(once.deciding_groups(once.change().value, LEVEL), None);
}

/// Checks that a limit far below all resamples, on the other side of 0, has the smallest p-value that so few resamples
/// can give.
#[test]
fn a_far_limit_has_the_smallest_p_value() {
    let base = scores((0..60).map(|_| (100.0, 100)));
    let tuned = scores((0..60).map(|at| (110.0 + f64::from(at % 5), 100)));
    let bootstrap = PairedBootstrap::new(&base, &tuned, 20, 1).unwrap();
    let value = bootstrap.change().value;
    for limit in [-value, 3.0 * value] {
        let found = bootstrap.against(limit).unwrap();
        assert!((found.p_value - 2.0 / 21.0).abs() < 1e-12, "{found:?}");
        assert_eq!(found.above, limit < value);
    }
}
