//! Interpolation after training (WiSE-FT; Wortsman 2022): (1 − α)·base + α·tuned, α chosen on the dev split of
//! the held-out documents and reported on the test split.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use candle_core::Tensor;
use polymath_data::{HeldoutSplit, TokenShard};
use polymath_eval::frontier::HalfScores;
use polymath_eval::{WindowOptions, score_shard};
use polymath_model::{LoadOptions, ModelConfig, Transformer};
use serde::Serialize;

use super::curve::{BitsPerByte, Point, Rule};
use crate::{EMBEDDING, FinetuneError, HEAD};

/// Two models of one shape, and how the ones between them are scored.
pub struct Interpolation<'a> {
    /// The tuned model's shape.
    config: ModelConfig,
    base: BTreeMap<String, Tensor>,
    tuned: BTreeMap<String, Tensor>,
    /// Held-out documents of every domain.
    domains: &'a [(String, Arc<TokenShard>)],
    windows: WindowOptions,
    options: LoadOptions<'a>,
}

/// α of each block, by [`block_of`].
pub type Shares = BTreeMap<String, f64>;

/// Weights between the two models, and what they score.
#[derive(Debug, Clone, Serialize)]
pub struct Found {
    /// The whole curve, by ascending α; after it, with a search per block, what that found.
    pub points: Vec<Point>,
    /// The one that was chosen.
    pub chosen: usize,
    /// Whether it keeps to the limit on the dev split.
    pub within_limit: bool,
}

impl<'a> Interpolation<'a> {
    /// Between the models in the folders `base` and `tuned`, which may be an adapter over the base.
    ///
    /// # Errors
    /// Models of different shapes; a domain without documents in either split.
    pub fn open(
        (base, tuned): (&Path, &Path),
        domains: &'a [(String, Arc<TokenShard>)],
        windows: WindowOptions,
        options: LoadOptions<'a>,
    ) -> Result<Self, FinetuneError> {
        let (config, changed) = if polymath_model::is_adapter(tuned) {
            polymath_model::load_merged(tuned, Some(base))?
        } else {
            (
                polymath_model::load_config(tuned)?,
                polymath_model::load_weights(tuned)?,
            )
        };
        let mut weights = (polymath_model::load_weights(base)?, changed);
        // A fine-tuning may have untied the head: in the base it was the embedding.
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
                return Err(FinetuneError::Config(format!(
                    "`{}` and `{}` can't be mixed: the parameter `{name}` is {} in the first and {} in the second{hint}",
                    base.display(),
                    tuned.display(),
                    described(old),
                    described(new)
                )));
            }
        }
        for (name, shard) in domains {
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

    /// The weights at `shares`; a block that is not named has α = 1. At 0 and 1 they are the base's and the tuned
    /// model's bit for bit.
    ///
    /// # Errors
    /// The device's own.
    pub fn blend(&self, shares: &Shares) -> Result<BTreeMap<String, Tensor>, FinetuneError> {
        self.tuned
            .iter()
            .map(|(name, tuned)| {
                let share = shares.get(&block_of(name)).copied().unwrap_or(1.0);
                let base = &self.base[name];
                let mixed = if share == 0.0 {
                    base.clone()
                } else if share == 1.0 {
                    tuned.clone()
                } else {
                    (base + ((tuned - base)? * share)?)?
                };
                Ok((name.clone(), mixed))
            })
            .collect()
    }

    /// The model at `shares`.
    ///
    /// # Errors
    /// As [`Self::blend`].
    pub fn model(&self, shares: &Shares) -> Result<Transformer, FinetuneError> {
        let weights = self.blend(shares)?;
        let config = self.config.clone();
        Ok(Transformer::from_weights(config, weights, &self.options)?)
    }

    /// The same α for all blocks.
    pub fn alike(&self, alpha: f64) -> Shares {
        let blocks = self.tuned.keys().map(|name| block_of(name));
        blocks.map(|block| (block, alpha)).collect()
    }

    /// Scores the whole `grid` of α, as [`super::grid`] makes it, on both splits, and chooses by `dev`; then, with `per_block`, goes
    /// once over the blocks from the last to the first, giving each the α of the grid that is best with the others as
    /// they are.
    ///
    /// # Errors
    /// What scoring says.
    pub fn search(
        &self,
        grid: &[f64],
        rule: &Rule,
        per_block: bool,
        say: &mut dyn FnMut(&Point),
    ) -> Result<Found, FinetuneError> {
        let before = self.measure(&self.alike(0.0), HeldoutSplit::Dev)?;
        let mut points: Vec<Point> = Vec::new();
        for alpha in grid {
            let shares = self.alike(*alpha);
            let mut point = self.develop(&shares, rule, &before)?;
            point.alpha = Some(*alpha);
            point.test = self.measure(&shares, HeldoutSplit::Test)?;
            let first = points.first().map_or(&point.test, |first| &first.test);
            point.test_mean_increase = rule.mean_increase(first, &point.test);
            say(&point);
            points.push(point);
        }
        let mut chosen = rule.choose(&points);
        if per_block {
            let mut best = points[chosen].clone();
            best.alpha = None;
            let blocks: Vec<String> = best.shares.keys().rev().cloned().collect();
            for block in blocks {
                for alpha in grid {
                    let mut shares = best.shares.clone();
                    shares.insert(block.clone(), *alpha);
                    let point = self.develop(&shares, rule, &before)?;
                    if rule.prefers(&point, &best) {
                        best = point;
                    }
                }
            }
            best.test = self.measure(&best.shares, HeldoutSplit::Test)?;
            best.test_mean_increase = rule.mean_increase(&points[0].test, &best.test);
            say(&best);
            points.push(best);
            chosen = rule.choose(&points);
        }
        let within_limit = rule.keeps(&points[chosen]);
        Ok(Found {
            points,
            chosen,
            within_limit,
        })
    }

    fn develop(
        &self,
        shares: &Shares,
        rule: &Rule,
        before: &BitsPerByte,
    ) -> Result<Point, FinetuneError> {
        // The base itself is measured already.
        let development = match shares.values().all(|share| *share == 0.0) {
            true => before.clone(),
            false => self.measure(shares, HeldoutSplit::Dev)?,
        };
        Ok(Point {
            alpha: None,
            shares: shares.clone(),
            mean_increase: rule.mean_increase(before, &development),
            development,
            test_mean_increase: 0.0,
            test: BitsPerByte::new(),
        })
    }

    /// Bits per byte of every domain on one split.
    fn measure(&self, shares: &Shares, split: HeldoutSplit) -> Result<BitsPerByte, FinetuneError> {
        let scores = self.scores(shares, split)?.into_iter();
        Ok(scores
            .map(|(name, scores)| (name, scores.bits_per_byte()))
            .collect())
    }

    /// Scores of every domain's documents on one split.
    ///
    /// # Errors
    /// What scoring says.
    pub fn scores(
        &self,
        shares: &Shares,
        split: HeldoutSplit,
    ) -> Result<HalfScores, FinetuneError> {
        let model = self.model(shares)?;
        let windows = WindowOptions {
            split: Some(split),
            ..self.windows
        };
        self.domains
            .iter()
            .map(|(name, shard)| {
                let scores = score_shard(&model, shard, windows, &mut |_, _| {})?;
                Ok((name.clone(), scores))
            })
            .collect()
    }
}

fn described(shape: Option<Vec<usize>>) -> String {
    shape.map_or("missing".to_owned(), |shape| format!("{shape:?}"))
}

/// What a parameter is counted to: its block `layer 07`, or `embedding and head` for what is in none.
pub fn block_of(name: &str) -> String {
    match crate::selection::layer_of(name) {
        // Two digits and more keep the order of the blocks in that of their names.
        Some(layer) => format!("layer {layer:03}"),
        None => "embedding and head".to_owned(),
    }
}
