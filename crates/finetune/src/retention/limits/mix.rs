//! Last stage of a run with limits: keeps as much of the weight change as stays within the limits.
//!
//! A niche can be learned faster than any method retains the other domains; then no checkpoint of the run is within
//! the limits. But the base is within them, and between the base and the last checkpoint lie models that are, too: on
//! the way back to the base, forgetting decreases faster than the gain ([WiSE-FT; Wortsman
//! 2022](https://arxiv.org/abs/2109.01903)). If the last checkpoint is within the limits and does not use them up,
//! extrapolating beyond it does. The search uses the dev split, like the choice of the best checkpoint. It begins
//! with one share of the weight change for all layers, and continues with larger shares for those layers whose change
//! costs the retained domains least (see `tilt`). It scores a sample of the split; the result, and the best checkpoint,
//! are then scored on the whole split (see `dev_set`).
//!
//! Along one direction, the farthest model within the limits needs no correction for multiple evaluations: since the
//! increase grows along the direction, a model beyond the limit can only seem to be within it if the one at the limit
//! does (as in fixed-sequence testing; [Learn then Test, Angelopoulos
//! 2021](https://arxiv.org/abs/2110.01052)). The choice among several directions and the best checkpoint of training
//! does need one: it uses bounds that hold jointly, with which the chosen direction is searched again.

use std::path::Path;

use polymath_base::StagedFolder;
use polymath_eval::{Endpoints, Interpolation, Shares};
use polymath_model::{LoadOptions, Precision};
use polymath_train::{Launch, Observer, RunFolder, resolve_checkpoint};

use super::dev_set::DevPart;
use super::search::{MixSearch, TILTS};
use super::tilt::stretches_of;
use crate::{FinetuneError, Finetuning, Lineage};

/// Name of the folder in the run's folder that holds the model found by the search.
pub(super) const FOLDER: &str = "mixed";

/// Usual number of models that are scored after the training of a run with limits.
pub(crate) struct UsualScorings {
    /// Models that the search scores on a sample of the dev split.
    pub sampled: u64,
    /// Models that the search scores on the whole dev split, and that the verdict scores on the test split.
    pub whole: u64,
}

/// Returns the usual number of models that are scored after the training of a run with limits, for a model of `layers`
/// layers. The search scores both ends of the line, one model for each group of layers and a few along each direction
/// on the sample; base, best checkpoint and a few models along the chosen direction on the whole split; and the verdict
/// scores base and result on the test split.
pub(crate) fn usual_scorings(layers: usize) -> UsualScorings {
    const ENDS: u64 = 2;
    const USUAL_LOOKS: u64 = 4;
    const CONFIRMED: u64 = 4;
    const TESTED: u64 = 2;
    let directions = 1 + TILTS.len() as u64;
    UsualScorings {
        sampled: ENDS + stretches_of(layers) as u64 + 2 + directions * USUAL_LOOKS,
        whole: CONFIRMED + TESTED,
    }
}

/// Checkpoints of a finished run from which the search begins.
pub(super) struct RunCheckpoints<'a> {
    /// Best checkpoint within the limits, if there is one.
    pub best_inside: Option<&'a Path>,
    /// Last checkpoint of the run.
    pub last: &'a Path,
}

/// Result of the search.
pub(super) struct FoundInside {
    /// True if the best checkpoint of training is within the limits on the whole dev split.
    pub is_best_inside: bool,
    /// Share of the weight change in each layer of the model that was found, if it is better than the best checkpoint.
    pub mixed: Option<Shares>,
}

impl Finetuning {
    /// Searches the line from the base through the run's last weights for the model that is best for the niche with
    /// every retained domain within its limit. If that model is better than the run's best checkpoint within the
    /// limits, writes it to [`FOLDER`]. Can be called again after a stop. If the run trained an adapter that ended
    /// within the limits, keeps the adapter, since the found model would not be one.
    pub(super) fn mix_inside(
        &self,
        launch: &Launch,
        ends: RunCheckpoints,
        run: &RunFolder,
        observer: &mut dyn Observer,
    ) -> Result<FoundInside, FinetuneError> {
        let limits = self.config.retention.limits.clone().unwrap_or_default();
        let base = self.load_tuned(launch, false)?;
        let sample = self.dev_set(&base, &limits, DevPart::Sample)?;
        let whole = self.dev_set(&base, &limits, DevPart::Whole)?;
        drop(base);
        let last = resolve_checkpoint(ends.last)?;
        let options = LoadOptions::frozen(&launch.device, launch.ops(Precision::F32));
        let mut search = MixSearch {
            launch,
            ended_as_adapter: polymath_model::is_adapter(&last),
            between: Interpolation::open(
                Endpoints {
                    base: self.start(),
                    tuned: &last,
                },
                &self.data.watched,
                self.limited_windows(),
                options,
            )?,
            sample,
            whole,
            searched: false,
        };
        let best = match ends.best_inside {
            Some(folder) => search.best_inside(&self.load_checkpoint(launch, folder)?)?,
            None => None,
        };
        let is_best_inside = best.is_some();
        let mixed = search.run(best, observer)?;
        if let Some(shares) = &mixed {
            self.write_mixture(&search.between, shares, run.path())?;
        } else if search.searched {
            observer.message("the search found no better model than the run's checkpoints");
        }
        Ok(FoundInside {
            is_best_inside,
            mixed,
        })
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
