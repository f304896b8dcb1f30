//! What an interval says of a domain.

use serde::{Deserialize, Serialize};

use super::Change;

/// What the interval says of a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The whole interval lies below the tolerance: at most a negligible loss.
    Kept,
    /// The whole interval lies above the tolerance.
    Forgotten,
    /// More held-out text would be needed to tell.
    Undecided,
    /// Of the niche: the whole interval lies below zero.
    Gained,
    /// Of the niche: the whole interval lies above zero.
    Lost,
    /// Not judged, since its held-out text stands in training text too.
    Withheld,
}

impl Verdict {
    /// Of an old domain: an equivalence test against the tolerance.
    pub fn of_old(change: &Change, tolerance: f64) -> Self {
        if !change.has_spread() {
            Self::Undecided
        } else if change.high < tolerance {
            Self::Kept
        } else if change.low > tolerance {
            Self::Forgotten
        } else {
            Self::Undecided
        }
    }

    /// Of the niche: a test against no change.
    pub fn of_niche(change: &Change) -> Self {
        if !change.has_spread() {
            Self::Undecided
        } else if change.high < 0.0 {
            Self::Gained
        } else if change.low > 0.0 {
            Self::Lost
        } else {
            Self::Undecided
        }
    }

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Forgotten => "forgotten",
            Self::Undecided => "undecided",
            Self::Gained => "gained",
            Self::Lost => "lost",
            Self::Withheld => "withheld",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(low: f64, high: f64) -> Change {
        Change {
            value: (low + high) / 2.0,
            low,
            high,
            documents: 50,
        }
    }

    /// Only an interval that is wholly on one side of the limit decides.
    #[test]
    fn intervals_decide() {
        let old = |low, high| Verdict::of_old(&change(low, high), 0.02);
        assert_eq!(old(-0.01, 0.01), Verdict::Kept);
        assert_eq!(old(-0.5, -0.4), Verdict::Kept);
        assert_eq!(old(0.03, 0.04), Verdict::Forgotten);
        assert_eq!(old(0.01, 0.03), Verdict::Undecided);
        let niche = |low, high| Verdict::of_niche(&change(low, high));
        assert_eq!(niche(-0.2, -0.1), Verdict::Gained);
        assert_eq!(niche(0.001, 0.01), Verdict::Lost);
        assert_eq!(niche(-0.1, 0.1), Verdict::Undecided);
    }

    /// A few documents never decide, however narrow their interval; no change at all is none for any number of them.
    #[test]
    fn few_documents_do_not_decide() {
        let few = |low, high| Change {
            documents: 2,
            ..change(low, high)
        };
        assert_eq!(Verdict::of_old(&few(0.5, 0.5), 0.02), Verdict::Undecided);
        assert_eq!(Verdict::of_niche(&few(-0.5, -0.5)), Verdict::Undecided);
        assert_eq!(Verdict::of_old(&few(0.0, 0.0), 0.02), Verdict::Kept);
    }
}
