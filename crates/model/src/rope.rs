//! Rotary frequencies of a model and their keys in `config.json`.

use candle_core::Device;
use polymath_ops::RotaryTable;
use serde_json::Value;

use crate::config::default_rope_theta;
use crate::fields::{Fields, is_neutral, shown};
use crate::{Family, ModelConfig, ModelError, RopeScaling};

/// Settings of rotary positions in a `config.json`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rope {
    /// Base θ of the rotary frequencies.
    pub theta: f64,
    /// Scaling of the rotary frequencies for long contexts.
    pub scaling: Option<RopeScaling>,
}

const EXPECTED: &str = "null, or the `rope_type` `default`, `linear` or `llama3` with its numbers";
/// Keys of `rope_scaling`; each type uses some of them.
const SCALING_KEYS: &[&str] = &[
    "rope_type",
    "type",
    "rope_theta",
    "factor",
    "low_freq_factor",
    "high_freq_factor",
    "original_max_position_embeddings",
];

impl Rope {
    /// Reads `rope_theta` and `rope_scaling`, or the `rope_parameters` of newer files. If both are given with
    /// different values, reading fails, because versions of `transformers` disagree on which takes precedence.
    pub fn read(fields: &Fields) -> Result<Self, ModelError> {
        let mut theta: Option<(String, f64)> = None;
        let mut scaling: Option<(&str, Option<RopeScaling>)> = None;
        if let Some(stated) = fields.real("rope_theta")? {
            theta = Some(("rope_theta".into(), stated));
        }
        for field in ["rope_scaling", "rope_parameters"] {
            let Some(value) = fields.get(field) else {
                continue;
            };
            let found = read_scaling(fields, field, value)?;
            match scaling {
                Some((other, before)) if before != found => {
                    return contradiction(fields, other, field);
                }
                _ => scaling = Some((field, found)),
            }
            let Some(inner) = value.get("rope_theta").filter(|inner| !inner.is_null()) else {
                continue;
            };
            let Some(inner) = inner.as_f64() else {
                return fields.refuse(field, "a number as its `rope_theta`");
            };
            let name = format!("{field}.rope_theta");
            match &theta {
                Some((other, before)) if *before != inner => {
                    let (other, name) = (
                        format!("{other}` = `{before}"),
                        format!("{name}` = `{inner}"),
                    );
                    return contradiction(fields, &other, &name);
                }
                Some(_) => {}
                None => theta = Some((name, inner)),
            }
        }
        let context = fields.size("original_max_position_embeddings")?;
        let scaling = scaling.and_then(|(_, scaling)| scaling);
        match (context, scaling) {
            (
                Some(context),
                Some(RopeScaling::Llama3 {
                    original_max_position_embeddings: inner,
                    ..
                }),
            ) if context != inner => contradiction(
                fields,
                "original_max_position_embeddings",
                "rope_scaling.original_max_position_embeddings",
            ),
            _ => Ok(Self {
                theta: theta.map_or_else(default_rope_theta, |(_, theta)| theta),
                scaling,
            }),
        }
    }
}

fn contradiction<T>(fields: &Fields, one: &str, other: &str) -> Result<T, ModelError> {
    Err(ModelError::content(
        fields.path(),
        format!(
            "`{one}` and `{other}` contradict each other, and versions of `transformers` disagree on which takes \
             precedence: remove \
             the one that the model was not trained with"
        ),
    ))
}

/// Reads the scaling in the object under `field`.
fn read_scaling(
    fields: &Fields,
    field: &str,
    value: &Value,
) -> Result<Option<RopeScaling>, ModelError> {
    let refuse = |expected: &str| fields.refuse(field, expected);
    let Value::Object(keys) = value else {
        return refuse("an object, or null");
    };
    // Older files use the key `type`.
    let kinds = ["rope_type", "type"].map(|key| keys.get(key).filter(|kind| !kind.is_null()));
    if let [Some(new), Some(old)] = kinds
        && new != old
    {
        let name = |key: &str| format!("{field}.{key}");
        return contradiction(fields, &name("rope_type"), &name("type"));
    }
    let kind = kinds.into_iter().flatten().next();
    if kind
        .is_some_and(|kind| !["default", "linear", "llama3"].contains(&kind.as_str().unwrap_or("")))
    {
        return refuse(EXPECTED);
    }
    let one = |key: &str, value: &Value| {
        ["partial_rotary_factor", "attention_factor"].contains(&key) && value.as_f64() == Some(1.0)
    };
    let strange = keys.iter().find(|(key, value)| {
        !SCALING_KEYS.contains(&key.as_str()) && !is_neutral(value) && !one(key, value)
    });
    if let Some((key, value)) = strange {
        let value = shown(value);
        return Err(ModelError::content(
            fields.path(),
            format!("`{field}.{key}` = {value} is not supported: expected no such key"),
        ));
    }
    if kind.is_none_or(|kind| kind == "default") {
        let factor = keys.get("factor").filter(|factor| !factor.is_null());
        return match factor.is_none_or(|factor| factor.as_f64() == Some(1.0)) {
            true => Ok(None),
            false => refuse("a `rope_type` that has a `factor`, such as `linear`"),
        };
    }
    let mut known = value.clone();
    known["rope_type"] = kind.cloned().unwrap_or_default();
    // If the object is not valid, the message below quotes it and gives the expected form.
    let scaling = serde_json::from_value::<RopeScaling>(known).ok();
    match scaling.filter(|scaling| scaling.is_valid()) {
        Some(scaling) => Ok(Some(scaling)),
        None => refuse(EXPECTED),
    }
}

/// Returns the rotary table of all positions; `None` if positions are learned.
pub(crate) fn rotary_table(
    config: &ModelConfig,
    device: &Device,
) -> Result<Option<RotaryTable>, ModelError> {
    let table = match config.family {
        Family::Gpt2 => return Ok(None),
        Family::Llama => RotaryTable::new(
            &inverse_frequencies(config),
            config.max_position_embeddings,
            device,
        ),
    };
    Ok(Some(table?))
}

/// Returns θ^(−2i/d) for each pair i of a head's components ([RoPE](https://arxiv.org/abs/2104.09864), Su 2021),
/// scaled as configured.
pub(crate) fn inverse_frequencies(config: &ModelConfig) -> Vec<f64> {
    let stretch = |frequency| {
        let scaling = config.rope_scaling;
        scaling.map_or(frequency, |scaling| scaling.apply(frequency))
    };
    frequencies(config).map(stretch).collect()
}

/// Returns the divisor of each frequency: the unscaled frequency over the scaled one.
pub(crate) fn divisors(config: &ModelConfig) -> Vec<f64> {
    let stretched = inverse_frequencies(config);
    let pairs = frequencies(config).zip(stretched);
    pairs.map(|(before, after)| before / after).collect()
}

fn frequencies(config: &ModelConfig) -> impl Iterator<Item = f64> {
    let (theta, width) = (config.rope_theta, config.head_dim as f64);
    (0..config.head_dim / 2).map(move |pair| libm::pow(theta, -2.0 * pair as f64 / width))
}
