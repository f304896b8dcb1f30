//! Search along one direction of weight change for the largest scale at which every domain stays within its limit. The
//! scale multiplies the direction's share of each layer's weight change.

use super::tilt::whole;
use polymath_eval::Shares;

/// Maximum number of models that the search for a limit scores along one direction.
pub(super) const LOOKS: usize = 8;
/// Share of its limit that the worst domain must use for the search to end: close enough to the limit.
const CLOSE: f64 = 0.98;
/// Share of its limit that the worst domain is expected to use at the next scale to try.
const AIM: f64 = 0.99;
/// Assumed exponent p of forgetting ∝ scaleᵖ along a direction from the base. Forgetting grows faster than linearly.
const POWER: f64 = 1.5;
/// Minimum share of a limit that enters the power law, whose logarithm a domain that improved does not have.
const LOWEST: f64 = 0.01;
/// Minimum scale of the weight change that the search tries.
pub(super) const LEAST: f64 = 1.0 / 64.0;

/// State of the search: the largest scale known to be within the limits and the smallest one known to be beyond them,
/// each with the share of its limit that the worst domain uses there.
pub(super) struct Bracket {
    first: f64,
    inside: Option<(f64, f64)>,
    outside: Option<(f64, f64)>,
    whole: f64,
}

impl Bracket {
    /// Makes a bracket without known scales. The search tries the scale `first` first.
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

    /// Returns true if the search can end: at the largest scale within the limits, the worst domain nearly uses up its
    /// limit, or every layer has its maximum share.
    pub(super) fn is_close(&self) -> bool {
        self.inside
            .is_some_and(|(scale, worst)| worst >= CLOSE || scale >= self.whole)
    }

    /// Returns the next scale to try. It is chosen such that the worst domain should use the share [`AIM`] of its
    /// limit, by a power law through the two known scales, or through the only known one.
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
                // Keeps a distance from both ends.
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

    /// Checks that the search ends within a few percent below the limit, whether forgetting grows with a power from 1
    /// to 2 of the scale or with additional curvature.
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

    /// Checks the edges of the search: a model exactly at its limit is within it, a domain that uses 98 % of its
    /// limit or a scale at which every layer is at its maximum ends the search, and a domain that improved counts as
    /// using 1 %.
    #[test]
    fn the_search_ends_at_its_edges() {
        let direction = Shares::from([("one".to_owned(), 0.5), ("all".to_owned(), 1.0)]);
        let after = |looks: &[(f64, f64)]| {
            let mut bracket = Bracket::new(&direction, 1.0);
            for (scale, worst) in looks {
                bracket.take(*scale, *worst);
            }
            (bracket.is_close(), bracket.next())
        };
        assert!(after(&[(0.5, 1.0)]).0);
        assert!(after(&[(0.5, CLOSE)]).0 && !after(&[(0.5, CLOSE - 1e-9)]).0);
        assert!(!after(&[]).0 && !after(&[(0.5, 1.0 + 1e-9)]).0);
        assert!(after(&[(2.0 * MOST, 0.1)]).0 && !after(&[(2.0 * MOST - 1e-9, 0.1)]).0);
        // The aim is 99 times as far as 1 %, which the power 1.5 reaches at 99^(2/3) times the scale.
        let far = after(&[(0.1, -3.0)]).1;
        assert!((far - 0.1 * 99f64.powf(2.0 / 3.0)).abs() < 1e-12, "{far}");
        assert_eq!(after(&[(1.0, -3.0)]).1, 2.0 * MOST);
        assert_eq!(after(&[(LEAST, 100.0)]).1, LEAST);
        // By the power law through both: ln(0.99 / 0.5) / ln(2 / 0.5) of the way from 1/2 to 2 in logarithms.
        let between = after(&[(0.5, 0.5), (2.0, 2.0)]).1;
        let expected = 0.5 * 4f64.powf(1.98f64.ln() / 4f64.ln());
        assert!((between - expected).abs() < 1e-12, "{between} {expected}");
    }

    /// Checks the next scales by hand. Eight times the aim at scale 1, with forgetting that grows by the power 1.5, is
    /// reached at a quarter; and between two ends, a tenth of their ratio is kept from each.
    #[test]
    fn the_next_scale_follows_the_power() {
        let direction = Shares::from([("all".to_owned(), 1.0)]);
        let mut bracket = Bracket::new(&direction, 1.0);
        assert_eq!(bracket.next(), 1.0);
        bracket.take(1.0, 8.0 * AIM);
        assert!((bracket.next() - 0.25).abs() < 1e-12, "{}", bracket.next());
        bracket.take(0.25, AIM - 1e-6);
        assert!((bracket.next() - 0.25 * 4f64.powf(0.1)).abs() < 1e-12);
        let mut bracket = Bracket::new(&direction, 1.0);
        bracket.take(1.0, 1.0 + 1e-6);
        bracket.take(0.25, 0.5);
        assert!((bracket.next() - 0.25 * 4f64.powf(0.9)).abs() < 1e-12);
    }
}
