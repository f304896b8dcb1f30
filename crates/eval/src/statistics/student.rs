//! Student's *t* distribution with a real number of degrees of freedom.

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

/// Degrees of freedom above which the normal distribution is used; quantiles differ by less than 1e-6.
const MANY: f64 = 1e6;

/// Returns the `below`-quantile of Student's distribution with `freedom` degrees of freedom.
///
/// ```
/// use polymath_eval::statistics::t_quantile;
///
/// assert!((t_quantile(0.975, 30.0) - 2.042_272).abs() < 1e-6);
/// ```
pub fn t_quantile(below: f64, freedom: f64) -> f64 {
    if freedom > MANY {
        return normal().inverse_cdf(below);
    }
    distribution(freedom).inverse_cdf(below)
}

/// Returns the cumulative distribution function of Student's distribution with `freedom` degrees of freedom at
/// `value`.
pub fn t_below(value: f64, freedom: f64) -> f64 {
    if freedom > MANY {
        return normal_below(value);
    }
    distribution(freedom).cdf(value)
}

/// Returns the tail share of the resamples at which the percentile interval of the two-sided `level` ends, expanded
/// for few groups: Φ(−√(n/(n−1)) · t), with n = `count` and t of n − 1 degrees of freedom. For large n it is half the
/// level.
pub(super) fn expanded_tail(level: f64, count: f64) -> f64 {
    normal_below(-(count / (count - 1.0)).sqrt() * t_quantile(1.0 - level / 2.0, count - 1.0))
}

/// Inverts [`expanded_tail`]: returns half the level of the interval that ends `distance` standard deviations of the
/// resamples from their middle.
pub(super) fn level_of_distance(distance: f64, count: f64) -> f64 {
    t_below(-distance / (count / (count - 1.0)).sqrt(), count - 1.0)
}

/// Returns the number z of standard deviations above the mean beyond which the normal distribution has the share
/// `share`.
pub(super) fn distance_of_tail(share: f64) -> f64 {
    if share < 0.5 {
        -normal().inverse_cdf(share)
    } else {
        0.0
    }
}

/// Returns Φ(z), the cumulative distribution function of the normal distribution.
pub(super) fn normal_below(z: f64) -> f64 {
    normal().cdf(z)
}

fn normal() -> Normal {
    Normal::standard()
}

fn distribution(freedom: f64) -> StudentsT {
    StudentsT::new(0.0, 1.0, freedom).expect("degrees of freedom are above 0")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that [`level_of_distance`] inverts [`expanded_tail`], and that the tail is half the level for very many
    /// groups.
    #[test]
    fn tails_are_invertible() {
        for count in [3.0, 5.0, 10.0, 17.3, 300.0] {
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
