//! Mixture of domains: the share of the training tokens that each domain gets.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::DataError;

/// The `[mixture]` table. By default, the shares are proportional to the domains' training tokens.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MixtureConfig {
    /// Exponent of the shares, which are ∝ tokens^temperature: 1 is proportional to the tokens, 0 gives every domain
    /// the same share; default: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Explicit relative weights by domain; domains that are not named are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<BTreeMap<String, f64>>,
    /// Domains to train on; default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domains: Option<Vec<String>>,
    /// Maximum number of passes over a domain. The share above it goes to the other domains, in proportion to their
    /// shares.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_repetitions: Option<f64>,
}

/// Size of a domain, an input of [`MixtureConfig::resolve`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainSize {
    /// Name of the domain.
    pub name: String,
    /// Number of tokens in the domain's training split.
    pub tokens: u64,
}

/// Share of a domain after [`MixtureConfig::resolve`].
#[derive(Debug, Clone, PartialEq)]
pub struct MixtureShare {
    /// Name of the domain.
    pub name: String,
    /// Share of the training tokens; the shares of all domains sum to 1.
    pub weight: f64,
    /// Number of passes over the domain in the whole run.
    pub repetitions: f64,
}

impl MixtureConfig {
    /// Returns the table with the default temperature filled in, unless explicit weights decide the shares.
    pub fn filled(&self) -> Self {
        let temperature = match self.weights {
            None => Some(self.temperature.unwrap_or(1.0)),
            Some(_) => self.temperature,
        };
        Self {
            temperature,
            ..self.clone()
        }
    }

    /// Returns true if the domain is part of the mixture.
    pub fn includes(&self, domain: &str) -> bool {
        match (&self.weights, &self.domains) {
            (Some(weights), _) => weights.get(domain).is_some_and(|weight| *weight > 0.0),
            (None, Some(names)) => names.iter().any(|name| name == domain),
            (None, None) => true,
        }
    }

    /// Returns the share of each domain of the mixture, in the order of `sizes`, for a run of `planned_tokens`
    /// tokens.
    ///
    /// # Errors
    /// Fails if keys contradict each other, name a domain that does not exist or hold a value out of range, if a
    /// domain has no tokens, or if `max_repetitions` leaves fewer tokens than planned.
    pub fn resolve(
        &self,
        sizes: &[DomainSize],
        planned_tokens: u64,
    ) -> Result<Vec<MixtureShare>, DataError> {
        self.validate(sizes)?;
        let exponent = self.temperature.unwrap_or(1.0);
        let mut shares = Vec::new();
        for size in sizes {
            let weight = match (&self.weights, &self.domains) {
                (Some(weights), _) => weights.get(&size.name).copied().unwrap_or(0.0),
                (None, Some(names)) if !names.contains(&size.name) => 0.0,
                (None, _) => (size.tokens.max(1) as f64).powf(exponent),
            };
            if weight > 0.0 && size.tokens == 0 {
                return Err(DataError::domain(&size.name, "no tokens to train on"));
            }
            if weight > 0.0 {
                shares.push((size, weight));
            }
        }
        let sum: f64 = shares.iter().map(|share| share.1).sum();
        let mut weights: Vec<f64> = shares.iter().map(|share| share.1 / sum).collect();
        let planned = planned_tokens.max(1) as f64;
        if let Some(most) = self.max_repetitions {
            let caps = shares
                .iter()
                .map(|share| most * share.0.tokens as f64 / planned);
            fill(&mut weights, &caps.collect::<Vec<f64>>()).map_err(|room| {
                let enough = most * (1.0 / room);
                DataError::config(
                    "mixture.max_repetitions",
                    format!(
                        "`{most}` leaves {:.0} tokens, but {planned_tokens} are asked for: allow at least {enough:.2} \
                         repetitions, train on fewer tokens, or add data",
                        room * planned
                    ),
                )
            })?;
        }
        let resolved = shares
            .iter()
            .zip(weights)
            .map(|((size, _), weight)| MixtureShare {
                name: size.name.clone(),
                weight,
                repetitions: weight * planned / size.tokens as f64,
            });
        Ok(resolved.collect())
    }

    fn validate(&self, sizes: &[DomainSize]) -> Result<(), DataError> {
        let conflict = |key: &str, other: &str| {
            let message = format!("given together with `mixture.{other}`: choose one");
            Err(DataError::config(format!("mixture.{key}"), message))
        };
        if self.weights.is_some() && self.temperature.is_some() {
            return conflict("weights", "temperature");
        }
        if self.weights.is_some() && self.domains.is_some() {
            return conflict("weights", "domains");
        }
        if let Some(temperature) = self.temperature
            && !(0.0..=1.0).contains(&temperature)
        {
            let message = format!(
                "`{temperature}` is not between 0 (all domains alike) and 1 (proportional)"
            );
            return Err(DataError::config("mixture.temperature", message));
        }
        if let Some(most) = self.max_repetitions
            && !(most > 0.0 && most.is_finite())
        {
            let message = format!("`{most}` is not a number above 0");
            return Err(DataError::config("mixture.max_repetitions", message));
        }
        self.validate_names(sizes)
    }

    /// Checks that every named domain exists and that at least one domain has a weight above 0.
    fn validate_names(&self, sizes: &[DomainSize]) -> Result<(), DataError> {
        let known: Vec<&str> = sizes.iter().map(|size| size.name.as_str()).collect();
        let check = |key: &str, name: &str| match known.contains(&name) {
            true => Ok(()),
            false => Err(DataError::config(
                format!("mixture.{key}"),
                format!(
                    "no domain `{name}` in the dataset, which has `{}`",
                    known.join("`, `")
                ),
            )),
        };
        for name in self.domains.iter().flatten() {
            check("domains", name)?;
        }
        if let Some(names) = &self.domains
            && names.is_empty()
        {
            return Err(DataError::config(
                "mixture.domains",
                "names no domain: nothing is left to train on",
            ));
        }
        for (name, &weight) in self.weights.iter().flatten() {
            check("weights", name)?;
            if !(weight >= 0.0 && weight.is_finite()) {
                let message = format!("`{name} = {weight}` is not a number of at least 0");
                return Err(DataError::config("mixture.weights", message));
            }
        }
        if let Some(weights) = &self.weights
            && !weights.values().any(|&weight| weight > 0.0)
        {
            let message = "no weight is above 0: nothing is left to train on";
            return Err(DataError::config("mixture.weights", message));
        }
        if sizes.is_empty() {
            return Err(DataError::config("dataset", "has no domains"));
        }
        Ok(())
    }
}

/// Caps the weights by water-filling, in place. Each weight above its cap is lowered to the cap, and the excess goes
/// to the other weights in proportion. This repeats until no weight exceeds its cap. Returns `Err` with the sum of
/// the caps if that is below 1.
fn fill(weights: &mut [f64], caps: &[f64]) -> Result<(), f64> {
    let room: f64 = caps.iter().sum();
    if room < 1.0 - 1e-9 {
        return Err(room);
    }
    let mut capped = vec![false; weights.len()];
    loop {
        let fixed: f64 = caps
            .iter()
            .zip(&capped)
            .filter(|pair| *pair.1)
            .map(|pair| pair.0)
            .sum();
        let free: f64 = weights
            .iter()
            .zip(&capped)
            .filter(|pair| !pair.1)
            .map(|pair| pair.0)
            .sum();
        let scale = if free > 0.0 {
            (1.0 - fixed) / free
        } else {
            0.0
        };
        let mut changed = false;
        for ((weight, cap), capped) in weights.iter_mut().zip(caps).zip(&mut capped) {
            if !*capped && *weight * scale > *cap {
                *weight = *cap;
                *capped = true;
                changed = true;
            }
        }
        if !changed {
            for (index, weight) in weights.iter_mut().enumerate() {
                *weight *= if capped[index] { 1.0 } else { scale };
            }
            return Ok(());
        }
    }
}
