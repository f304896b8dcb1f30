//! What a comparison says of a domain.

use serde::{Deserialize, Serialize};

use super::Against;

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
    /// Of an old domain, against the tolerance, where the p-value of `against`, corrected or not, is below `level`.
    pub fn of_old(against: Against, level: f64) -> Self {
        match (against.p_value < level, against.above) {
            (true, false) => Self::Kept,
            (true, true) => Self::Forgotten,
            (false, _) => Self::Undecided,
        }
    }

    /// Of the niche, against no change.
    pub fn of_niche(against: Against, level: f64) -> Self {
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

    /// The side decides which way, and only a sure one decides at all.
    #[test]
    fn only_what_is_sure_decides() {
        let against = |p_value, above| Against { p_value, above };
        let old = |p_value, above| Verdict::of_old(against(p_value, above), 0.05);
        assert_eq!(old(0.01, false), Verdict::Kept);
        assert_eq!(old(0.01, true), Verdict::Forgotten);
        assert_eq!(old(0.05, true), Verdict::Undecided);
        let niche = |p_value, above| Verdict::of_niche(against(p_value, above), 0.05);
        assert_eq!(niche(0.01, false), Verdict::Gained);
        assert_eq!(niche(0.01, true), Verdict::Lost);
        assert_eq!(niche(0.2, false), Verdict::Undecided);
    }
}
