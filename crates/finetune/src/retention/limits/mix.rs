//! The last step of a run under limits: as much of what it learnt as stays inside.
//!
//! A niche can be learnt faster than anything holds the old domains: then no checkpoint of the run is inside. But between the
//! base, which is, and the run's end lies a model that is, and forgetting falls faster than the gain on the way back to the
//! base (WiSE-FT; Wortsman 2022). It is looked for on the development half, as the run's best checkpoint was: first with one
//! share for all blocks, then with more for those whose change costs the old domains least (see `tilt`).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;

use polymath_data::Half;
use polymath_eval::WindowOptions;
use polymath_model::{LoadOptions, Precision};
use polymath_train::{Launch, Observer, point, resolve_checkpoint};

use super::held::Held;
use super::tilt::{Price, along, as_far_as, tilt, whole};
use crate::retention::{Interpolation, Shares};
use crate::{FinetuneError, Finetuning};

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
    /// Nothing between base and end is better than the best checkpoint on the way.
    Nothing,
    /// It stands as [`FOLDER`]: the share of the run's last weights in each block.
    Mixed(Shares),
}

/// A model between the base and the run's end.
#[derive(Debug, Clone)]
struct Found {
    shares: Shares,
    /// The upper end of the worst domain's rise, as a share of its limit.
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
    held: Held,
}

impl Finetuning {
    /// Looks for the model between the base and the run's last weights that serves the niche best with every old domain
    /// inside its limit. Where it serves better than `best`, the score of the run's best checkpoint inside, it is written and
    /// becomes `best`. It can be called again after it was stopped.
    pub(super) fn mix_inside(
        &self,
        launch: &Launch,
        best: f64,
        observer: &mut dyn Observer,
    ) -> Result<Mixing, FinetuneError> {
        let limits = self.config.retention.limits.clone().unwrap_or_default();
        let windows = WindowOptions {
            context: Some(self.sequence_length),
            max_tokens: Some(self.config.evaluation.max_tokens()),
            half: Some(Half::Development),
            stride: None,
        };
        let base = self.load_tuned(launch, false)?;
        let read = self.watched_by_base()?;
        let held = Held::score((&base, &read[1..]), &self.watched[1..], &limits, windows)?;
        drop(base);
        let last = resolve_checkpoint(&self.config.run.join("latest"))?;
        let options = LoadOptions::frozen(&launch.device, launch.ops(Precision::F32));
        let search = Search {
            tuning: self,
            launch,
            between: Interpolation::open((self.start(), &last), &self.watched, windows, options)?,
            held,
        };
        match search.run(best, observer) {
            Ok(Some(shares)) => {
                self.keep_mixed(&search.between, &shares)?;
                Ok(Mixing::Mixed(shares))
            }
            Ok(None) => Ok(Mixing::Nothing),
            Err(Halt::Stopped) => Ok(Mixing::Stopped),
            Err(Halt::Failed(error)) => Err(error),
        }
    }

    /// Writes the model at `shares` and makes it the run's best.
    fn keep_mixed(&self, between: &Interpolation, shares: &Shares) -> Result<(), FinetuneError> {
        let run = &self.config.run;
        let failed = |path: &Path| {
            let path = path.to_path_buf();
            move |source| FinetuneError::File { path, source }
        };
        let (beside, folder) = (run.join(".tmp-mixed"), run.join(FOLDER));
        for old in [&beside, &folder] {
            if old.exists() {
                std::fs::remove_dir_all(old).map_err(failed(old))?;
            }
        }
        std::fs::create_dir_all(&beside).map_err(failed(&beside))?;
        polymath_model::save(&beside, &between.model(shares)?, &self.tokenizer()?)?;
        std::fs::rename(&beside, &folder).map_err(failed(&folder))?;
        point(run, "best", FOLDER)?;
        Ok(())
    }
}

impl Search<'_> {
    /// The shares of what is inside and serves the niche better than `best` and the base.
    fn run(&self, best: f64, observer: &mut dyn Observer) -> Result<Option<Shares>, Halt> {
        let end = self.at(&self.between.alike(1.0))?;
        // It has been among what was looked at on the way.
        if end.worst <= 1.0 {
            return Ok(None);
        }
        observer.message(
            "the run's end is outside the limits: looking for what is inside between it and the base",
        );
        let Some(even) = self.farthest(&end.shares, Some(end.worst), 1.0)? else {
            return Ok(None);
        };
        let found = self.tilted(even)?;
        let untouched = self.at(&self.between.alike(0.0))?.niche;
        Ok((found.niche < best.min(untouched)).then_some(found.shares))
    }

    /// What stands at `shares`.
    fn at(&self, shares: &Shares) -> Result<Found, Halt> {
        if self.launch.stop.load(Ordering::SeqCst) {
            return Err(Halt::Stopped);
        }
        let scores = self.between.scores(shares, Half::Development)?;
        let standing = self.held.stand(&scores)?;
        Ok(Found {
            shares: shares.clone(),
            worst: standing.share(),
            mean: standing.mean,
            niche: scores[&self.tuning.niche].bits_per_byte(),
        })
    }

    /// The best for the niche of `even`, which has one share for all blocks, and what is inside with shares that differ.
    fn tilted(&self, even: Found) -> Result<Found, Halt> {
        let prices = self.prices(&even)?;
        let alpha = even.shares.values().copied().fold(0.0, f64::max);
        let mut best = even;
        for power in TILTS {
            let direction = tilt(&prices, power);
            let first = as_far_as(&direction, &prices, alpha);
            let found = self.farthest(&direction, None, first)?;
            if let Some(found) = found.filter(|found| found.niche < best.niche) {
                best = found;
            }
        }
        Ok(best)
    }

    /// The farthest along `direction` that is inside, within a few looks; the first is at `first`, or, where the worst
    /// domain's share of its limit is `known` there, where that lets expect it inside.
    fn farthest(
        &self,
        direction: &Shares,
        known: Option<f64>,
        first: f64,
    ) -> Result<Option<Found>, Halt> {
        let mut bracket = Bracket {
            inside: None,
            outside: known.map(|worst| (first, worst)),
            whole: whole(direction),
        };
        let mut farthest = None;
        for _ in 0..LOOKS {
            let scale = bracket.next(first);
            let found = self.at(&along(direction, scale))?;
            if found.worst > 1.0 {
                bracket.outside = Some((scale, found.worst));
                if scale <= LEAST {
                    break;
                }
                continue;
            }
            bracket.inside = Some((scale, found.worst));
            let enough = found.worst >= CLOSE || scale >= bracket.whole;
            farthest = Some(found);
            if enough {
                break;
            }
        }
        Ok(farthest)
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
    inside: Option<(f64, f64)>,
    outside: Option<(f64, f64)>,
    whole: f64,
}

impl Bracket {
    /// Where to look next: where the share of the limit is expected to be [`AIM`], by the power law through both ends, or
    /// through the one that there is.
    fn next(&self, first: f64) -> f64 {
        let alone =
            |(scale, worst): (f64, f64)| scale * (AIM / worst.max(LOWEST)).powf(1.0 / POWER);
        let scale = match (self.inside, self.outside) {
            (None, None) => first,
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
    use super::*;

    /// On rises that go by any power from 1 to 2, and bend, six looks come within a few percent of the limit, inside.
    #[test]
    fn the_limit_is_found_in_a_few_looks() {
        for power in [1.0, 1.3, 1.7, 2.0] {
            for end in [1.05, 3.0, 12.0, 60.0] {
                let worst = |scale: f64| end * scale.powf(power) * (1.0 + 0.5 * scale) / 1.5;
                let mut bracket = Bracket {
                    inside: None,
                    outside: Some((1.0, end)),
                    whole: 1.0,
                };
                for _ in 0..LOOKS {
                    let scale = bracket.next(1.0);
                    assert!(scale > 0.0 && scale < 1.0);
                    let found = (scale, worst(scale));
                    if found.1 > 1.0 {
                        bracket.outside = Some(found);
                    } else {
                        bracket.inside = Some(found);
                        if found.1 >= CLOSE {
                            break;
                        }
                    }
                }
                let (_, found) = bracket.inside.unwrap();
                assert!((0.9..=1.0).contains(&found), "{power} {end}: {found}");
            }
        }
    }
}
