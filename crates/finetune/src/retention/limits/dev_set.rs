//! Documents of the dev split that the evaluations of a run with limits score.
//!
//! A run with limits is evaluated dozens of times: the controller needs an evaluation every few steps, and the search
//! after training scores one model after the other. These evaluations score a sample of the dev split, with the
//! confidence bound that the whole split is expected to have. Only the models that the run may end with are scored on
//! the whole split, and only that decides whether they are within the limits.

use std::ops::ControlFlow;

use polymath_data::{NamedShard, TokenShard};
use polymath_eval::statistics::FEWEST_EFFECTIVE;
use polymath_eval::{EvalError, ScoresByDomain, WindowOptions, sample_windows, score_shard};
use polymath_model::{ModelConfig, Transformer};

use super::retained::RetainedDomains;
use super::{LimitsConfig, ModelOnDomains};
use crate::FinetuneError;

/// Part of the scored documents of the dev split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DevPart {
    /// About a quarter of each domain's tokens, if these are at least 15 effective groups of documents; otherwise half
    /// of them, or all.
    Sample,
    /// All documents up to `evaluation.max_tokens`.
    Whole,
}

impl DevPart {
    /// Returns the windows that score this part of the documents that `windows` score.
    pub fn windows(
        self,
        model: &ModelConfig,
        shard: &TokenShard,
        windows: WindowOptions,
    ) -> Result<WindowOptions, EvalError> {
        match self {
            Self::Sample => sample_windows(model, shard, windows, FEWEST_EFFECTIVE),
            Self::Whole => Ok(windows),
        }
    }
}

/// Part of the dev split of the niche and of the retained domains, with the base's scores of the latter.
pub(crate) struct DevSet {
    /// Held-out documents of the niche.
    pub niche: NamedShard,
    niche_windows: WindowOptions,
    /// Retained domains with the base's scores on this part.
    pub retained: RetainedDomains,
}

impl DevSet {
    /// Chooses the documents of `part`, and scores the base on those of the retained domains. `watched` holds the niche
    /// and the retained domains in the run's tokens, and `base` the same domains in the base's tokens.
    ///
    /// # Errors
    /// Fails if the base can't be scored.
    pub fn new(
        base: ModelOnDomains,
        watched: &[NamedShard],
        limits: &LimitsConfig,
        windows: WindowOptions,
        part: DevPart,
    ) -> Result<Self, FinetuneError> {
        // The niche is the first domain.
        let (niche, watched) = (watched[0].clone(), &watched[1..]);
        let read = ModelOnDomains {
            domains: &base.domains[1..],
            ..base
        };
        Ok(Self {
            niche_windows: part.windows(base.model.config(), &niche.shard, windows)?,
            niche,
            retained: RetainedDomains::score(read, watched, limits, windows, part)?,
        })
    }

    /// Scores a model on the documents of every domain. Calls `progress` after each batch with the number of tokens
    /// scored so far and the total, in units in which all domains count as equally long.
    ///
    /// # Errors
    /// Fails if the model can't be scored, or with [`EvalError::Stopped`] if `progress` stops the scoring.
    pub fn score(
        &self,
        model: &Transformer,
        progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<ScoresByDomain, EvalError> {
        let retained = self.retained.0.iter();
        let retained = retained.map(|domain| (&domain.name, &domain.shard, domain.windows));
        let niche = (&self.niche.name, &self.niche.shard, self.niche_windows);
        let domains = 1 + self.retained.0.len() as u64;
        let mut scores = ScoresByDomain::new();
        for (number, (name, shard, windows)) in (0u64..).zip(std::iter::once(niche).chain(retained))
        {
            let mut told = |done, all| progress(number * all + done, domains * all);
            scores.insert(name.clone(), score_shard(model, shard, windows, &mut told)?);
        }
        Ok(scores)
    }

    /// Returns true if this part has every document of `whole`, the whole dev split of the same domains.
    pub fn has_documents_of(&self, whole: &Self) -> bool {
        let windows = |set: &Self| {
            let retained = set.retained.0.iter();
            let most = retained.map(|domain| domain.windows.max_tokens);
            most.chain([set.niche_windows.max_tokens])
                .collect::<Vec<_>>()
        };
        windows(self) == windows(whole)
    }

    /// Scores a model on the niche alone, and returns its bits per byte.
    ///
    /// # Errors
    /// Fails if the model can't be scored.
    pub fn niche_bits(&self, model: &Transformer) -> Result<f64, EvalError> {
        let (shard, windows) = (&self.niche.shard, self.niche_windows);
        Ok(score_shard(model, shard, windows, &mut |_, _| ())?.bits_per_byte())
    }
}
