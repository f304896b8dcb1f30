//! Elastic weight consolidation ([Kirkpatrick 2017](https://arxiv.org/abs/1612.00796)): the penalty λ/2·ΣF(θ − θ₀)²,
//! where F is the diagonal of the base's empirical Fisher information on the retained domains.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};
use polymath_model::Ops;
use polymath_train::{Penalty, TrainError};
use serde::{Deserialize, Serialize};

use super::quadratic::{PullTarget, pull_all};
use crate::FinetuneError;

/// The `[retention.ewc]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EwcConfig {
    /// Strength λ. F is a mean over tokens: with a strength of 1, an expected increase of one nat per retained token
    /// counts as much as one nat per token of the niche.
    pub strength: f64,
    /// Number of tokens of each retained domain from which F is estimated.
    #[serde(default = "default_tokens")]
    pub tokens: u64,
    /// Weight of each domain in F; domains that are not listed have the weight 1.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub weights: BTreeMap<String, f64>,
}

fn default_tokens() -> u64 {
    50_000
}

impl EwcConfig {
    /// Checks every value of the table, and that each domain in `weights` is a retained domain.
    pub(crate) fn validate(&self, retained: &[&str]) -> Result<(), FinetuneError> {
        let refuse = |message: String| Err(FinetuneError::Config(message));
        super::positive("retention.ewc.strength", self.strength)?;
        if self.tokens == 0 {
            return refuse("`retention.ewc.tokens` = `0`: expected at least 1".into());
        }
        for (name, weight) in &self.weights {
            if !retained.contains(&name.as_str()) {
                return refuse(format!(
                    "`retention.ewc.weights` has `{name}`, which is not a retained domain; they are `{}`",
                    retained.join("`, `")
                ));
            }
            if !(weight.is_finite() && *weight >= 0.0) {
                return refuse(format!(
                    "`retention.ewc.weights` has `{name} = {weight}`: expected a number of at least 0"
                ));
            }
        }
        if retained.iter().all(|name| self.weight(name) == 0.0) {
            return refuse("`retention.ewc.weights` leaves no domain with a weight above 0".into());
        }
        Ok(())
    }

    /// Returns the weight of a domain in the mean of the domains' Fisher information.
    pub(crate) fn weight(&self, domain: &str) -> f64 {
        self.weights.get(domain).copied().unwrap_or(1.0)
    }
}

/// Returns the weighted mean of the domains' Fisher information F with their weights w: Σ w·F / Σ w.
pub fn combine(
    domains: Vec<(f64, BTreeMap<String, Tensor>)>,
) -> Result<BTreeMap<String, Tensor>, candle_core::Error> {
    let total: f64 = domains.iter().map(|domain| domain.0).sum();
    let mut mean: BTreeMap<String, Tensor> = BTreeMap::new();
    for (weight, fisher) in domains {
        for (name, fisher) in fisher {
            let part = (fisher * (weight / total))?;
            let sum = match mean.remove(&name) {
                Some(before) => (before + part)?,
                None => part,
            };
            mean.insert(name, sum);
        }
    }
    Ok(mean)
}

/// EWC penalty over the trainable parameters.
pub struct Ewc {
    /// Strength λ of the penalty.
    pub strength: f64,
    /// Parameters θ₀ of the base, by name, towards which the penalty pulls.
    pub base: BTreeMap<String, Tensor>,
    /// Diagonal Fisher information F of each parameter, by name.
    pub fisher: BTreeMap<String, Tensor>,
    /// Implementation of the tensor operations.
    pub ops: Ops,
}

impl Penalty for Ewc {
    fn name(&self) -> &'static str {
        "ewc"
    }

    fn add(
        &self,
        parameters: &BTreeMap<String, Var>,
        gradients: &mut BTreeMap<String, Tensor>,
        scale: f64,
    ) -> Result<f64, TrainError> {
        let firmness = |name: &str| self.fisher.get(name);
        if let Some(name) = gradients.keys().find(|name| firmness(name).is_none()) {
            return Err(TrainError::Config(format!(
                "the Fisher information has no `{name}`: it was made for another model"
            )));
        }
        let anchor = PullTarget {
            base: &self.base,
            firmness: &firmness,
        };
        let factor = scale * self.strength;
        let sum = pull_all(self.ops, parameters, gradients, anchor, factor)?;
        Ok(0.5 * self.strength * sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the weights of domains: 1 where none is given, and that not all may be 0.
    #[test]
    fn weights_belong_to_retained_domains() {
        let config = |text: &str| -> EwcConfig {
            toml::from_str(&format!("strength = 2.0\n{text}")).unwrap()
        };
        let check = |text: &str| {
            config(text)
                .validate(&["law", "code"])
                .map_err(|error| error.to_string())
        };
        let found = config("weights = { law = 0.25 }");
        assert_eq!((found.weight("law"), found.weight("code")), (0.25, 1.0));
        assert_eq!(found.tokens, 50_000);
        for text in [
            "",
            "tokens = 1",
            "weights = { law = 0.0 }",
            "weights = { law = 0.0, code = 0.5 }",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
        for (text, expected) in [
            ("tokens = 0", "`retention.ewc.tokens` = `0`"),
            (
                "weights = { verse = 1.0 }",
                "`verse`, which is not a retained domain",
            ),
            ("weights = { law = -0.1 }", "`law = -0.1`"),
            ("weights = { law = inf }", "`law = inf`"),
            ("weights = { law = 0.0, code = 0.0 }", "leaves no domain"),
        ] {
            let said = check(text).unwrap_err();
            assert!(said.contains(expected), "{text}: {said}");
        }
        assert!(
            toml::from_str::<EwcConfig>("strength = 0.0")
                .unwrap()
                .validate(&["law"])
                .is_err()
        );
    }
}
