//! Verdicts on a measured change: tests against a limit, and their results.

use serde::{Deserialize, Serialize};

use super::FEWEST_EFFECTIVE;

/// Side of a change: its lower or its upper end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Toward less loss (lower bits per byte).
    Lower,
    /// Toward more loss (higher bits per byte).
    Upper,
}

/// Test of a change against a limit. If the change is below the limit it is a non-inferiority test (one of the two
/// one-sided tests of TOST), otherwise a test of a violation. All verdicts of reports and forgetting limits come from
/// it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Against {
    /// Two-sided p-value. It is below a level exactly if the bound of that level excludes the limit.
    pub p_value: f64,
    /// True if the change is above the limit.
    pub above: bool,
    /// Number of independent document groups.
    pub groups: usize,
    /// Effective number of groups: the number of equally large groups with normally distributed changes that would
    /// give the same precision.
    pub effective_groups: f64,
    /// Approximate number of similar groups that would make the test significant at the 5 % level with the same
    /// change; `None` if the change equals the limit.
    pub deciding_groups: Option<usize>,
}

/// Verdict on a forgetting limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LimitVerdict {
    /// The test's upper bound is within the limit, with at least 15 effective groups.
    Kept,
    /// The test's lower bound is above the limit.
    Broken,
    /// The test is not significant in either direction.
    Undecided,
}

impl Against {
    /// Returns this test with the p-value replaced by a corrected one.
    #[must_use]
    pub fn corrected(self, p_value: f64) -> Self {
        Self { p_value, ..self }
    }

    /// Returns the verdict at the two-sided `level`; each one-sided test uses half of it.
    pub fn verdict(&self, level: f64) -> LimitVerdict {
        match (self.p_value < level, self.above) {
            (true, true) => LimitVerdict::Broken,
            (true, false) if self.has_enough_groups() => LimitVerdict::Kept,
            _ => LimitVerdict::Undecided,
        }
    }

    /// Returns true if there are enough effective groups for the verdict “kept”. A smaller sample may lack the few
    /// documents with a large loss, and would then be judged as kept too often.
    pub fn has_enough_groups(&self) -> bool {
        self.effective_groups >= FEWEST_EFFECTIVE
    }
}

/// Verdict on a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The change is significantly below the tolerance: there is at most a negligible loss.
    Kept,
    /// A retained domain whose change is significantly below zero: kept, and better than the base.
    Improved,
    /// The change is significantly above the tolerance.
    Forgotten,
    /// Neither forgetting nor keeping is shown: more held-out text would be needed.
    Undecided,
    /// Niche: the change is significantly below zero.
    Gained,
    /// Niche: the change is significantly above zero.
    Lost,
    /// Not judged, because the domain's held-out text is also in training text.
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

    /// Judges the niche by the test against zero, at a two-sided `level`.
    pub fn of_niche(against: &Against, level: f64) -> Self {
        match (against.p_value < level, against.above) {
            (true, false) => Self::Gained,
            (true, true) => Self::Lost,
            (false, _) => Self::Undecided,
        }
    }

    /// Returns whether a retained domain is shown to have lost at most the tolerance.
    pub fn is_kept(self) -> bool {
        matches!(self, Self::Kept | Self::Improved)
    }

    /// Returns the verdict as a word, such as `kept`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Improved => "improved",
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

    /// Checks that the sign of the change gives the verdict, and that a change that is not significant is undecided.
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

    /// Checks that few effective groups can show that a limit is broken, but not that it is kept.
    #[test]
    fn few_groups_never_show_a_kept_limit() {
        let verdict = |above, groups| against(0.001, above, groups).verdict(0.05);
        assert_eq!(verdict(false, 14.9), LimitVerdict::Undecided);
        assert_eq!(verdict(false, 15.0), LimitVerdict::Kept);
        assert_eq!(verdict(true, 6.0), LimitVerdict::Broken);
    }
}
