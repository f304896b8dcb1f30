//! Retention limits: how much each retained domain may lose, and what keeps a run inside.
//!
//! `recipe` fills in the method and schedule that a config leaves out, `held` compares every retained domain's dev split with the
//! base, `limited` evaluates the run by that and decides the best checkpoint, `control` has the rules by which `pressure` moves,
//! `mix` goes as far on the way from the base through the run's end as the limits allow, `bracket` finds where the limit lies, `tilt` says how that is shared out over
//! the blocks, `verdict` judges on the test split; `run` puts them into a run.

mod bracket;
mod control;
mod held;
mod limited;
mod mix;
mod pressure;
mod recipe;
mod run;
#[cfg(test)]
mod simulated;
mod tilt;
mod verdict;

use std::collections::BTreeMap;

pub use control::Allowance;
pub use pressure::{Pressed, Pressure};
pub(crate) use recipe::{fill_in_method, fill_in_schedule};
pub use verdict::{DomainVerdict, Judged, LimitedDomain, LimitsVerdict};

use crate::FinetuneError;

/// `[retention.limits]`: the most that a domain may rise, in bits per byte; `default` is for those that are not named.
pub type LimitsConfig = BTreeMap<String, f64>;

/// The name of the limit of all others.
const DEFAULT: &str = "default";
/// Added to the score of a checkpoint outside the limits: any inside is better, and of those outside the closest.
const OUTSIDE: f64 = 1e6;

/// Whether the score of a run's best checkpoint says that nothing was inside the limits.
pub fn is_outside(score: f64) -> bool {
    score >= OUTSIDE
}

/// The limit of a domain, if it has one.
pub(crate) fn limit_of(limits: &LimitsConfig, domain: &str) -> Option<f64> {
    limits.get(domain).or_else(|| limits.get(DEFAULT)).copied()
}

/// Checks the limits against the old domains.
pub(crate) fn check(limits: &LimitsConfig, old: &[&str]) -> Result<(), FinetuneError> {
    let refuse = |message: String| Err(FinetuneError::Config(message));
    if limits.is_empty() {
        return refuse(
            "`retention.limits` has no limit: give `default = 0.02`, or leave the table out".into(),
        );
    }
    if old.is_empty() {
        return refuse(
            "`retention.limits` is measured on the old domains, and `retain` gives none: set it to the data set that \
             the base was trained on"
                .into(),
        );
    }
    for (name, limit) in limits {
        if name != DEFAULT && !old.contains(&name.as_str()) {
            return refuse(format!(
                "`retention.limits.{name}`: `retain` has no such domain; it has `{}` (and `{DEFAULT}` stands for all)",
                old.join("`, `")
            ));
        }
        if !(limit.is_finite() && *limit > 0.0) {
            return refuse(format!(
                "`retention.limits.{name}` = `{limit}`: expected a number of bits per byte above 0"
            ));
        }
    }
    Ok(())
}
