//! Last stage of a run with limits: keeps as much of the weight change as stays within the limits.
//!
//! A niche can be learned faster than any method retains the other domains; then no checkpoint of the run is within
//! the limits. But the base is within them, and between the base and the last checkpoint lie models that are, too: on
//! the way back to the base, forgetting decreases faster than the gain ([WiSE-FT; Wortsman
//! 2022](https://arxiv.org/abs/2109.01903)). If the last checkpoint is within the limits and does not use them up,
//! extrapolating beyond it does. The search uses the dev split, like the choice of the best checkpoint. It begins
//! with one share of the weight change for all layers, and continues with larger shares for those layers whose change
//! costs the retained domains least (see `tilt`).
//!
//! Along one direction, the farthest model within the limits needs no correction for multiple evaluations: since the
//! increase grows along the direction, a model beyond the limit can only seem to be within it if the one at the limit
//! does, and nearer ones are tested first (fixed-sequence testing, as in [Learn then Test; Angelopoulos
//! 2021](https://arxiv.org/abs/2110.01052)). The choice among several directions and the best checkpoint of training
//! does need one: it uses bounds that hold jointly, with which the chosen direction is searched again.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;

use polymath_base::StagedFolder;
use polymath_data::{HeldoutSplit, NamedShard};
use polymath_eval::ScoresByDomain;
use polymath_eval::score_shard;
use polymath_model::{LoadOptions, Precision};
use polymath_train::{Launch, Observer, RunFolder, resolve_checkpoint};

use super::ModelOnDomains;
use super::bracket::{Bracket, LEAST, LOOKS};
use super::retained::RetainedDomains;
use super::tilt::{LayerEffect, along, as_far_as, stretches, stretches_of, tilt};
use crate::{FinetuneError, Finetuning, Lineage};
use polymath_eval::{Endpoints, Interpolation, Shares};

/// Exponents p of the tilted directions: layer shares ∝ (gain / cost)ᵖ, see `tilt`.
const TILTS: [f64; 2] = [0.5, 1.0];
/// Name of the folder in the run's folder that holds the model found by the search.
pub(super) const FOLDER: &str = "mixed";

/// Returns the usual number of model evaluations after the training of a run with limits, for a model of `layers`
/// layers. The search scores both ends of the line, one model for each group of layers and a few along each direction;
/// the verdict scores base and result on the test split.
pub(crate) fn usual_scorings(layers: usize) -> u64 {
    const ENDS: u64 = 4;
    const USUAL_LOOKS: u64 = 4;
    const TESTED: u64 = 2;
    let directions = 1 + TILTS.len() as u64;
    ENDS + stretches_of(layers) as u64 + 2 + directions * USUAL_LOOKS + TESTED
}

/// Model made of the base and a share of each layer's weight change, with its scores. A share above 1 extrapolates
/// beyond the last checkpoint.
#[derive(Debug, Clone)]
struct Candidate {
    shares: Shares,
    /// Upper bound of the worst domain's increase, divided by its limit; above 1 means beyond the limits.
    worst: f64,
    /// Mean over the domains of their increase divided by their limit.
    mean: f64,
    /// Bits per byte of the niche on the dev split.
    niche: f64,
    /// Scores of the niche and of all retained domains on the dev split.
    scores: ScoresByDomain,
}

/// Model along a direction with the largest scale that stays within the limits.
struct Farthest {
    direction: Shares,
    scale: f64,
    found: Candidate,
}

/// Checkpoints of a finished run from which the search begins.
pub(super) struct RunCheckpoints<'a> {
    /// Best checkpoint within the limits, if there is one.
    pub best_inside: Option<&'a Path>,
    /// Last checkpoint of the run.
    pub last: &'a Path,
}

/// Search between base and last checkpoint (and beyond) for the model that is best for the niche and within the limits.
struct MixSearch<'a> {
    tuning: &'a Finetuning,
    launch: &'a Launch,
    between: Interpolation<'a>,
    ended_as_adapter: bool,
    retained: RetainedDomains,
    /// True once the search has begun, which it does not for an adapter that ended within the limits.
    searched: bool,
}

impl Finetuning {
    /// Searches the line from the base through the run's last weights for the model that is best for the niche with
    /// every retained domain within its limit. If that model is better than the run's best checkpoint within the
    /// limits, writes it to [`FOLDER`] and returns its share of the weight change in each layer; otherwise returns
    /// `None`. Can be called again after a stop. If the run trained an adapter that ended within the limits, keeps the
    /// adapter, since the found model would not be one.
    pub(super) fn mix_inside(
        &self,
        launch: &Launch,
        ends: RunCheckpoints,
        run: &RunFolder,
        observer: &mut dyn Observer,
    ) -> Result<Option<Shares>, FinetuneError> {
        let limits = self.config.retention.limits.clone().unwrap_or_default();
        let windows = self.limited_windows();
        let base = self.load_tuned(launch, false)?;
        let read = ModelOnDomains {
            model: &base,
            domains: &self.data.watched_by_base[1..],
        };
        let watched = &self.data.watched[1..];
        let retained = RetainedDomains::score(read, watched, &limits, windows)?;
        drop(base);
        let last = resolve_checkpoint(ends.last)?;
        // Scores in f32 like the mixtures, since the run may have scored it in bf16.
        let best = match ends.best_inside {
            Some(folder) => {
                let model = self.load_checkpoint(launch, folder)?;
                let score = |NamedShard { name, shard }: &NamedShard| {
                    let scores = score_shard(&model, shard, windows, &mut |_, _| ())?;
                    Ok((name.clone(), scores))
                };
                let scores = self.data.watched.iter().map(score);
                Some(scores.collect::<Result<ScoresByDomain, FinetuneError>>()?)
            }
            None => None,
        };
        let options = LoadOptions::frozen(&launch.device, launch.ops(Precision::F32));
        let mut search = MixSearch {
            tuning: self,
            launch,
            ended_as_adapter: polymath_model::is_adapter(&last),
            between: Interpolation::open(
                Endpoints {
                    base: self.start(),
                    tuned: &last,
                },
                &self.data.watched,
                windows,
                options,
            )?,
            retained,
            searched: false,
        };
        let shares = search.run(best, observer)?;
        if let Some(shares) = &shares {
            self.write_mixture(&search.between, shares, run.path())?;
        } else if search.searched {
            observer.message("the search found no better model than the run's checkpoints");
        }
        Ok(shares)
    }

    /// Writes the model that has the given share of each layer's weight change, with its lineage, into a folder of the
    /// run.
    fn write_mixture(
        &self,
        between: &Interpolation,
        shares: &Shares,
        run: &Path,
    ) -> Result<(), FinetuneError> {
        let folder = run.join(FOLDER);
        let failed = |source| FinetuneError::File {
            path: folder.clone(),
            source,
        };
        let staged = StagedFolder::create(&folder).map_err(failed)?;
        polymath_model::save(staged.path(), &between.model(shares)?, self.tokenizer())?;
        if let Some(lineage) = Lineage::of(run)? {
            lineage.write(staged.path())?;
        }
        staged.replace().map_err(failed)
    }
}

impl MixSearch<'_> {
    /// Returns the shares of the weight change that give the best model for the niche within the limits. Returns `None`
    /// if that model is no better than the base and the run's best checkpoint, whose scores are `best`.
    fn run(
        &mut self,
        best: Option<ScoresByDomain>,
        observer: &mut dyn Observer,
    ) -> Result<Option<Shares>, FinetuneError> {
        let end = self.at(&self.between.alike(1.0))?;
        if end.worst <= 1.0 && self.ended_as_adapter {
            return Ok(None);
        }
        self.searched = true;
        observer.message(match end.worst > 1.0 {
            true => "the last weights are beyond the limits: searching for a model within them, between base and last weights",
            false => "the last weights are within the limits: searching for a better model, beyond the last weights",
        });
        let direction = end.shares.clone();
        let mut bracket = Bracket::new(&direction, 1.0);
        bracket.take(1.0, end.worst);
        let Some(even) = self.farthest(&direction, bracket, Some((1.0, end)))? else {
            return Ok(None);
        };
        let mut finalists = self.tilted(even)?;
        let mut compared: Vec<ScoresByDomain> = finalists
            .iter()
            .map(|one| one.found.scores.clone())
            .collect();
        compared.extend(best.clone());
        self.retained.correct_for_choice(&compared)?;
        finalists.sort_by(|a, b| a.found.niche.total_cmp(&b.found.niche));
        let Some(found) = self.retest(finalists.swap_remove(0))? else {
            return Ok(None);
        };
        if found.shares == direction {
            return Ok(None);
        }
        let niche = |scores: &ScoresByDomain| scores[&self.tuning.niche].bits_per_byte();
        let untouched = self.at(&self.between.alike(0.0))?.niche;
        let best = best.as_ref().map_or(f64::INFINITY, niche);
        Ok((found.niche < best.min(untouched)).then_some(found.shares))
    }

    /// Checks the model of the chosen direction again with the wider confidence bounds that hold for all candidates
    /// together. If it is beyond the limits by these bounds, searches the direction again.
    fn retest(&self, chosen: Farthest) -> Result<Option<Candidate>, FinetuneError> {
        let Farthest {
            direction,
            scale,
            mut found,
        } = chosen;
        found.worst = self.retained.limit_use(&found.scores)?.share();
        if found.worst <= 1.0 {
            return Ok(Some(found));
        }
        let mut bracket = Bracket::new(&direction, scale);
        bracket.take(scale, found.worst);
        let farthest = self.farthest(&direction, bracket, None)?;
        Ok(farthest.map(|farthest| farthest.found))
    }

    /// Scores the model that has the given share of each layer's weight change, on the dev split.
    fn at(&self, shares: &Shares) -> Result<Candidate, FinetuneError> {
        if self.launch.stop.load(Ordering::SeqCst) {
            return Err(FinetuneError::Stopped);
        }
        let scores = self.between.scores(shares, HeldoutSplit::Dev)?;
        let niche = scores[&self.tuning.niche].bits_per_byte();
        // Weights far beyond the last checkpoint can give a model that is not finite.
        if !scores
            .values()
            .all(|scores| scores.bits_per_byte().is_finite())
        {
            return Ok(Candidate {
                shares: shares.clone(),
                worst: f64::INFINITY,
                mean: f64::INFINITY,
                niche: f64::INFINITY,
                scores,
            });
        }
        let limit_use = self.retained.limit_use(&scores)?;
        Ok(Candidate {
            shares: shares.clone(),
            worst: limit_use.share(),
            mean: limit_use.mean,
            niche,
            scores,
        })
    }

    /// Returns the result of the search along each direction: `even`, in which all layers have the same share of the
    /// weight change, and the tilted directions, in which layers that cost the retained domains less have larger
    /// shares.
    fn tilted(&self, even: Farthest) -> Result<Vec<Farthest>, FinetuneError> {
        let prices = self.prices(&even.found)?;
        let alpha = even.found.shares.values().copied().fold(0.0, f64::max);
        let mut all = vec![even];
        for power in TILTS {
            let direction = tilt(&prices, power);
            if direction == self.between.alike(1.0) {
                continue;
            }
            let bracket = Bracket::new(&direction, as_far_as(&direction, &prices, alpha));
            all.extend(self.farthest(&direction, bracket, None)?);
        }
        Ok(all)
    }

    /// Returns the model within the limits along `direction` that is best for the niche, after at most [`LOOKS`]
    /// evaluations. `known` is a scored model that the bracket already contains, with its scale.
    fn farthest(
        &self,
        direction: &Shares,
        mut bracket: Bracket,
        known: Option<(f64, Candidate)>,
    ) -> Result<Option<Farthest>, FinetuneError> {
        let mut best = known.filter(|(_, found)| found.worst <= 1.0);
        for _ in 0..LOOKS {
            if bracket.is_close() {
                break;
            }
            let scale = bracket.next();
            let found = self.at(&along(direction, scale))?;
            bracket.take(scale, found.worst);
            if found.worst > 1.0 {
                if scale <= LEAST {
                    break;
                }
                continue;
            }
            // Models farther along the direction are worse for the niche.
            if best
                .as_ref()
                .is_some_and(|(_, best)| found.niche >= best.niche)
            {
                break;
            }
            best = Some((scale, found));
        }
        Ok(best.map(|(scale, found)| Farthest {
            direction: direction.clone(),
            scale,
            found,
        }))
    }

    /// Returns how much each layer's weight change improves the niche and how much it costs the retained domains.
    /// Measures it by resetting a group of layers of the model `found` at a time.
    fn prices(&self, found: &Candidate) -> Result<BTreeMap<String, LayerEffect>, FinetuneError> {
        let mut prices = BTreeMap::new();
        for blocks in stretches(&found.shares) {
            let mut shares = found.shares.clone();
            shares.extend(blocks.iter().map(|block| ((*block).clone(), 0.0)));
            let without = self.at(&shares)?;
            let together = LayerEffect {
                gain: without.niche - found.niche,
                rise: found.mean - without.mean,
            };
            let price = together.of_each(blocks.len());
            prices.extend(blocks.into_iter().map(|block| (block.clone(), price)));
        }
        Ok(prices)
    }
}
