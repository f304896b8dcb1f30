//! Precision of matrix products.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Precision of matrix products, and of what the backward pass of a sublayer keeps. Everything else is always f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// f32 for inputs, products and sums.
    #[default]
    F32,
    /// On a GPU, tensor cores read 10 bits after the point of the inputs of matrix products (TF32), and attention is in
    /// f32. On the CPU the same as [`Precision::F32`].
    Tf32,
    /// The inputs of matrix products are rounded to bf16; their products are summed in f32. On the CPU the fused
    /// sublayers keep queries, keys, values, the attention's output, both sides of the activation and the narrow values
    /// of adapters in bf16: the products of the backward pass round most of these, and the forward pass does not see
    /// the others. Weights, residual stream, reductions and the optimizer stay f32.
    Bf16,
}

impl fmt::Display for Precision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Precision::F32 => "f32",
            Precision::Tf32 => "tf32",
            Precision::Bf16 => "bf16",
        })
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "f32" => Ok(Precision::F32),
            "tf32" => Ok(Precision::Tf32),
            "bf16" => Ok(Precision::Bf16),
            _ => Err(format!(
                "there is no precision `{name}`: choose `f32`, `tf32` or `bf16`"
            )),
        }
    }
}
