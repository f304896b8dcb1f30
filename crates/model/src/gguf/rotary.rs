//! Scaled rotary frequencies. llama.cpp has a key for the scaling `linear`, and a tensor with the divisor of each
//! frequency for `llama3`.

use candle_core::quantized::gguf_file::Value;

use super::architecture::Architecture;
use super::metadata::Metadata;
use crate::rope::divisors;
use crate::{ModelConfig, ModelError, RopeScaling};

/// Name of the tensor of divisors; its length is half the head width.
pub(super) const DIVISORS: &str = "rope_freqs.weight";
/// Key for the parameters of `llama3` from which the divisors were computed, as in `config.json`. It is this
/// program's own key, used when the file is imported again.
const NUMBERS: &str = "polymath.rope_scaling";

/// Returns the keys of a rotary scaling.
pub(super) fn keys(architecture: Architecture, scaling: RopeScaling) -> Vec<(String, Value)> {
    match scaling {
        RopeScaling::Linear { factor } => vec![
            (
                architecture.key("rope.scaling.type"),
                Value::String("linear".into()),
            ),
            (
                architecture.key("rope.scaling.factor"),
                Value::F32(factor as f32),
            ),
        ],
        RopeScaling::Llama3 { .. } => {
            let numbers = serde_json::to_string(&scaling).unwrap_or_default();
            vec![(NUMBERS.into(), Value::String(numbers))]
        }
    }
}

/// Returns the divisors that a file of this model needs.
///
/// # Errors
/// Fails if llama.cpp ignores divisors for this architecture.
pub(super) fn needed(
    architecture: Architecture,
    config: &ModelConfig,
) -> Result<Option<Vec<f32>>, ModelError> {
    if !matches!(config.rope_scaling, Some(RopeScaling::Llama3 { .. })) {
        return Ok(None);
    }
    if architecture != Architecture::Llama {
        return Err(ModelError::Architecture(format!(
            "`rope_scaling` of type `llama3` can't be written for the architecture `{}`: llama.cpp scales frequencies \
             this way in `llama` only",
            architecture.name()
        )));
    }
    Ok(Some(rounded(config)))
}

fn rounded(config: &ModelConfig) -> Vec<f32> {
    divisors(config).iter().map(|by| *by as f32).collect()
}

/// Reads the scaling from a file's keys. `llama3` has no keys: it is recognized by its divisors.
///
/// # Errors
/// Fails if the kind of scaling is not supported.
pub(super) fn from_keys(metadata: &Metadata) -> Result<Option<RopeScaling>, ModelError> {
    let kind = metadata.text_of("rope.scaling.type")?.unwrap_or("linear");
    // The factor may be under its older name. Two different values are refused.
    let factors = (
        metadata.real_of("rope.scaling.factor")?,
        metadata.real_of("rope.scale_linear")?,
    );
    let factor = match factors {
        (Some(new), Some(old)) if new != old => {
            return Err(metadata.refuse(
                "rope.scaling.factor",
                format!(
                    "is {new}, but the older `rope.scale_linear` is {old}: expected one scaling"
                ),
            ));
        }
        (new, old) => new.or(old),
    };
    match (kind, factor) {
        ("none", _) => Ok(None),
        // For llama.cpp, 0 means no scaling.
        ("linear", None | Some(0.0 | 1.0)) => Ok(None),
        ("linear", Some(factor)) if factor > 0.0 && factor.is_finite() => {
            Ok(Some(RopeScaling::Linear { factor }))
        }
        ("linear", Some(factor)) => Err(metadata.refuse(
            "rope.scaling.factor",
            format!("is {factor}: expected a number above 0"),
        )),
        (other, _) => Err(metadata.refuse(
            "rope.scaling.type",
            format!("is `{other}`, which is not supported: expected `none` or `linear`"),
        )),
    }
}

/// Returns the parameters of `llama3` that give a file's divisors: those in the file, else those of Meta's models.
///
/// # Errors
/// Fails if neither gives these divisors.
pub(super) fn from_divisors(
    metadata: &Metadata,
    config: &ModelConfig,
    found: &[f32],
) -> Result<RopeScaling, ModelError> {
    let named = metadata.text(NUMBERS)?;
    let named = named.and_then(|text| serde_json::from_str::<RopeScaling>(text).ok());
    let greatest = found.iter().copied().fold(1.0, f32::max);
    let meta = RopeScaling::Llama3 {
        factor: f64::from(greatest),
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 8192,
    };
    [named, Some(meta)]
        .into_iter()
        .flatten()
        .find(|scaling| scaling.is_valid() && gives(*scaling, config, found))
        .ok_or_else(|| {
            metadata.content(format!(
                "the tensor `{DIVISORS}` scales rotary frequencies in an unknown way: expected that of \
                 Llama 3 (1, 4 and 8192)"
            ))
        })
}

/// Returns true if `scaling` results in these divisors, up to rounding.
fn gives(scaling: RopeScaling, config: &ModelConfig, found: &[f32]) -> bool {
    let expected = rounded(&ModelConfig {
        rope_scaling: Some(scaling),
        ..config.clone()
    });
    // The file's divisors were computed from frequencies in f32.
    let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-4 * b.abs();
    expected.len() == found.len() && expected.iter().zip(found).all(close)
}
