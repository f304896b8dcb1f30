//! What a comparison says of a domain.

use serde::{Deserialize, Serialize};

use super::FEWEST_EFFECTIVE;

/// A side of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Toward less loss.
    Lower,
    /// Toward more loss.
    Upper,
}

/// A test of a change against a limit: on one side of it a non-inferiority test (one arm of TOST, two one-sided tests), on
/// the other a test that the limit is broken. Every verdict of a report and of a forgetting limit comes from here.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Against {
    /// Two-sided: below a level exactly where the bound of that level leaves the limit out.
    pub p_value: f64,
    /// Whether the change is above the limit.
    pub above: bool,
    /// Independent groups of documents.
    pub groups: usize,
    /// How many groups of one size and with normally scattered changes would tell as much.
    pub effective_groups: f64,
    /// About how many groups of the same kind would decide, at the level of 5 %, were the change what it is; none where it
    /// equals the limit.
    pub deciding_groups: Option<usize>,
}

/// A verdict against a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LimitVerdict {
    /// The test's upper bound is within the limit, and at least 15 effective groups say so.
    Kept,
    /// The test's lower bound is beyond the limit.
    Broken,
    /// Neither.
    Undecided,
}

impl Against {
    /// The same with a corrected p-value.
    #[must_use]
    pub fn corrected(self, p_value: f64) -> Self {
        Self { p_value, ..self }
    }

    /// The verdict at a two-sided `level`: one-sided, each arm is tested at half of it.
    pub fn verdict(&self, level: f64) -> LimitVerdict {
        match (self.p_value < level, self.above) {
            (true, true) => LimitVerdict::Broken,
            (true, false) if self.has_enough_groups() => LimitVerdict::Kept,
            _ => LimitVerdict::Undecided,
        }
    }

    /// Whether there are enough effective groups to show that a limit is kept: from fewer, a small sample that missed the
    /// few documents that lost much would say so too often.
    pub fn has_enough_groups(&self) -> bool {
        self.effective_groups >= FEWEST_EFFECTIVE
    }
}

/// What is judged of a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The change is below the tolerance for sure: at most a negligible loss.
    Kept,
    /// The change is above the tolerance for sure.
    Forgotten,
    /// More held-out text would be needed to tell.
    Undecided,
    /// Of the niche: the change is below zero for sure.
    Gained,
    /// Of the niche: the change is above zero for sure.
    Lost,
    /// Not judged, since its held-out text stands in training text too.
    Withheld,
}

impl Verdict {
    /// Of a retained domain, against the tolerance, at a two-sided `level`.
    pub fn of_retained(against: &Against, level: f64) -> Self {
        match against.verdict(level) {
            LimitVerdict::Kept => Self::Kept,
            LimitVerdict::Broken => Self::Forgotten,
            LimitVerdict::Undecided => Self::Undecided,
        }
    }

    /// Of the niche, against no change.
    pub fn of_niche(against: &Against, level: f64) -> Self {
        match (against.p_value < level, against.above) {
            (true, false) => Self::Gained,
            (true, true) => Self::Lost,
            (false, _) => Self::Undecided,
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

    fn against(p_value: f64, above: bool, effective_groups: f64) -> Against {
        Against {
            p_value,
            above,
            groups: 20,
            effective_groups,
            deciding_groups: None,
        }
    }

    /// The side decides which way, and only a sure one decides at all.
    #[test]
    fn only_what_is_sure_decides() {
        let retained = |p, above| Verdict::of_retained(&against(p, above, 20.0), 0.05);
        assert_eq!(retained(0.01, false), Verdict::Kept);
        assert_eq!(retained(0.01, true), Verdict::Forgotten);
        assert_eq!(retained(0.05, true), Verdict::Undecided);
        let niche = |p, above| Verdict::of_niche(&against(p, above, 6.0), 0.05);
        assert_eq!(niche(0.01, false), Verdict::Gained);
        assert_eq!(niche(0.01, true), Verdict::Lost);
        assert_eq!(niche(0.2, false), Verdict::Undecided);
    }

    /// Few effective groups can show that a limit is broken, not that it is kept.
    #[test]
    fn few_groups_keep_nothing() {
        let verdict = |above, groups| against(0.001, above, groups).verdict(0.05);
        assert_eq!(verdict(false, 14.9), LimitVerdict::Undecided);
        assert_eq!(verdict(false, 15.0), LimitVerdict::Kept);
        assert_eq!(verdict(true, 6.0), LimitVerdict::Broken);
    }
}
