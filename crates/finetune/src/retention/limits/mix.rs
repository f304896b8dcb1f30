//! The last step of a run under limits: as much of what it learnt as stays inside.
//!
//! A niche can be learnt faster than anything holds the old domains: then no checkpoint of the run is inside. But between the
//! base, which is, and the run's end lies a model that is, and forgetting falls faster than the gain on the way back to the
//! base (WiSE-FT; Wortsman 2022). And where the run's end is inside with room to spare, what held it back is let go a little by
//! going on from the base through the end. It is looked for on the development half, as the run's best checkpoint was: first with
//! one share of the run's change for all blocks, then with more for those whose change costs the old domains least (see `tilt`).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;

use polymath_data::HeldoutSplit;
use polymath_eval::{WindowOptions, score_shard};
use polymath_files::StagedFolder;
use polymath_model::{LoadOptions, Precision};
use polymath_train::{Launch, Observer, RunFolder, resolve_checkpoint};

use super::held::Held;
use super::tilt::{Price, along, as_far_as, tilt, whole};
use crate::retention::{Interpolation, Shares};
use crate::{FinetuneError, Finetuning, Lineage};

/// Looks along a direction, at most.
const LOOKS: usize = 6;
/// Where the worst domain uses so much of its limit, it is close enough.
const CLOSE: f64 = 0.94;
/// What is aimed at.
const AIM: f64 = 0.97;
/// Between the base and a run's end, rises go about as this power of the share: faster than linearly.
const POWER: f64 = 1.5;
/// Shares of a limit below this count as this: a domain that gains has no logarithm.
const LOWEST: f64 = 0.01;
/// Less of a run than this is nothing.
const LEAST: f64 = 1.0 / 64.0;
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
    /// What the worst domain's rise may be on other documents, as a share of its limit.
    worst: f64,
    /// The mean over the domains of their rises, as shares of their limits.
    mean: f64,
    /// Bits per byte.
    niche: f64,
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
        let windows = WindowOptions {
            context: Some(self.sequence_length),
            max_tokens: Some(self.config.evaluation.max_tokens()),
            split: Some(HeldoutSplit::Dev),
            stride: None,
        };
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
                score_shard(&model, &self.data.watched[0].1, windows, &mut |_, _| ())?
                    .bits_per_byte()
            }
            None => f64::INFINITY,
        };
        let options = LoadOptions::frozen(&launch.device, launch.ops(Precision::F32));
        let search = Search {
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
    /// The shares of what is inside and serves the niche better than `best` and the base.
    fn run(&self, best: f64, observer: &mut dyn Observer) -> Result<Option<Shares>, Halt> {
        let end = self.at(&self.between.alike(1.0))?;
        if end.worst <= 1.0 && self.ended_as_adapter {
            return Ok(None);
        }
        observer.message(match end.worst > 1.0 {
            true => "the run's end is outside the limits: looking for what is inside between it and the base",
            false => "the run's end is inside the limits: looking for what is inside beyond it",
        });
        let direction = end.shares.clone();
        let Some(even) = self.farthest(&direction, Bracket::from(&direction, &end), Some(end))?
        else {
            return Ok(None);
        };
        let found = self.tilted(even)?;
        if found.shares == direction {
            return Ok(None);
        }
        let untouched = self.at(&self.between.alike(0.0))?.niche;
        Ok((found.niche < best.min(untouched)).then_some(found.shares))
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
            });
        }
        let standing = self.held.stand(&scores)?;
        Ok(Found {
            shares: shares.clone(),
            worst: standing.share(),
            mean: standing.mean,
            niche,
        })
    }

    /// The best for the niche of `even`, which has one share for all blocks, and what is inside with shares that differ.
    fn tilted(&self, even: Found) -> Result<Found, Halt> {
        let prices = self.prices(&even)?;
        let alpha = even.shares.values().copied().fold(0.0, f64::max);
        let mut best = even;
        for power in TILTS {
            let direction = tilt(&prices, power);
            if direction == self.between.alike(1.0) {
                continue;
            }
            let bracket = Bracket::new(&direction, as_far_as(&direction, &prices, alpha));
            let found = self.farthest(&direction, bracket, None)?;
            if let Some(found) = found.filter(|found| found.niche < best.niche) {
                best = found;
            }
        }
        Ok(best)
    }

    /// The best for the niche along `direction` of what is inside, within a few looks; `known` is what the bracket has of it
    /// already.
    fn farthest(
        &self,
        direction: &Shares,
        mut bracket: Bracket,
        known: Option<Found>,
    ) -> Result<Option<Found>, Halt> {
        let mut best = known.filter(|found| found.worst <= 1.0);
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
            if best.as_ref().is_some_and(|best| found.niche >= best.niche) {
                break;
            }
            best = Some(found);
        }
        Ok(best)
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

/// Scales between which the limit lies, each with the worst domain's share of its limit there.
struct Bracket {
    first: f64,
    inside: Option<(f64, f64)>,
    outside: Option<(f64, f64)>,
    whole: f64,
}

impl Bracket {
    /// Nothing known; to look at `first` first.
    fn new(direction: &Shares, first: f64) -> Self {
        Self {
            first,
            inside: None,
            outside: None,
            whole: whole(direction),
        }
    }

    /// With what stands at the scale 1.
    fn from(direction: &Shares, end: &Found) -> Self {
        let mut bracket = Self::new(direction, 1.0);
        bracket.take(1.0, end.worst);
        bracket
    }

    fn take(&mut self, scale: f64, worst: f64) {
        match worst > 1.0 {
            true => self.outside = Some((scale, worst)),
            false => self.inside = Some((scale, worst)),
        }
    }

    /// Whether what is inside is as close to the limit as it needs to be, or can.
    fn is_close(&self) -> bool {
        self.inside
            .is_some_and(|(scale, worst)| worst >= CLOSE || scale >= self.whole)
    }

    /// Where to look next: where the share of the limit is expected to be [`AIM`], by the power law through both ends, or
    /// through the one that there is.
    fn next(&self) -> f64 {
        let alone =
            |(scale, worst): (f64, f64)| scale * (AIM / worst.max(LOWEST)).powf(1.0 / POWER);
        let scale = match (self.inside, self.outside) {
            (None, None) => self.first,
            (None, Some(outside)) => alone(outside),
            (Some(inside), None) => alone(inside),
            (Some((low, less)), Some((high, more))) => {
                let less = less.max(LOWEST);
                let part = (AIM / less).ln() / (more / less).ln();
                // Never at an end again.
                low * (high / low).powf(part.clamp(0.1, 0.9))
            }
        };
        scale.clamp(LEAST, self.whole)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tilt::MOST;
    use super::*;

    /// On rises that go by any power from 1 to 2, and bend, six looks come within a few percent of the limit, inside.
    #[test]
    fn the_limit_is_found_in_a_few_looks() {
        for power in [1.0, 1.3, 1.7, 2.0] {
            for end in [0.3, 0.6, 1.05, 3.0, 12.0, 60.0] {
                let worst = |scale: f64| end * scale.powf(power) * (1.0 + 0.5 * scale) / 1.5;
                let direction = Shares::from([("all".to_owned(), 1.0)]);
                let mut bracket = Bracket::new(&direction, 1.0);
                bracket.take(1.0, end);
                for _ in 0..LOOKS {
                    if bracket.is_close() {
                        break;
                    }
                    let scale = bracket.next();
                    assert!(scale > 0.0 && scale <= MOST);
                    bracket.take(scale, worst(scale));
                }
                if worst(MOST) < 0.9 {
                    assert_eq!(bracket.inside.unwrap().0, MOST);
                    continue;
                }
                let (_, found) = bracket.inside.unwrap();
                assert!((0.9..=1.0).contains(&found), "{power} {end}: {found}");
            }
        }
    }
}
