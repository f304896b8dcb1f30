//! Search along the line from base to last checkpoint, and beyond, for the model that is best for the niche and within
//! the limits; see `mix`.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use polymath_eval::{EvalError, Interpolation, ScoresByDomain, Shares};
use polymath_model::Transformer;
use polymath_train::{Launch, Observer};

use super::bracket::{Bracket, LEAST, LOOKS};
use super::dev_set::{DevPart, DevSet};
use super::tilt::{LayerEffect, along, as_far_as, stretches, tilt};
use crate::FinetuneError;

/// Exponents p of the tilted directions: layer shares ∝ (gain / cost)ᵖ, see `tilt`.
pub(super) const TILTS: [f64; 2] = [0.5, 1.0];

/// Model made of the base and a share of each layer's weight change, with its scores on a part of the dev split. A
/// share above 1 extrapolates beyond the last checkpoint.
#[derive(Debug, Clone)]
struct Candidate {
    shares: Shares,
    /// Upper bound of the worst domain's increase, divided by its limit; above 1 means beyond the limits.
    worst: f64,
    /// Mean over the domains of their increase divided by their limit.
    mean: f64,
    /// Bits per byte of the niche.
    niche: f64,
    /// Scores of the niche and of all retained domains.
    scores: ScoresByDomain,
}

/// Model along a direction with the largest scale that stays within the limits.
struct Farthest {
    direction: Shares,
    scale: f64,
    found: Candidate,
}
/// Search between base and last checkpoint (and beyond) for the model that is best for the niche and within the limits.
pub(super) struct MixSearch<'a> {
    pub launch: &'a Launch,
    pub between: Interpolation<'a>,
    pub ended_as_adapter: bool,
    pub sample: DevSet,
    pub whole: DevSet,
    /// True once the search has begun, which it does not for an adapter that ended within the limits.
    pub searched: bool,
}
/// Scores of the run's best checkpoint, which is within the limits on the whole dev split. They are of the model in
/// f32, like those of the mixtures, even if the run computes in bf16.
pub(super) struct BestInside {
    sampled: ScoresByDomain,
    /// Bits per byte of the niche on the whole dev split.
    niche: f64,
}

impl MixSearch<'_> {
    /// Returns the shares of the weight change that give the best model for the niche within the limits. Returns `None`
    /// if that model is no better than the base and the run's best checkpoint.
    pub fn run(
        &mut self,
        best: Option<BestInside>,
        observer: &mut dyn Observer,
    ) -> Result<Option<Shares>, FinetuneError> {
        let direction = self.between.alike(1.0);
        let end = self.at(&direction, DevPart::Sample)?;
        if self.ended_as_adapter && self.on_whole(&end)?.worst <= 1.0 {
            return Ok(None);
        }
        self.searched = true;
        observer.message(match end.worst > 1.0 {
            true => "the last weights are beyond the limits: searching for a model within them, between base and last weights",
            false => "the last weights are within the limits: searching for a better model, beyond the last weights",
        });
        let mut bracket = Bracket::new(&direction, 1.0);
        bracket.take(1.0, end.worst);
        let Some(even) = self.farthest(&direction, bracket, Some((1.0, end)), DevPart::Sample)?
        else {
            return Ok(None);
        };
        let mut finalists = self.tilted(even)?;
        self.correct_for_choice(&finalists, best.as_ref())?;
        finalists.sort_by(|a, b| a.found.niche.total_cmp(&b.found.niche));
        let mut found = None;
        for finalist in finalists {
            found = self.confirm(finalist)?;
            if found.is_some() {
                break;
            }
        }
        let Some(found) = found else {
            return Ok(None);
        };
        if found.shares == direction {
            return Ok(None);
        }
        let base = self.between.model(&self.between.alike(0.0))?;
        let base = self.whole.niche_bits(&base)?;
        let best = best.map_or(f64::INFINITY, |best| best.niche);
        Ok((found.niche < best.min(base)).then_some(found.shares))
    }

    /// Scores the best checkpoint of training. Returns `None` if it is beyond the limits on the whole dev split.
    pub fn best_inside(&self, model: &Transformer) -> Result<Option<BestInside>, FinetuneError> {
        let whole = self.score(model, DevPart::Whole)?;
        let is_inside = self.whole.retained.limit_use(&whole)?.share() <= 1.0;
        let sampled = match self.is_whole_sampled() {
            true => whole.clone(),
            false => self.score(model, DevPart::Sample)?,
        };
        Ok(is_inside.then(|| BestInside {
            niche: whole[&self.whole.niche.name].bits_per_byte(),
            sampled,
        }))
    }

    /// Widens the confidence bounds so that they hold jointly for the finalists and the best checkpoint.
    fn correct_for_choice(
        &mut self,
        finalists: &[Farthest],
        best: Option<&BestInside>,
    ) -> Result<(), FinetuneError> {
        let finalists = finalists.iter().map(|one| &one.found.scores);
        let compared: Vec<&ScoresByDomain> =
            finalists.chain(best.map(|best| &best.sampled)).collect();
        let factors = self.sample.retained.choice_factors(&compared)?;
        self.whole.retained.widen(&factors);
        Ok(())
    }

    /// Searches the chosen direction again on the whole dev split, with the wider confidence bounds that hold for all
    /// candidates together, beginning with the model that was found on the sample.
    fn confirm(&self, chosen: Farthest) -> Result<Option<Candidate>, FinetuneError> {
        let Farthest {
            direction,
            scale,
            found,
        } = chosen;
        let found = self.on_whole(&found)?;
        if found.worst <= 1.0 && self.is_whole_sampled() {
            return Ok(Some(found));
        }
        let mut bracket = Bracket::new(&direction, scale);
        bracket.take(scale, found.worst);
        let known = Some((scale, found));
        let farthest = self.farthest(&direction, bracket, known, DevPart::Whole)?;
        Ok(farthest.map(|farthest| farthest.found))
    }

    /// Returns the candidate with its scores on the whole dev split.
    fn on_whole(&self, candidate: &Candidate) -> Result<Candidate, FinetuneError> {
        match self.is_whole_sampled() {
            true => self.judged(
                candidate.shares.clone(),
                candidate.scores.clone(),
                DevPart::Whole,
            ),
            false => self.at(&candidate.shares, DevPart::Whole),
        }
    }

    /// Returns true if the sample contains every document of the dev split.
    fn is_whole_sampled(&self) -> bool {
        self.sample.has_documents_of(&self.whole)
    }

    fn part(&self, part: DevPart) -> &DevSet {
        match part {
            DevPart::Sample => &self.sample,
            DevPart::Whole => &self.whole,
        }
    }

    /// Scores a model on a part of the dev split. Fails if the run is being stopped.
    fn score(&self, model: &Transformer, part: DevPart) -> Result<ScoresByDomain, FinetuneError> {
        let mut told = |_, _| match self.launch.stop.load(Ordering::SeqCst) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        };
        match self.part(part).score(model, &mut told) {
            Err(EvalError::Stopped) => Err(FinetuneError::Stopped),
            scores => Ok(scores?),
        }
    }

    /// Scores the model that has the given share of each layer's weight change, on a part of the dev split.
    fn at(&self, shares: &Shares, part: DevPart) -> Result<Candidate, FinetuneError> {
        let scores = self.score(&self.between.model(shares)?, part)?;
        self.judged(shares.clone(), scores, part)
    }

    /// Compares scores on a part of the dev split with the limits.
    fn judged(
        &self,
        shares: Shares,
        scores: ScoresByDomain,
        part: DevPart,
    ) -> Result<Candidate, FinetuneError> {
        // Weights far beyond the last checkpoint can give a model that is not finite.
        if !scores
            .values()
            .all(|scores| scores.bits_per_byte().is_finite())
        {
            return Ok(Candidate {
                shares,
                worst: f64::INFINITY,
                mean: f64::INFINITY,
                niche: f64::INFINITY,
                scores,
            });
        }
        let documents = self.part(part);
        let limit_use = documents.retained.limit_use(&scores)?;
        Ok(Candidate {
            shares,
            worst: limit_use.share(),
            mean: limit_use.mean,
            niche: scores[&documents.niche.name].bits_per_byte(),
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
            all.extend(self.farthest(&direction, bracket, None, DevPart::Sample)?);
        }
        Ok(all)
    }

    /// Returns the model within the limits along `direction` that is best for the niche, after at most [`LOOKS`]
    /// evaluations on a part of the dev split. `known` is a scored model that the bracket already contains, with its
    /// scale.
    fn farthest(
        &self,
        direction: &Shares,
        mut bracket: Bracket,
        known: Option<(f64, Candidate)>,
        part: DevPart,
    ) -> Result<Option<Farthest>, FinetuneError> {
        let mut best = known.filter(|(_, found)| found.worst <= 1.0);
        for _ in 0..LOOKS {
            if bracket.is_close() {
                break;
            }
            let scale = bracket.next();
            let found = self.at(&along(direction, scale), part)?;
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
            let without = self.at(&shares, DevPart::Sample)?;
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
