//! Verdicts of a comparison.

use serde::{Deserialize, Serialize};

use super::FEWEST_EFFECTIVE;

/// Direction of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Toward less loss.
    Lower,
    /// Toward more loss.
    Upper,
}

/// Test of a change against a limit: a non-inferiority test on one side (one part of TOST, two one-sided tests), a test
/// of a violation on the other. All verdicts of reports and forgetting limits come from it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Against {
    /// Two-sided p-value: below a level exactly if the bound of that level excludes the limit.
    pub p_value: f64,
    /// Set if the change is above the limit.
    pub above: bool,
    /// Number of independent groups of documents.
    pub groups: usize,
    /// Number of equally large groups with normally distributed changes that would give the same precision.
    pub effective_groups: f64,
    /// Approximate number of similar groups that would decide at the 5 % level with this change; `None` if the change
    /// equals the limit.
    pub deciding_groups: Option<usize>,
}

/// Verdict on a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LimitVerdict {
    /// The upper bound of the test is within the limit, with at least 15 effective groups.
    Kept,
    /// The lower bound of the test is beyond the limit.
    Broken,
    /// Neither bound decides.
    Undecided,
}

impl Against {
    /// Replaces the p-value by a corrected one.
    #[must_use]
    pub fn corrected(self, p_value: f64) -> Self {
        Self { p_value, ..self }
    }

    /// Returns the verdict at a two-sided `level`; each one-sided test uses half of it.
    pub fn verdict(&self, level: f64) -> LimitVerdict {
        match (self.p_value < level, self.above) {
            (true, true) => LimitVerdict::Broken,
            (true, false) if self.has_enough_groups() => LimitVerdict::Kept,
            _ => LimitVerdict::Undecided,
        }
    }

    /// Returns whether there are enough effective groups to show that a limit is kept: a smaller sample without the few
    /// documents that lose much would show it too often.
    pub fn has_enough_groups(&self) -> bool {
        self.effective_groups >= FEWEST_EFFECTIVE
    }
}

/// Verdict on a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The change is significantly below the tolerance: at most a negligible loss.
    Kept,
    /// The change is significantly above the tolerance.
    Forgotten,
    /// More held-out text would be needed to decide.
    Undecided,
    /// Niche: the change is significantly below zero.
    Gained,
    /// Niche: the change is significantly above zero.
    Lost,
    /// Not judged, since its held-out text is also in training text.
    Withheld,
}

impl Verdict {
    /// Judges a retained domain against its tolerance at a two-sided `level`.
    pub fn of_retained(against: &Against, level: f64) -> Self {
        match against.verdict(level) {
            LimitVerdict::Kept => Self::Kept,
            LimitVerdict::Broken => Self::Forgotten,
            LimitVerdict::Undecided => Self::Undecided,
        }
    }

    /// Judges the niche against no change.
    pub fn of_niche(against: &Against, level: f64) -> Self {
        match (against.p_value < level, against.above) {
            (true, false) => Self::Gained,
            (true, true) => Self::Lost,
            (false, _) => Self::Undecided,
        }
    }

    /// Returns the verdict as a word.
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

    fn against(p_value: f64, above: bool, effective_groups: f64) -> Against {
        Against {
            p_value,
            above,
            groups: 20,
            effective_groups,
            deciding_groups: None,
        }
    }

    /// The side decides the verdict, and only a significant change is decided.
    #[test]
    fn only_significant_changes_decide() {
        let retained = |p, above| Verdict::of_retained(&against(p, above, 20.0), 0.05);
        assert_eq!(retained(0.01, false), Verdict::Kept);
        assert_eq!(retained(0.01, true), Verdict::Forgotten);
        assert_eq!(retained(0.05, true), Verdict::Undecided);
        let niche = |p, above| Verdict::of_niche(&against(p, above, 6.0), 0.05);
        assert_eq!(niche(0.01, false), Verdict::Gained);
        assert_eq!(niche(0.01, true), Verdict::Lost);
        assert_eq!(niche(0.2, false), Verdict::Undecided);
    }

    /// Few effective groups can show that a limit is broken, but not that it is kept.
    #[test]
    fn few_groups_never_show_a_kept_limit() {
        let verdict = |above, groups| against(0.001, above, groups).verdict(0.05);
        assert_eq!(verdict(false, 14.9), LimitVerdict::Undecided);
        assert_eq!(verdict(false, 15.0), LimitVerdict::Kept);
        assert_eq!(verdict(true, 6.0), LimitVerdict::Broken);
    }
}
