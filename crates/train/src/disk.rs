//! Disk space that a run's checkpoints take, compared with the free space before the run starts.

use std::path::{Path, PathBuf};

use crate::{Check, Checkpointing, EvaluationCounts, Inspection, Plan, TrainError};

/// Bytes of one f32 number: an element of a parameter or of one of AdamW's two moments.
const NUMBER: u64 = 4;

/// Estimate of the disk space that a run's checkpoints take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskPlan {
    /// Folder of the run.
    pub run: PathBuf,
    /// Bytes of one checkpoint: weights and optimizer state.
    pub checkpoint_bytes: u64,
    /// Maximum number of checkpoints on disk at the same time: the recent ones, the best one, the milestones, and the
    /// one being written.
    pub checkpoints: u64,
    /// Bytes of checkpoints that the run's folder already contains.
    pub stored_bytes: u64,
}

impl DiskPlan {
    /// Returns the disk space for the checkpoints of the run in the folder `run`. Checkpoints of an adapter contain
    /// only the adapter.
    pub fn new(plan: &Plan, is_adapter: bool, kept: &Checkpointing, run: &Path) -> Self {
        let saved = match is_adapter {
            true => plan.trainable_parameters,
            false => plan.parameters,
        };
        let found = Inspection::of(run, Check::Lengths).ok();
        let stored = found.iter().flat_map(|found| &found.checkpoints);
        Self {
            run: run.to_path_buf(),
            checkpoint_bytes: NUMBER * (saved + 2 * plan.trainable_parameters),
            checkpoints: (kept.keep.max(1).saturating_add(kept.milestones.len()) as u64)
                .saturating_add(2),
            stored_bytes: stored.map(|checkpoint| size(&checkpoint.path)).sum(),
        }
    }

    /// Lowers the number of checkpoints to those that the run saves in all, and one that is saved because of a stop:
    /// `checkpoint.keep` may be larger.
    #[must_use]
    pub fn at_most(self, all: &EvaluationCounts) -> Self {
        Self {
            checkpoints: self.checkpoints.min(all.checkpoints + 1),
            ..self
        }
    }

    /// Returns the bytes that the run will take in addition to those that its folder already takes, at most.
    pub fn bytes(&self) -> u64 {
        let all = self.checkpoint_bytes.saturating_mul(self.checkpoints);
        all.saturating_sub(self.stored_bytes)
    }

    /// Fails if the run does not fit on its disk. The free space of some systems is unknown.
    ///
    /// # Errors
    /// Fails with the space required, the space that is free, and the keys to change.
    pub fn check(&self) -> Result<(), TrainError> {
        check_all(std::slice::from_ref(self))
    }

    fn refuse(&self, needed: u64, free: u64) -> TrainError {
        let megabytes = |bytes: u64| bytes.div_ceil(1_000_000);
        TrainError::Config(format!(
            "the checkpoints of `{}` would take about {} MB of disk ({} of {} MB at once, the best one and the one being \
             written among them), and {} MB are free there: lower `checkpoint.keep`, leave out `checkpoint.milestones`, \
             train less of the model (`method = \"lora\"` or `\"frozen\"`), or choose a `run` on another disk",
            self.run.display(),
            megabytes(needed),
            self.checkpoints,
            megabytes(self.checkpoint_bytes),
            free / 1_000_000
        ))
    }
}

/// Fails if the checkpoints of several runs together do not fit on the disk. All runs are assumed to be on the disk of
/// the first.
///
/// # Errors
/// Fails as [`DiskPlan::check`] does.
pub fn check_all(runs: &[DiskPlan]) -> Result<(), TrainError> {
    let Some(first) = runs.first() else {
        return Ok(());
    };
    check_against(runs, polymath_base::free_space(&first.run))
}

fn check_against(runs: &[DiskPlan], free: Option<u64>) -> Result<(), TrainError> {
    let needed = runs
        .iter()
        .map(DiskPlan::bytes)
        .fold(0, u64::saturating_add);
    match (runs.first(), free.filter(|free| needed > *free)) {
        (Some(first), Some(free)) => Err(first.refuse(needed, free)),
        _ => Ok(()),
    }
}

/// Returns the bytes of the files in a folder.
fn size(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Some(entry.metadata().ok()?.len()))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(checkpoint_bytes: u64, checkpoints: u64, stored_bytes: u64) -> DiskPlan {
        DiskPlan {
            run: "runs/a".into(),
            checkpoint_bytes,
            checkpoints,
            stored_bytes,
        }
    }

    /// Checks that a checkpoint has the weights and two moments of each trained parameter, of 4 bytes each, an
    /// adapter's only its own, and that beside the kept ones and the milestones, the best and the one being written
    /// take space.
    #[test]
    fn a_checkpoint_has_weights_and_moments() {
        let shape: polymath_model::ArchitectureConfig =
            toml::from_str("hidden_size = 8\nnum_hidden_layers = 1\nnum_attention_heads = 1")
                .unwrap();
        let ends = polymath_model::EndTokens { begin: 0, end: 0 };
        let model = shape.resolve(10, 16, ends).unwrap();
        let config: crate::TrainingConfig = toml::from_str("steps = 1").unwrap();
        let training = config.resolve(&crate::TrainingDefaults::UNUSED);
        let mut plan = Plan::new(&model, &training, 0.0, &|_| true);
        (plan.parameters, plan.trainable_parameters) = (10, 3);
        let kept = Checkpointing {
            every: crate::Interval::NEVER,
            keep: 4,
            milestones: vec![7],
        };
        let of = |is_adapter| DiskPlan::new(&plan, is_adapter, &kept, Path::new("none"));
        assert_eq!(
            (of(false).checkpoint_bytes, of(true).checkpoint_bytes),
            (64, 36)
        );
        assert_eq!((of(false).checkpoints, of(false).bytes()), (7, 448));
        // A run that saves three checkpoints never keeps more, and one that is saved at a stop.
        let all = |checkpoints| EvaluationCounts {
            evaluations: 9,
            checkpoints,
        };
        let checkpoints = |saved| of(false).at_most(&all(saved)).checkpoints;
        assert_eq!([3, 6, 99].map(checkpoints), [4, 7, 7]);
    }

    /// Checks that the free space of the disk counts, where it is known, and that files in the folder of a checkpoint
    /// are added up.
    #[test]
    fn the_free_space_is_that_of_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let here = |checkpoint_bytes| DiskPlan {
            run: folder.path().to_path_buf(),
            ..of(checkpoint_bytes, 1, 0)
        };
        here(1).check().unwrap();
        check_all(&[]).unwrap();
        if polymath_base::free_space(folder.path()).is_some() {
            here(u64::MAX).check().unwrap_err();
            check_all(&[here(1), here(u64::MAX)]).unwrap_err();
        }
        std::fs::write(folder.path().join("weights"), [0; 5]).unwrap();
        std::fs::write(folder.path().join("state"), [0; 3]).unwrap();
        assert_eq!((size(folder.path()), size(Path::new("none"))), (8, 0));
    }

    /// Checks that a run is refused if its checkpoints do not fit on the disk, with the keys that would help. Existing
    /// checkpoints are not counted again, and several runs on one disk are added up.
    #[test]
    fn too_little_disk_is_refused() {
        let run = of(3_000_000, 4, 0);
        check_against(std::slice::from_ref(&run), Some(12_000_000)).unwrap();
        check_against(std::slice::from_ref(&run), None).unwrap();
        let error = check_against(std::slice::from_ref(&run), Some(11_999_999))
            .unwrap_err()
            .to_string();
        for part in [
            "`runs/a`",
            "about 12 MB",
            "4 of 3 MB",
            "and 11 MB are free",
            "`checkpoint.keep`",
        ] {
            assert!(error.contains(part), "{part}: {error}");
        }
        check_against(&[of(3_000_000, 4, 9_000_000)], Some(3_000_000)).unwrap();
        check_against(&[run.clone(), run], Some(23_000_000)).unwrap_err();
        check_against(&[of(u64::MAX, 4, 0)], Some(1 << 50)).unwrap_err();
    }
}
