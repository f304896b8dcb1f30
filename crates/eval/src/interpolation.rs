//! Interpolation after training (WiSE-FT, Wortsman et al. 2022): the weights are (1 − α)·base + α·tuned. α is chosen on
//! the dev split of the held-out documents, and the result is reported on the test split.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::Tensor;
use polymath_data::{HeldoutSplit, NamedShard};
use polymath_model::{
    EMBEDDING, HEAD, LoadOptions, ModelConfig, ModelSource, Transformer, block_of,
};

use crate::{EvalError, ScoresByDomain, WindowOptions, score_shard};

/// Model folders at both ends of an interpolation: the base (α = 0) and the tuned model (α = 1).
#[derive(Debug, Clone, Copy)]
pub struct Endpoints<'a> {
    /// Folder of the base.
    pub base: &'a Path,
    /// Folder of the tuned model, which may be an adapter over the base.
    pub tuned: &'a Path,
}

/// Weights of a base and a tuned model of the same shape, with the data to score the models in between.
pub struct Interpolation<'a> {
    /// Configuration of the tuned model; the base has the same shape.
    config: ModelConfig,
    base: BTreeMap<String, Tensor>,
    tuned: BTreeMap<String, Tensor>,
    /// Held-out documents of each domain.
    domains: &'a [NamedShard],
    windows: WindowOptions,
    options: LoadOptions<'a>,
}

/// Share α of the tuned weights in each block, by the names that [`block_of`] gives.
pub type Shares = BTreeMap<String, f64>;

impl<'a> Interpolation<'a> {
    /// Opens the models at both ends.
    ///
    /// # Errors
    /// Fails if the models have different shapes, or if a domain has no documents in the dev or the test split.
    pub fn open(
        endpoints: Endpoints,
        domains: &'a [NamedShard],
        windows: WindowOptions,
        options: LoadOptions<'a>,
    ) -> Result<Self, EvalError> {
        let Endpoints { base, tuned } = endpoints;
        let source = ModelSource::over(tuned, base);
        let (config, changed) = (source.config()?, source.weights()?);
        let mut weights = (polymath_model::load_weights(base)?, changed);
        // If fine-tuning untied the output head, the base's head is a copy of its embedding.
        if weights.1.contains_key(HEAD) && !weights.0.contains_key(HEAD) {
            let head = weights.0[EMBEDDING].clone();
            weights.0.insert(HEAD.to_owned(), head);
        }
        let shape = |weights: &BTreeMap<String, Tensor>, name: &str| {
            weights.get(name).map(|weight| weight.dims().to_vec())
        };
        for name in weights.0.keys().chain(weights.1.keys()) {
            let (old, new) = (shape(&weights.0, name), shape(&weights.1, name));
            if old != new {
                let hint = match name.as_str() {
                    EMBEDDING | HEAD => {
                        "; a run that added tokens is mixed with its own `<run>.base`"
                    }
                    _ => "",
                };
                return Err(EvalError::Scores(format!(
                    "`{}` and `{}` can't be mixed: the parameter `{name}` is {} in the first and {} in the second{hint}",
                    base.display(),
                    tuned.display(),
                    described(old),
                    described(new)
                )));
            }
        }
        for NamedShard { name, shard } in domains {
            HeldoutSplit::Dev.check(name, shard)?;
            HeldoutSplit::Test.check(name, shard)?;
        }
        Ok(Self {
            config,
            base: weights.0,
            tuned: weights.1,
            domains,
            windows,
            options,
        })
    }

    /// Returns the interpolated weights. A block that is not in `shares` has α = 1. With α = 0 and α = 1, the weights
    /// are bit-identical to those of the base and of the tuned model.
    ///
    /// # Errors
    /// Fails if a tensor operation fails, for example because the device is out of memory.
    pub fn blend(&self, shares: &Shares) -> Result<BTreeMap<String, Tensor>, EvalError> {
        self.tuned
            .iter()
            .map(|(name, tuned)| {
                let share = shares.get(&block_of(name)).copied().unwrap_or(1.0);
                Ok((name.clone(), mixed(&self.base[name], tuned, share)?))
            })
            .collect()
    }

    /// Builds the model with the weights that [`Self::blend`] returns.
    ///
    /// # Errors
    /// Fails as [`Self::blend`] does, or if the weights make no model.
    pub fn model(&self, shares: &Shares) -> Result<Transformer, EvalError> {
        let weights = self.blend(shares)?;
        let config = self.config.clone();
        Ok(Transformer::from_weights(config, weights, &self.options)?)
    }

    /// Returns shares that give every block the same α.
    pub fn alike(&self, alpha: f64) -> Shares {
        let blocks = self.tuned.keys().map(|name| block_of(name));
        blocks.map(|block| (block, alpha)).collect()
    }

    /// Scores the documents of every domain in one split, with the model that `shares` gives.
    ///
    /// # Errors
    /// Fails if the model can't be built or scored.
    pub fn scores(
        &self,
        shares: &Shares,
        split: HeldoutSplit,
    ) -> Result<ScoresByDomain, EvalError> {
        let model = self.model(shares)?;
        let windows = WindowOptions {
            split: Some(split),
            ..self.windows
        };
        self.domains
            .iter()
            .map(|NamedShard { name, shard }| {
                let scores = score_shard(&model, shard, windows, &mut |_, _| {})?;
                Ok((name.clone(), scores))
            })
            .collect()
    }
}

/// Returns base + α · (tuned − base) with α = `share`, and at the ends the tensors themselves.
fn mixed(base: &Tensor, tuned: &Tensor, share: f64) -> Result<Tensor, EvalError> {
    Ok(if share == 0.0 {
        base.clone()
    } else if share == 1.0 {
        tuned.clone()
    } else {
        (base + ((tuned - base)? * share)?)?
    })
}

fn described(shape: Option<Vec<usize>>) -> String {
    shape.map_or("missing".to_owned(), |shape| format!("{shape:?}"))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// Checks mixtures of 2 and 6, and of 1 and −1, by hand: at the ends, between them and beyond the tuned model.
    #[test]
    fn mixtures_lie_on_the_line() {
        let tensor = |values: [f32; 2]| Tensor::new(&values, &Device::Cpu).unwrap();
        let (base, tuned) = (tensor([2.0, 1.0]), tensor([6.0, -1.0]));
        for (share, expected) in [
            (0.0, [2.0, 1.0]),
            (0.25, [3.0, 0.5]),
            (1.0, [6.0, -1.0]),
            (1.5, [8.0, -2.0]),
            (-0.5, [0.0, 2.0]),
        ] {
            let found = mixed(&base, &tuned, share).unwrap();
            assert_eq!(found.to_vec1::<f32>().unwrap(), expected, "{share}");
        }
        assert_eq!(described(None), "missing");
        assert_eq!(described(Some(vec![2, 3])), "[2, 3]");
    }
}
