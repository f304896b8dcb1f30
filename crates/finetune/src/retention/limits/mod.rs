//! Forgetting limits: upper bounds of each retained domain's increase, and the controller that keeps a run within the
//! limits.
//!
//! `recipe` fills in method and schedule if the config does not set them, `retained` compares the retained domains with
//! the base on the dev split, `dev_set` chooses how much of that split is scored, `limited` evaluates the run and
//! chooses the best checkpoint, `control_rules` has the update rules of the `controller`, `mix` prepares the `search`
//! along the line through base and last checkpoint for the model that uses the limits best, `bracket` finds the limit
//! along a direction, `tilt` distributes the change over the layers, `verdict` judges on the test split, and `run`
//! combines them.

mod bracket;
mod control_rules;
mod controller;
mod dev_set;
mod limited;
mod mix;
mod recipe;
mod retained;
mod run;
mod search;
#[cfg(test)]
mod simulated;
mod tilt;
mod verdict;

use std::collections::BTreeMap;

pub use control_rules::Allowance;
pub use controller::{ControlledReplay, LimitController, ReplayedDomain};
pub(crate) use dev_set::DevPart;
pub(crate) use mix::{UsualScorings, usual_scorings};
pub(crate) use recipe::{
    EVALUATIONS, FEWEST_EVALUATIONS, MAX_TOKENS, fill_in_method, schedule, without_text,
};
pub use verdict::{DomainVerdict, Judged, LimitedDomain, LimitsVerdict};

use polymath_config::toml_key;
use polymath_data::NamedShard;
use polymath_model::Transformer;

use crate::FinetuneError;

/// The `[retention.limits]` table: maximum increase of each domain in bits per byte. The key `default` applies to
/// domains that are not listed.
pub type LimitsConfig = BTreeMap<String, f64>;

/// Key that sets the limit of all domains that are not listed.
const DEFAULT: &str = "default";

/// Returns the limit of a domain in bits per byte, or `None` if the domain has no limit.
pub(crate) fn limit_of(limits: &LimitsConfig, domain: &str) -> Option<f64> {
    limits.get(domain).or_else(|| limits.get(DEFAULT)).copied()
}

/// Model, with held-out documents of several domains in the tokens of that model's own tokenizer.
#[derive(Clone, Copy)]
pub(crate) struct ModelOnDomains<'a> {
    /// Model to be scored.
    pub model: &'a Transformer,
    /// Held-out documents of each domain, in the model's tokens.
    pub domains: &'a [NamedShard],
}

/// Checks the values of the limits, and that each listed domain is a retained domain.
pub(crate) fn check(limits: &LimitsConfig, retained: &[&str]) -> Result<(), FinetuneError> {
    let refuse = |message: String| Err(FinetuneError::Config(message));
    if limits.is_empty() {
        return refuse(
            "`retention.limits` has no limit: give `default = 0.02`, or leave the table out".into(),
        );
    }
    if retained.is_empty() {
        return refuse(
            "`retention.limits` is measured on the retained domains, and `retain` has none: set it to a dataset with other \
             domains than the niche, or leave it out, and the base generates the text"
                .into(),
        );
    }
    for (name, limit) in limits {
        if name != DEFAULT && !retained.contains(&name.as_str()) {
            return refuse(format!(
                "`retention.limits.{}`: no retained domain has this name; there is `{}` (and `{DEFAULT}` stands for \
                 all). `retain` names the dataset of the retained domains",
                toml_key(name),
                retained.join("`, `")
            ));
        }
        if !(limit.is_finite() && *limit > 0.0) {
            return refuse(format!(
                "`retention.limits.{}` = `{limit}`: expected a number of bits per byte above 0",
                toml_key(name)
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the limit of each domain, and that limits without a domain, of another domain and of no positive number
    /// are refused.
    #[test]
    fn limits_belong_to_retained_domains() {
        let limits = |pairs: &[(&str, f64)]| -> LimitsConfig {
            pairs
                .iter()
                .map(|(name, limit)| ((*name).to_owned(), *limit))
                .collect()
        };
        let both = limits(&[("default", 0.02), ("law", 0.5)]);
        assert_eq!(
            (limit_of(&both, "law"), limit_of(&both, "code")),
            (Some(0.5), Some(0.02))
        );
        assert_eq!(limit_of(&limits(&[("law", 0.5)]), "code"), None);
        let check = |limits: &LimitsConfig, retained: &[&str]| {
            check(limits, retained).map_err(|error| error.to_string())
        };
        assert_eq!(check(&both, &["law", "code"]), Ok(()));
        let refused: [(LimitsConfig, &[&str], &str); 5] = [
            (limits(&[]), &["law"], "has no limit"),
            (both.clone(), &[], "`retain` has none"),
            (
                both,
                &["code"],
                "`retention.limits.law`: no retained domain",
            ),
            (
                limits(&[("law", 0.0)]),
                &["law"],
                "`retention.limits.law` = `0`",
            ),
            (limits(&[("default", f64::INFINITY)]), &["law"], "= `inf`"),
        ];
        for (limits, retained, expected) in refused {
            let said = check(&limits, retained).unwrap_err();
            assert!(said.contains(expected), "{said}");
        }
    }
}
