//! Score of an evaluation, which chooses the best checkpoint.

use serde::{Deserialize, Serialize};

/// Score of an evaluation, by which the best checkpoint of a run is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(from = "SavedScore", into = "SavedScore")]
pub enum Score {
    /// Score of a model within the forgetting limits of its run, or of a run without limits. Lower bits per byte are
    /// better.
    Within {
        /// Bits per byte on held-out documents.
        bits_per_byte: f64,
    },
    /// Score of a model beyond a forgetting limit, which is worse than that of any model within. A smaller excess is
    /// better.
    Outside {
        /// Largest increase of a retained domain as a multiple of its limit; above 1.
        share_of_limit: f64,
    },
}

impl Score {
    /// Makes the score of a model within the limits, or of a run without limits.
    pub fn within(bits_per_byte: f64) -> Self {
        Self::Within { bits_per_byte }
    }

    /// Returns true if the score is that of a model within its forgetting limits, or of a run without limits.
    pub fn is_within(self) -> bool {
        matches!(self, Self::Within { .. })
    }

    /// Returns the bits per byte, or `None` for a model outside the limits.
    pub fn bits_per_byte(self) -> Option<f64> {
        match self {
            Self::Within { bits_per_byte } => Some(bits_per_byte),
            Self::Outside { .. } => None,
        }
    }

    /// Returns true if this score is better than `other`. NaN is never better.
    pub fn is_better_than(self, other: Self) -> bool {
        match (self, other) {
            (Self::Within { bits_per_byte: own }, Self::Within { bits_per_byte }) => {
                own < bits_per_byte
            }
            (
                Self::Outside {
                    share_of_limit: own,
                },
                Self::Outside { share_of_limit },
            ) => own < share_of_limit,
            (Self::Within { .. }, Self::Outside { .. }) => !self.is_nan(),
            (Self::Outside { .. }, Self::Within { .. }) => false,
        }
    }

    /// Returns true if the score's number is NaN.
    pub fn is_nan(self) -> bool {
        match self {
            Self::Within { bits_per_byte } => bits_per_byte.is_nan(),
            Self::Outside { share_of_limit } => share_of_limit.is_nan(),
        }
    }
}

/// Constant that earlier versions added to the score of a model beyond the limits, to mark it.
const OUTSIDE: f64 = 1e6;

/// Form of a score in `state.json`. `null` stands for infinity, which JSON lacks.
#[derive(Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum SavedScore {
    Within {
        bits_per_byte: Option<f64>,
    },
    Outside {
        share_of_limit: Option<f64>,
    },
    /// Score of earlier versions, a single number: bits per byte, or [`OUTSIDE`] plus the multiple of the limit.
    Number(Option<f64>),
}

impl From<Score> for SavedScore {
    fn from(score: Score) -> Self {
        let finite = |value: f64| value.is_finite().then_some(value);
        match score {
            Score::Within { bits_per_byte } => Self::Within {
                bits_per_byte: finite(bits_per_byte),
            },
            Score::Outside { share_of_limit } => Self::Outside {
                share_of_limit: finite(share_of_limit),
            },
        }
    }
}

impl From<SavedScore> for Score {
    fn from(saved: SavedScore) -> Self {
        let value = |saved: Option<f64>| saved.unwrap_or(f64::INFINITY);
        match saved {
            SavedScore::Within { bits_per_byte } => Self::within(value(bits_per_byte)),
            SavedScore::Outside { share_of_limit } => Self::Outside {
                share_of_limit: value(share_of_limit),
            },
            SavedScore::Number(number) => match value(number) {
                number if number >= OUTSIDE => Self::Outside {
                    share_of_limit: number - OUTSIDE,
                },
                bits_per_byte => Self::within(bits_per_byte),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Best;

    const fn outside(share_of_limit: f64) -> Score {
        Score::Outside { share_of_limit }
    }

    /// Checks that a model within the limits is better than one outside, for any scores, and that NaN is never better.
    #[test]
    fn a_model_within_the_limits_is_better_than_any_outside() {
        assert!(Score::within(9e6).is_better_than(outside(1.01)));
        assert!(!outside(1.01).is_better_than(Score::within(9e6)));
        assert!(Score::within(1.0).is_better_than(Score::within(1.5)));
        assert!(!Score::within(1.5).is_better_than(Score::within(1.5)));
        assert!(outside(1.2).is_better_than(outside(f64::INFINITY)));
        assert!(!outside(1.3).is_better_than(outside(1.2)));
        assert!(!outside(1.3).is_better_than(outside(1.3)));
        for other in [Score::within(1.0), outside(2.0)] {
            assert!(!Score::within(f64::NAN).is_better_than(other));
            assert!(!outside(f64::NAN).is_better_than(other));
            assert!(!other.is_nan());
        }
    }

    /// Checks what a score tells of itself, in both forms.
    #[test]
    fn a_score_tells_its_kind_and_number() {
        let (within, beyond) = (Score::within(1.5), outside(2.5));
        assert!(within.is_within() && !beyond.is_within());
        assert_eq!(
            (within.bits_per_byte(), beyond.bits_per_byte()),
            (Some(1.5), None)
        );
        assert!(Score::within(f64::NAN).is_nan() && outside(f64::NAN).is_nan());
    }

    /// Checks that scores are read from JSON as they were written, including infinity, and that the single numbers of
    /// earlier versions are read.
    #[test]
    fn scores_of_earlier_versions_are_read() {
        for score in [
            Score::within(0.9),
            Score::within(3e6),
            Score::within(f64::INFINITY),
            outside(1.75),
            outside(f64::INFINITY),
        ] {
            let text = serde_json::to_string_pretty(&score).unwrap();
            assert_eq!(serde_json::from_str::<Score>(&text).unwrap(), score);
        }
        let best = |text: &str| serde_json::from_str::<Best>(text).unwrap().score;
        assert_eq!(best(r#"{"step": 5, "score": 0.9}"#), Score::within(0.9));
        assert_eq!(best(r#"{"step": 5, "score": 2}"#), Score::within(2.0));
        assert_eq!(best(r#"{"step": 5, "score": 1000001.75}"#), outside(1.75));
        assert_eq!(best(r#"{"step": 5, "score": 1000000}"#), outside(0.0));
        assert_eq!(
            best(r#"{"step": 5, "score": null}"#),
            outside(f64::INFINITY)
        );
        assert!(serde_json::from_str::<Score>(r#"{"share": 2.0}"#).is_err());
    }
}
