//! The last step of a run under limits: as much of what it learnt as stays inside.
//!
//! A niche can be learnt faster than anything holds the old domains: then no checkpoint of the run is inside. But between the
//! base, which is, and the run's end lies a model that is, and forgetting falls faster than the gain on the way back to the
//! base (WiSE-FT; Wortsman 2022). And where the run's end is inside with room to spare, what held it back is let go a little by
//! going on from the base through the end. It is looked for on the dev split, as the run's best checkpoint was: first with one
//! share of the run's change for all blocks, then with more for those whose change costs the retained domains least (see `tilt`).
//!
//! Along one direction the farthest that is inside needs no correction for the looks: rises grow along it, so that a model beyond
//! the limit can only seem to be inside where the one at the limit does, and the nearest are tested first (fixed-sequence
//! testing, as in Learn-then-Test; Angelopoulos 2021). The choice among directions and the best checkpoint on the way is one among
//! several: it is paid for by bounds that hold together, and the chosen direction is followed once more by them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use polymath_data::{HeldoutSplit, TokenShard};
use polymath_eval::ScoresByDomain;
use polymath_eval::score_shard;
use polymath_files::StagedFolder;
use polymath_model::{LoadOptions, Precision};
use polymath_train::{Launch, Observer, RunFolder, resolve_checkpoint};

use super::bracket::{Bracket, LEAST, LOOKS};
use super::held::Held;
use super::tilt::{Price, along, as_far_as, tilt};
use crate::{FinetuneError, Finetuning, Lineage};
use polymath_eval::{Interpolation, Shares};

/// How far shares are tilted towards cheap blocks.
const TILTS: [f64; 2] = [0.5, 1.0];
/// The folder in the run's.
pub(super) const FOLDER: &str = "mixed";

/// What the end of a run can be.
pub(super) enum Mixing {
    /// Stopped meanwhile.
    Stopped,
    /// Nothing on the line through base and end is better than the best checkpoint on the way.
    Nothing,
    /// It stands as [`FOLDER`]: the share of the run's change in each block.
    Mixed(Shares),
}

/// A model on the way from the base through the run's end.
#[derive(Debug, Clone)]
struct Found {
    shares: Shares,
    /// The upper bound of the worst domain's rise, as a share of its limit.
    worst: f64,
    /// The mean over the domains of their rises, as shares of their limits.
    mean: f64,
    /// Bits per byte.
    niche: f64,
    /// Of the dev split.
    scores: ScoresByDomain,
}

/// The farthest along a direction.
struct Farthest {
    direction: Shares,
    scale: f64,
    found: Found,
}

/// Why a search ends without a result.
enum Halt {
    /// Stopped from outside.
    Stopped,
    Failed(FinetuneError),
}

impl<E: Into<FinetuneError>> From<E> for Halt {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Looks for the best of them.
struct Search<'a> {
    tuning: &'a Finetuning,
    launch: &'a Launch,
    between: Interpolation<'a>,
    ended_as_adapter: bool,
    held: Held,
}

impl Finetuning {
    /// Looks for the model on the way from the base through the run's last weights that serves the niche best with every old
    /// domain inside its limit. Where it serves better than `best`, the run's best checkpoint inside if there is one, it is
    /// written. `last` is the run's last checkpoint. It can be called again after it was stopped. An adapter that ended inside
    /// is left as it is: what is written is a whole model.
    pub(super) fn mix_inside(
        &self,
        launch: &Launch,
        (best, last): (Option<&Path>, &Path),
        run: &RunFolder,
        observer: &mut dyn Observer,
    ) -> Result<Mixing, FinetuneError> {
        let limits = self.config.retention.limits.clone().unwrap_or_default();
        let windows = self.limited_windows();
        let base = self.load_tuned(launch, false)?;
        let read = &self.data.watched_by_base;
        let held = Held::score(
            (&base, &read[1..]),
            &self.data.watched[1..],
            &limits,
            windows,
        )?;
        drop(base);
        let last = resolve_checkpoint(last)?;
        // As mixtures are scored, in f32: the run may have scored it in bf16.
        let best = match best {
            Some(folder) => {
                let model = self.load_checkpoint(launch, folder)?;
                let score = |(name, shard): &(String, Arc<TokenShard>)| {
                    let scores = score_shard(&model, shard, windows, &mut |_, _| ())?;
                    Ok((name.clone(), scores))
                };
                let scores = self.data.watched.iter().map(score);
                Some(scores.collect::<Result<ScoresByDomain, FinetuneError>>()?)
            }
            None => None,
        };
        let options = LoadOptions::frozen(&launch.device, launch.ops(Precision::F32));
        let mut search = Search {
            tuning: self,
            launch,
            ended_as_adapter: polymath_model::is_adapter(&last),
            between: Interpolation::open(
                (self.start(), &last),
                &self.data.watched,
                windows,
                options,
            )?,
            held,
        };
        match search.run(best, observer) {
            Ok(Some(shares)) => {
                self.keep_mixed(&search.between, &shares, run.path())?;
                Ok(Mixing::Mixed(shares))
            }
            Ok(None) => Ok(Mixing::Nothing),
            Err(Halt::Stopped) => Ok(Mixing::Stopped),
            Err(Halt::Failed(error)) => Err(error),
        }
    }

    /// Writes the model at `shares` into the folder of the run, and what it comes from.
    fn keep_mixed(
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

impl Search<'_> {
    /// The shares of what is inside and serves the niche better than `best`, the scores of the run's best checkpoint, and the base.
    fn run(
        &mut self,
        best: Option<ScoresByDomain>,
        observer: &mut dyn Observer,
    ) -> Result<Option<Shares>, Halt> {
        let end = self.at(&self.between.alike(1.0))?;
        if end.worst <= 1.0 && self.ended_as_adapter {
            return Ok(None);
        }
        observer.message(match end.worst > 1.0 {
            true => "the run's end is outside the limits: looking for what is inside between it and the base",
            false => "the run's end is inside the limits: looking for what is inside beyond it",
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
        self.held.pay_for(&compared)?;
        finalists.sort_by(|a, b| a.found.niche.total_cmp(&b.found.niche));
        let Some(found) = self.once_more(finalists.swap_remove(0))? else {
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

    /// Follows the chosen direction again, by the bounds as they are now.
    fn once_more(&self, chosen: Farthest) -> Result<Option<Found>, Halt> {
        let Farthest {
            direction,
            scale,
            mut found,
        } = chosen;
        found.worst = self.held.stand(&found.scores)?.share();
        if found.worst <= 1.0 {
            return Ok(Some(found));
        }
        let mut bracket = Bracket::new(&direction, scale);
        bracket.take(scale, found.worst);
        let farthest = self.farthest(&direction, bracket, None)?;
        Ok(farthest.map(|farthest| farthest.found))
    }

    /// What stands at `shares`.
    fn at(&self, shares: &Shares) -> Result<Found, Halt> {
        if self.launch.stop.load(Ordering::SeqCst) {
            return Err(Halt::Stopped);
        }
        let scores = self.between.scores(shares, HeldoutSplit::Dev)?;
        let niche = scores[&self.tuning.niche].bits_per_byte();
        // Farther than the run went, weights can be of no model at all.
        if !scores
            .values()
            .all(|scores| scores.bits_per_byte().is_finite())
        {
            return Ok(Found {
                shares: shares.clone(),
                worst: f64::INFINITY,
                mean: f64::INFINITY,
                niche: f64::INFINITY,
                scores,
            });
        }
        let standing = self.held.stand(&scores)?;
        Ok(Found {
            shares: shares.clone(),
            worst: standing.share(),
            mean: standing.mean,
            niche,
            scores,
        })
    }

    /// The farthest inside along the direction of `even`, which has one share for all blocks, and along those with shares that
    /// differ.
    fn tilted(&self, even: Farthest) -> Result<Vec<Farthest>, Halt> {
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

    /// The best for the niche along `direction` of what is inside, within a few looks; `known` is what the bracket has of it
    /// already, with its scale.
    fn farthest(
        &self,
        direction: &Shares,
        mut bracket: Bracket,
        known: Option<(f64, Found)>,
    ) -> Result<Option<Farthest>, Halt> {
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
            // From here on farther serves the niche no more.
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

    /// What each block's change brings and costs, around `found`.
    fn prices(&self, found: &Found) -> Result<BTreeMap<String, Price>, Halt> {
        let price = |block: &String| {
            let mut shares = found.shares.clone();
            shares.insert(block.clone(), 0.0);
            let without = self.at(&shares)?;
            let price = Price {
                gain: without.niche - found.niche,
                rise: found.mean - without.mean,
            };
            Ok((block.clone(), price))
        };
        found.shares.keys().map(price).collect()
    }
}
