//! Student's *t*, as far as intervals need it.

use std::f64::consts::SQRT_2;

/// Of a normal distribution: the end of its two-sided 95 % interval.
const NORMAL_END: f64 = 1.959_963_984_540_054;
/// Farther out than this a normal distribution has nothing that a p-value could tell from 0.
const FARTHEST: f64 = 9.0;

/// The share of the resamples below an interval of the two-sided `level`, and above it, that makes the percentile
/// interval as long as so few documents warrant: Φ(−√(n/(n−1)) · t) with t of n − 1 degrees of freedom. It is half the
/// level for large n.
pub fn expanded_tail(level: f64, count: f64) -> f64 {
    normal_below(-(count / (count - 1.0)).sqrt() * end(normal_end(level), count - 1.0))
}

/// [`expanded_tail`] turned round, one-sided: half the level of the interval that ends `distance` standard deviations of
/// the resamples from their middle.
pub fn level_of_distance(distance: f64, count: f64) -> f64 {
    let (mut near, mut far) = (0.0, FARTHEST);
    for _ in 0..60 {
        let z = f64::midpoint(near, far);
        if (count / (count - 1.0)).sqrt() * end(z, count - 1.0) < distance {
            near = z;
        } else {
            far = z;
        }
    }
    normal_below(-near)
}

/// How many standard deviations from the middle a normal distribution has `share` beyond it.
pub fn distance_of_tail(share: f64) -> f64 {
    if share < 0.5 {
        normal_end(2.0 * share)
    } else {
        0.0
    }
}

/// The end of Student's interval where the normal one ends at `z`, by the Cornish–Fisher expansion in 1/ν: at 95 %, off
/// by 3 % at ν = 2 and by less than 0.1 % from ν = 5 on.
fn end(z: f64, freedom: f64) -> f64 {
    let terms = [
        (z.powi(3) + z) / 4.0,
        (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0,
        (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / 384.0,
    ];
    let powers = [freedom, freedom.powi(2), freedom.powi(3)];
    z + terms
        .iter()
        .zip(powers)
        .map(|(term, power)| term / power)
        .sum::<f64>()
}

/// Where a normal distribution's two-sided interval of `level` ends.
fn normal_end(level: f64) -> f64 {
    if level == super::LEVEL {
        return NORMAL_END;
    }
    let (mut near, mut far) = (0.0, FARTHEST);
    for _ in 0..60 {
        let z = f64::midpoint(near, far);
        if 2.0 * normal_below(-z) > level {
            near = z;
        } else {
            far = z;
        }
    }
    near
}

/// Φ
fn normal_below(z: f64) -> f64 {
    libm::erfc(-z / SQRT_2) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Student's quantiles against the printed table.
    #[test]
    fn matches_the_table() {
        for (freedom, printed) in [(4.0, 2.776), (9.0, 2.262), (30.0, 2.042), (1e9, 1.960)] {
            assert!(
                (end(NORMAL_END, freedom) - printed).abs() < 0.011,
                "{freedom}"
            );
        }
        assert!((end(normal_end(0.01), 30.0) - 2.750).abs() < 0.002);
    }

    /// The tail of a level, turned round, is the level; with very many documents it is half the level itself.
    #[test]
    fn tails_turn_round() {
        for count in [5.0, 10.0, 300.0] {
            for level in [0.05, 0.01, 0.2] {
                let distance = distance_of_tail(expanded_tail(level, count));
                let back = level_of_distance(distance, count);
                assert!((back - level / 2.0).abs() < 1e-8, "{count} {level}: {back}");
            }
        }
        assert!((expanded_tail(0.05, 1e12) - 0.025).abs() < 1e-9);
        assert_eq!(level_of_distance(distance_of_tail(0.7), 30.0), 0.5);
    }
}
