//! The tensors of a model's file, and the parameters that each of them holds.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor};

use crate::{Family, ModelConfig, gpt2};

/// How a tensor lies in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    AsOurs,
    /// A matrix as `(in, out)`, the transpose of ours.
    Transposed,
}

/// A tensor of the file.
#[derive(Debug)]
pub(crate) struct Stored {
    /// What it is called in what `transformers` writes.
    pub name: String,
    /// The parameters that it holds, one after the other, by our names.
    pub parameters: Vec<String>,
    pub layout: Layout,
}

/// All tensors of a model's file.
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
    /// A parameter as it is, under the name `name`.
    pub fn single(name: String, parameter: &str) -> Self {
        Self {
            name,
            parameters: vec![parameter.to_owned()],
            layout: Layout::AsOurs,
        }
    }

    /// What it may be called in a file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.name.as_str()).chain(self.name.strip_prefix(gpt2::PREFIX))
    }

    /// Whether a file's tensor of this name is it.
    pub fn is_called(&self, name: &str) -> bool {
        self.names().any(|known| known == name)
    }

    /// Its parameters, from the file's tensor. One of another shape gives parameters of other shapes.
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

    /// The file's tensor, from its parameters; `None` if one is missing.
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
