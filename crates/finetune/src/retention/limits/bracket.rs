//! Search for the scale along a direction at which the limit is reached.

use super::tilt::whole;
use polymath_eval::Shares;

/// Upper bound of the evaluations along a direction.
pub(super) const LOOKS: usize = 8;
/// Share of its limit from which the worst domain is close enough.
const CLOSE: f64 = 0.98;
/// Target share of the limit.
const AIM: f64 = 0.99;
/// Exponent by which rises grow with the share between the base and a run's end, about: faster than linearly.
const POWER: f64 = 1.5;
/// Lower bound of shares of a limit: a domain that gains has no logarithm.
const LOWEST: f64 = 0.01;
/// Smallest share of a run that is tried.
pub(super) const LEAST: f64 = 1.0 / 64.0;

/// Scales on both sides of the limit, each with the worst domain's share of its limit.
pub(super) struct Bracket {
    first: f64,
    inside: Option<(f64, f64)>,
    outside: Option<(f64, f64)>,
    whole: f64,
}

impl Bracket {
    /// Creates an empty bracket that begins at `first`.
    pub(super) fn new(direction: &Shares, first: f64) -> Self {
        Self {
            first,
            inside: None,
            outside: None,
            whole: whole(direction),
        }
    }

    pub(super) fn take(&mut self, scale: f64, worst: f64) {
        match worst > 1.0 {
            true => self.outside = Some((scale, worst)),
            false => self.inside = Some((scale, worst)),
        }
    }

    /// Returns true if the best scale inside is close enough to the limit, or can't be larger.
    pub(super) fn is_close(&self) -> bool {
        self.inside
            .is_some_and(|(scale, worst)| worst >= CLOSE || scale >= self.whole)
    }

    /// Returns the next scale to try: where the share of the limit is expected to be [`AIM`], by the power law through
    /// both ends, or through the only one.
    pub(super) fn next(&self) -> f64 {
        let alone =
            |(scale, worst): (f64, f64)| scale * (AIM / worst.max(LOWEST)).powf(1.0 / POWER);
        let scale = match (self.inside, self.outside) {
            (None, None) => self.first,
            (None, Some(outside)) => alone(outside),
            (Some(inside), None) => alone(inside),
            (Some((low, less)), Some((high, more))) => {
                let less = less.max(LOWEST);
                let part = (AIM / less).ln() / (more / less).ln();
                // Stays away from both ends.
                low * (high / low).powf(part.clamp(0.1, 0.9))
            }
        };
        scale.clamp(LEAST, self.whole)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tilt::MOST;
    use super::*;

    /// Comes within a few percent of the limit, from the inside, for rises of any power from 1 to 2 with curvature.
    #[test]
    fn the_limit_is_found_in_a_few_evaluations() {
        for power in [1.0, 1.3, 1.7, 2.0] {
            for end in [0.3, 0.6, 1.05, 3.0, 12.0, 60.0] {
                let worst = |scale: f64| end * scale.powf(power) * (1.0 + 0.5 * scale) / 1.5;
                let direction = Shares::from([("all".to_owned(), 1.0)]);
                let mut bracket = Bracket::new(&direction, 1.0);
                bracket.take(1.0, end);
                for _ in 0..LOOKS {
                    if bracket.is_close() {
                        break;
                    }
                    let scale = bracket.next();
                    assert!(scale > 0.0 && scale <= MOST);
                    bracket.take(scale, worst(scale));
                }
                if worst(MOST) < 0.9 {
                    assert_eq!(bracket.inside.unwrap().0, MOST);
                    continue;
                }
                let (_, found) = bracket.inside.unwrap();
                assert!((0.96..=1.0).contains(&found), "{power} {end}: {found}");
            }
        }
    }
}
