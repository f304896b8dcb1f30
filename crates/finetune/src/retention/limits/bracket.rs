//! Where along a direction the limit lies.

use super::tilt::whole;
use polymath_eval::Shares;

/// Looks along a direction, at most.
pub(super) const LOOKS: usize = 8;
/// Where the worst domain uses so much of its limit, it is close enough.
const CLOSE: f64 = 0.98;
/// What is aimed at.
const AIM: f64 = 0.99;
/// Between the base and a run's end, rises go about as this power of the share: faster than linearly.
const POWER: f64 = 1.5;
/// Shares of a limit below this count as this: a domain that gains has no logarithm.
const LOWEST: f64 = 0.01;
/// Less of a run than this is nothing.
pub(super) const LEAST: f64 = 1.0 / 64.0;

/// Scales between which the limit lies, each with the worst domain's share of its limit there.
pub(super) struct Bracket {
    first: f64,
    inside: Option<(f64, f64)>,
    outside: Option<(f64, f64)>,
    whole: f64,
}

impl Bracket {
    /// Nothing known; to look at `first` first.
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

    /// Whether what is inside is as close to the limit as it needs to be, or can.
    pub(super) fn is_close(&self) -> bool {
        self.inside
            .is_some_and(|(scale, worst)| worst >= CLOSE || scale >= self.whole)
    }

    /// Where to look next: where the share of the limit is expected to be [`AIM`], by the power law through both ends, or
    /// through the one that there is.
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
                // Never at an end again.
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

    /// On rises that go by any power from 1 to 2, and bend, the looks come within a few percent of the limit, inside.
    #[test]
    fn the_limit_is_found_in_a_few_looks() {
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
