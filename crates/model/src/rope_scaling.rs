//! Scaling of rotary frequencies for contexts longer than in pretraining.

use std::f64::consts::TAU;

use serde::{Deserialize, Serialize};

/// Scaling of the rotary frequencies; serialized as Hugging Face's `rope_scaling`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "rope_type", rename_all = "lowercase")]
pub enum RopeScaling {
    /// Linear scaling: divides all frequencies by `factor`.
    Linear {
        /// Divisor of the frequencies, above 0.
        factor: f64,
    },
    /// Scaling of Llama 3.1: short wavelengths stay, long ones are divided by `factor`, and those in between are
    /// interpolated.
    Llama3 {
        /// Divisor of the frequencies of long wavelengths, above 0.
        factor: f64,
        /// Wavelengths above (original context length / this) are long.
        low_freq_factor: f64,
        /// Wavelengths below (original context length / this) are short.
        high_freq_factor: f64,
        /// Context length of pretraining in tokens.
        original_max_position_embeddings: usize,
    },
}

impl RopeScaling {
    /// Applies the scaling to a frequency in radians per token.
    pub(crate) fn apply(self, frequency: f64) -> f64 {
        match self {
            Self::Linear { factor } => frequency / factor,
            Self::Llama3 {
                factor,
                low_freq_factor: low,
                high_freq_factor: high,
                original_max_position_embeddings: context,
            } => {
                let waves = context as f64 * frequency / TAU; // in the original context
                if waves > high {
                    frequency
                } else if waves < low {
                    frequency / factor
                } else {
                    let short = (waves - low) / (high - low);
                    (1.0 - short) * frequency / factor + short * frequency
                }
            }
        }
    }

    /// Returns true if all parameters are in range.
    pub(crate) fn is_valid(self) -> bool {
        let above = |value: f64| value > 0.0 && value.is_finite();
        match self {
            Self::Linear { factor } => above(factor),
            Self::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => {
                above(factor)
                    && above(low_freq_factor)
                    && high_freq_factor > low_freq_factor
                    && high_freq_factor.is_finite()
                    && original_max_position_embeddings > 0
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that short wavelengths stay, long ones are divided, and the transition is continuous.
    #[test]
    fn llama3_scales_long_wavelengths_only() {
        let scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 8192,
        };
        let of_waves = |waves: f64| waves * TAU / 8192.0;
        assert_eq!(scaling.apply(of_waves(5.0)), of_waves(5.0));
        assert_eq!(scaling.apply(of_waves(0.5)), of_waves(0.5) / 8.0);
        for edge in [1.0, 4.0] {
            let beside = [1.0 - 1e-9, 1.0 + 1e-9].map(|by| scaling.apply(of_waves(edge * by)));
            assert!((beside[0] / beside[1] - 1.0).abs() < 1e-7, "{edge}");
        }
        let middle = scaling.apply(of_waves(2.5));
        assert!((middle / of_waves(2.5) - (0.5 / 8.0 + 0.5)).abs() < 1e-12);
    }
}
