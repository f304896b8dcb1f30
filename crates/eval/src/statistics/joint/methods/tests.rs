//! Tests of the joint resampling of methods against the definitions, written out for each contrast by itself.

use super::*;

/// Two domains of unequal weight and size, by three methods.
fn domains() -> [(DomainSums, f64); 2] {
    let law = DomainSums {
        bytes: vec![10.0, 20.0, 40.0, 15.0],
        bits: vec![
            vec![1.0, 5.0, 6.0, -2.0],
            vec![2.0, 4.0, 9.0, 0.5],
            vec![0.0, 1.0, -3.0, 2.0],
        ],
    };
    let code = DomainSums {
        bytes: vec![8.0, 30.0, 12.0],
        bits: vec![
            vec![0.5, 2.0, 3.0],
            vec![-1.0, 2.5, 1.0],
            vec![4.0, 0.0, 1.0],
        ],
    };
    [(law, 0.25), (code, 0.75)]
}

/// Values of the three methods with three seeds each, unrelated to the domains' sums.
fn values() -> Vec<Vec<f64>> {
    vec![
        vec![0.1, 0.3, 0.2],
        vec![0.5, 0.4, 0.9],
        vec![-0.2, 0.0, 0.5],
    ]
}

fn figure(
    domains: &[(DomainSums, f64); 2],
    values: Vec<Vec<f64>>,
    differ: bool,
) -> FigureOfAll<'_> {
    let weighted = domains.iter().map(|(sums, weight)| WeightedDomain {
        sums,
        weight: *weight,
    });
    FigureOfAll::new(weighted.collect(), values, differ)
}

/// Returns the contrast's own bits in each group: those of a method, or the first's minus the second's.
fn bits(sums: &DomainSums, contrast: Contrast) -> Vec<f64> {
    let second = |at: usize| contrast.second.map_or(0.0, |second| sums.bits[second][at]);
    let first = &sums.bits[contrast.first];
    first
        .iter()
        .enumerate()
        .map(|(at, bits)| bits - second(at))
        .collect()
}

/// Returns the sum over the domains of weight times the ratio's change from the sample, and of the ratio's variance,
/// where the groups of each domain are those in `drawn`: weight² · n/(n−1) · Σ(bits − ratio·bytes)² / (Σ bytes)².
fn by_definition(
    domains: &[(DomainSums, f64); 2],
    contrast: Contrast,
    drawn: &[Vec<usize>; 2],
) -> (f64, f64) {
    let (mut moved, mut variance) = (0.0, 0.0);
    for ((sums, weight), drawn) in domains.iter().zip(drawn) {
        let bits = bits(sums, contrast);
        let ratio = |groups: &[usize]| {
            let sum = |of: &[f64]| groups.iter().map(|at| of[*at]).sum::<f64>();
            (sum(&bits) / sum(&sums.bytes), sum(&sums.bytes))
        };
        let sample: Vec<usize> = (0..bits.len()).collect();
        let ((found, bytes), (before, _)) = (ratio(drawn), ratio(&sample));
        let squares = drawn
            .iter()
            .map(|at| (bits[*at] - found * sums.bytes[*at]).powi(2));
        let count = bits.len() as f64;
        moved += weight * (found - before);
        variance += weight.powi(2) * count / (count - 1.0) * squares.sum::<f64>() / bytes.powi(2);
    }
    (moved, variance)
}

fn contrasts(differ: bool) -> Vec<Contrast> {
    match differ {
        true => Contrast::pairs(3).collect(),
        false => (0..3).map(Contrast::of).collect(),
    }
}

fn near(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-9, "{found} {expected}");
}

fn whole() -> [Vec<usize>; 2] {
    [(0..4).collect(), (0..3).collect()]
}

/// Checks that every pair of methods is there once, in order.
#[test]
fn pairs_are_there_once() {
    let pairs: Vec<Contrast> = Contrast::pairs(3).collect();
    let expected = [(0, 1), (0, 2), (1, 2)].map(|(first, second)| Contrast::between(first, second));
    assert_eq!(pairs, expected);
    assert_eq!(Contrast::pairs(1).count(), 0);
}

/// Checks values and standard errors by hand. Over seeds, the methods' variances are 0.01, 0.07 and 0.13, with the
/// mean 0.07; those of the differences follow from 0.4, 0.1, 0.7 and so on. The larger of own and mean variance
/// counts, a third of it for three seeds.
#[test]
fn errors_are_those_of_groups_and_seeds() {
    let domains = domains();
    let single = figure(&domains, values(), false);
    near(single.value(Contrast::of(1)), 0.6);
    for (method, over_seeds) in [(0, 0.07), (1, 0.07), (2, 0.13)] {
        let contrast = Contrast::of(method);
        let own = by_definition(&domains, contrast, &whole()).1;
        near(single.error(contrast), (own + over_seeds / 3.0).sqrt());
    }
    let double = figure(&domains, values(), true);
    near(double.value(Contrast::between(1, 0)), 0.4);
    // Differences by seed: −0.4 −0.1 −0.7, then 0.3 0.3 −0.3, then 0.7 0.4 0.4: variances 0.09, 0.12 and 0.03.
    for (contrast, over_seeds) in Contrast::pairs(3).zip([0.09, 0.12, 0.08]) {
        let own = by_definition(&domains, contrast, &whole()).1;
        near(double.error(contrast), (own + over_seeds / 3.0).sqrt());
    }
    // One seed has no variance over seeds.
    let one = values()
        .into_iter()
        .map(|values| values[..1].to_vec())
        .collect();
    let one = figure(&domains, one, false);
    let own = by_definition(&domains, Contrast::of(2), &whole()).1;
    near(one.error(Contrast::of(2)), own.sqrt());
}

/// Checks resamples of groups against the definition, with the same groups drawn again: deviation, statistic and value
/// of every contrast, for one seed.
#[test]
fn groups_are_resampled_as_defined() {
    let domains = domains();
    let one: Vec<Vec<f64>> = vec![vec![0.1], vec![0.5], vec![-0.2]];
    for differ in [false, true] {
        let figure = figure(&domains, one.clone(), differ);
        let (mut random, mut again) = (Random(7), Random(7));
        for _ in 0..20 {
            let draw = figure.draw(&mut random);
            let drawn = [4, 3].map(|groups| (0..groups).map(|_| again.below(groups)).collect());
            for contrast in contrasts(differ) {
                let (moved, variance) = by_definition(&domains, contrast, &drawn);
                let sample = by_definition(&domains, contrast, &whole()).1;
                let expected = moved / variance.max(0.04 * sample).sqrt();
                near(figure.statistic(&draw, contrast), expected);
            }
            for (method, values) in one.iter().enumerate() {
                let moved = by_definition(&domains, Contrast::of(method), &drawn).0;
                near(figure.drawn(&draw, method), values[0] + moved);
            }
        }
    }
}

/// Checks resamples of seeds: normal numbers of the pooled variance, half of it for each side of a difference, times
/// ν/χ² with ν = (methods or methods − 1) · (seeds − 1). The statistic adds their mean, and the larger of own and
/// pooled variance over the number of seeds.
#[test]
fn seeds_are_resampled_as_defined() {
    let domains = domains();
    for (differ, pooled, freedom) in [(false, 0.07, 6), (true, 0.08 / 2.0, 4)] {
        let figure = figure(&domains, values(), differ);
        let (mut random, mut again) = (Random(3), Random(3));
        let draw = figure.draw(&mut random);
        let drawn = [4, 3].map(|groups| (0..groups).map(|_| again.below(groups)).collect());
        let squares: f64 = (0..freedom).map(|_| again.normal().powi(2)).sum();
        let scale = (pooled * f64::from(freedom) / squares).sqrt();
        let mut seeds = || -> Vec<f64> { (0..3).map(|_| scale * again.normal()).collect() };
        let seeds: Vec<Vec<f64>> = (0..3).map(|_| seeds()).collect();
        let of = |contrast: Contrast| -> Vec<f64> {
            let second = |at: usize| contrast.second.map_or(0.0, |second| seeds[second][at]);
            (0..3)
                .map(|at| seeds[contrast.first][at] - second(at))
                .collect()
        };
        let spread = |values: &[f64]| {
            let mean = values.iter().sum::<f64>() / 3.0;
            values
                .iter()
                .map(|value| (value - mean).powi(2))
                .sum::<f64>()
                / 2.0
        };
        let all = contrasts(differ);
        let together = all
            .iter()
            .map(|contrast| spread(&of(*contrast)))
            .sum::<f64>()
            / 3.0;
        for contrast in all {
            let (moved, variance) = by_definition(&domains, contrast, &drawn);
            let sample = by_definition(&domains, contrast, &whole()).1;
            let own = of(contrast);
            let moved = moved + own.iter().sum::<f64>() / 3.0;
            let variance = variance.max(0.04 * sample) + spread(&own).max(together) / 3.0;
            near(figure.statistic(&draw, contrast), moved / variance.sqrt());
        }
        let moved = by_definition(&domains, Contrast::of(1), &drawn).0;
        let expected = 0.6 + moved + seeds[1].iter().sum::<f64>() / 3.0;
        near(figure.drawn(&draw, 1), expected);
    }
}

/// Checks that a method that is the same in every group has the statistic 0, and that means and variances of few values
/// are those by hand.
#[test]
fn no_variation_has_no_statistic() {
    let flat = || DomainSums {
        bytes: vec![2.0, 4.0],
        bits: vec![vec![1.0, 2.0]],
    };
    let domains = [(flat(), 0.5), (flat(), 0.5)];
    let figure = figure(&domains, vec![vec![0.5]], false);
    let draw = figure.draw(&mut Random(1));
    assert_eq!(figure.statistic(&draw, Contrast::of(0)), 0.0);
    assert_eq!(figure.error(Contrast::of(0)), 0.0);
    assert_eq!((mean(&[]), mean(&[1.0, 2.0, 6.0])), (0.0, 3.0));
    assert_eq!((variance(&[4.0]), variance(&[1.0, 2.0, 6.0])), (0.0, 7.0));
}
