//! Tensors as a model's file stores them, and the parameters that each of them holds.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor};

use crate::{Family, ModelConfig, gpt2};

/// Layout of a tensor in the file, relative to the parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    AsOurs,
    /// Matrix of shape `(in, out)`, the transpose of the parameter.
    Transposed,
}

/// Tensor of a model's file.
#[derive(Debug)]
pub(crate) struct Stored {
    /// Name of the tensor in files written by `transformers`.
    pub name: String,
    /// Names of the parameters that the tensor holds, in order.
    pub parameters: Vec<String>,
    pub layout: Layout,
}

/// Returns all tensors of a model's file.
pub(crate) fn stored(config: &ModelConfig) -> Vec<Stored> {
    match config.family {
        Family::Gpt2 => gpt2::stored(config),
        Family::Llama => {
            let shapes = config.parameter_shapes().into_iter();
            shapes
                .map(|(name, _)| Stored::single(name.clone(), &name))
                .collect()
        }
    }
}

impl Stored {
    /// Creates a tensor named `name` that holds one parameter unchanged.
    pub fn single(name: String, parameter: &str) -> Self {
        Self {
            name,
            parameters: vec![parameter.to_owned()],
            layout: Layout::AsOurs,
        }
    }

    /// Returns the names that the tensor may have in a file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.name.as_str()).chain(self.name.strip_prefix(gpt2::PREFIX))
    }

    /// Returns true if this tensor may have this name in a file.
    pub fn is_called(&self, name: &str) -> bool {
        self.names().any(|known| known == name)
    }

    /// Splits the file's tensor into its parameters. If the tensor has a wrong shape, so do the parameters.
    pub fn split(&self, tensor: Tensor) -> Result<Vec<(String, Tensor)>> {
        let tensor = match self.layout {
            Layout::Transposed if tensor.rank() == 2 => tensor.t()?,
            _ => tensor,
        };
        let parts = match &self.parameters[..] {
            [_] => vec![tensor],
            several => tensor.chunk(several.len(), 0)?,
        };
        let named = self.parameters.iter().zip(parts);
        named
            .map(|(name, part)| Ok((name.clone(), part.contiguous()?)))
            .collect()
    }

    /// Joins the parameters into the file's tensor; `None` if one is missing.
    pub fn join(&self, parameters: &BTreeMap<&str, &Tensor>) -> Result<Option<Tensor>> {
        let parts: Option<Vec<&Tensor>> = self
            .parameters
            .iter()
            .map(|name| parameters.get(name.as_str()).copied())
            .collect();
        let whole = match parts.as_deref() {
            None => return Ok(None),
            Some([part]) => (*part).clone(),
            Some(parts) => Tensor::cat(parts, 0)?,
        };
        Ok(Some(match self.layout {
            Layout::Transposed => whole.t()?.contiguous()?,
            Layout::AsOurs => whole,
        }))
    }
}
