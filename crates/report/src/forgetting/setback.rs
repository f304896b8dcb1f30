//! Setback: forgetting of a domain, expressed as the step of the base's own training at which the domain was as bad.

use serde::{Deserialize, Serialize};

use super::{DomainReport, ModelScores, Role};
use crate::wording::count;

/// Position in the base's training to which a domain fell back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setback {
    /// Step of the base's training at which the domain had the bits per byte that the tuned model has.
    pub step: u64,
    /// Step of the base checkpoint that was tuned.
    pub of: u64,
    /// True if the domain is worse than even at the first evaluation of the base's training, which was at `step`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub before: bool,
}

impl Setback {
    /// Finds the position on the base's curve. `None` if the domain did not get worse beyond its interval, or the
    /// base's training did not evaluate it.
    ///
    /// The curve rests on other documents than the report: a sample of the `dev` split. So the change of the report is
    /// added to the curve's own value at the base's step, and the sum is looked up: the last evaluation that was as
    /// high, and between it and the next by a straight line.
    pub fn of(base: &ModelScores, domain: &DomainReport) -> Option<Self> {
        let change = domain.change?;
        let is_worse = domain.interval.is_some_and(|[low, _]| low > 0.0);
        let end = base.provenance.step?;
        // A domain of the base's training that has the name of generated text is another text.
        if domain.role != Role::Retained || !is_worse || domain.is_generated() {
            return None;
        }
        let on_the_way = base.curve.iter().filter(|point| point.step <= end);
        let points: Vec<(f64, f64)> = on_the_way
            .filter_map(|point| {
                let bits = point.heldout_bits_per_byte.get(&domain.name)?;
                Some((point.step as f64, *bits))
            })
            .collect();
        let [first, .., (_, last)] = points[..] else {
            return None;
        };
        let target = last + change;
        let Some(at) = points.iter().rposition(|(_, bits)| *bits >= target) else {
            return Some(Self {
                step: first.0 as u64,
                of: end,
                before: true,
            });
        };
        let (step, bits) = points[at];
        let (next_step, next) = *points.get(at + 1)?;
        let part = match bits > next {
            true => (bits - target) / (bits - next),
            false => 0.0,
        };
        Some(Self {
            step: (step + part * (next_step - step)).round() as u64,
            of: end,
            before: false,
        })
    }

    /// Describes the position: `about step 410 of 733`.
    pub fn place(&self) -> String {
        let about = if self.before { "before" } else { "about" };
        format!("{about} step {} of {}", count(self.step), count(self.of))
    }

    /// Returns a sentence about the domain `name`.
    pub fn sentence(&self, name: &str) -> String {
        let place = self.place();
        match self.before {
            true => format!(
                "{name} is worse than the base's training had it at its first evaluation ({place})."
            ),
            false => format!("{name} is back where the base's training had it at {place}."),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::{CurvePoint, Provenance, tests::domain_report};
    use super::*;

    fn base(curve: &[(u64, f64)]) -> ModelScores {
        let point = |(step, bits): &(u64, f64)| CurvePoint {
            step: *step,
            heldout_bits_per_byte: BTreeMap::from([("law".to_owned(), *bits)]),
        };
        ModelScores {
            curve: curve.iter().map(point).collect(),
            provenance: Provenance {
                step: Some(700),
                ..Provenance::default()
            },
            ..ModelScores::default()
        }
    }

    fn found(curve: &[(u64, f64)], change: f64) -> Option<Setback> {
        Setback::of(&base(curve), &domain_report("law", change))
    }

    /// Checks that generated text is not looked up on the curve of a domain of the same name.
    #[test]
    fn generated_text_was_not_trained_on() {
        let base = base(&[(100, 2.0), (700, 1.0)]);
        let mut domain = domain_report("law", 0.5);
        assert!(Setback::of(&base, &domain).is_some());
        domain.grouping = Some("generated documents".into());
        assert_eq!(Setback::of(&base, &domain), None);
    }

    /// Checks that the change is added to the curve's end at the base's step, not to that of the training, and looked
    /// up between two evaluations.
    #[test]
    fn a_loss_is_looked_up_on_the_curve_of_the_base() {
        let curve = [(100, 3.0), (400, 2.5), (600, 2.1), (700, 2.0), (800, 1.0)];
        let setback = found(&curve, 0.3).unwrap();
        assert_eq!(
            (setback.step, setback.of, setback.before),
            (500, 700, false)
        );
        assert_eq!(
            setback.sentence("law"),
            "law is back where the base's training had it at about step 500 of 700."
        );
        let worse = found(&curve, 1.5).unwrap();
        assert_eq!((worse.step, worse.before), (100, true));
    }

    /// Checks that nothing is said of a domain that did not get worse, or without two evaluations of it.
    #[test]
    fn nothing_is_said_without_a_loss_or_a_curve() {
        let curve = [(100, 3.0), (700, 2.0)];
        assert_eq!(found(&curve, -0.2), None);
        assert_eq!(found(&curve[..1], 0.2), None);
        assert_eq!(found(&[], 0.2), None);
        let mut unknown = base(&curve);
        unknown.provenance.step = None;
        assert_eq!(Setback::of(&unknown, &domain_report("law", 0.2)), None);
    }
}
