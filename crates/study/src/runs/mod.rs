//! Runs on the disk: their state, lineage and size, and the checkpoints that can be removed.

mod prune;
mod walk;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use polymath_finetune::{Divergence, Lineage};
use polymath_pretrain::PretrainConfig;
use polymath_train::{Check, Inspection, Metrics, read_metrics};
use serde::Serialize;

pub use prune::{PrunePlan, Removal, Skipped, plan_prune, prune};

use crate::StudyError;

/// State of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum RunCondition {
    /// All steps are done, and the limits, if any, are judged.
    Finished {
        /// Number of steps.
        step: u64,
    },
    /// A process is training the run.
    Running {
        /// Step of the newest checkpoint.
        step: u64,
        /// Number of steps of the whole run; `None` if not recorded.
        #[serde(skip_serializing_if = "Option::is_none")]
        of: Option<u64>,
        /// Id of the process, if known.
        #[serde(skip_serializing_if = "Option::is_none")]
        process: Option<u32>,
    },
    /// The run was stopped or killed. `--resume` continues it.
    Interrupted {
        /// Step of the newest checkpoint.
        step: u64,
        /// Number of steps of the whole run; `None` if not recorded.
        #[serde(skip_serializing_if = "Option::is_none")]
        of: Option<u64>,
    },
    /// All steps are done, but the forgetting limits are not judged yet. `--resume` judges them.
    Unjudged {
        /// Number of steps.
        step: u64,
    },
    /// The run has no checkpoint yet.
    NotBegun,
    /// The training was stopped because the loss or a weight is not finite.
    Diverged {
        /// Error message of the training.
        message: String,
    },
    /// A file of the run or of its newest checkpoint is missing or was altered.
    Broken {
        /// Name of the faulty folder or file, and description of the fault.
        message: String,
    },
}

/// Last evaluation of a run on held-out documents.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LastScore {
    /// Number of training steps before the evaluation.
    pub step: u64,
    /// Name of the scored domain: the niche of a fine-tuning, or the domain of a pretraining; `mean` for the mean over
    /// several domains.
    pub name: String,
    /// Score in bits per byte.
    pub bits_per_byte: f64,
}

/// Run on the disk, as its folder describes it.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// Folder of the run.
    pub folder: PathBuf,
    /// `pretrain`, or the method of the fine-tuning.
    pub kind: String,
    /// State of the run.
    #[serde(flatten)]
    pub condition: RunCondition,
    /// Earlier checkpoints that are incomplete: the folder of each, and the fault.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub broken_checkpoints: Vec<String>,
    /// Size of all files in the folder, in bytes.
    pub bytes: u64,
    /// Time of the newest checkpoint, else of the config.
    #[serde(skip)]
    pub date: Option<SystemTime>,
    /// Folder of the base of a fine-tuning; `None` for a pretraining.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<PathBuf>,
    /// Name of the niche of a fine-tuning; `None` for a pretraining.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub niche: Option<String>,
    /// Niches of the fine-tunings from which the base resulted, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub earlier_niches: Vec<String>,
    /// Last evaluation of the run; `None` before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_score: Option<LastScore>,
}

/// Finds the runs in `folders` and describes them, in the order of their paths.
///
/// # Errors
/// Fails if a folder is missing or can't be read.
pub fn runs(folders: &[PathBuf], check: Check) -> Result<Vec<Run>, StudyError> {
    let mut found = Vec::new();
    for folder in folders {
        let before = found.len();
        for run in walk::walk(folder, walk::Links::Skip)?.runs {
            if !found.contains(&run) {
                found.push(run);
            }
        }
        if found.len() == before && !folder.is_dir() {
            return Err(StudyError::refused(format!(
                "`{}` is not a folder: give folders that hold runs",
                folder.display()
            )));
        }
    }
    found.sort();
    Ok(found.iter().map(|folder| describe(folder, check)).collect())
}

/// Describes the run in `folder`. A file that can't be read makes the run broken.
fn describe(folder: &Path, check: Check) -> Run {
    let inspection = Inspection::of(folder, check);
    let lineage = Lineage::of(folder);
    let condition = match (&inspection, &lineage) {
        (Err(error), _) => broken(error),
        (_, Err(error)) => broken(error),
        (Ok(found), Ok(_)) => condition(folder, found),
    };
    let inspection = inspection.ok();
    let lineage = lineage.ok().flatten();
    Run {
        kind: lineage
            .as_ref()
            .map_or_else(|| "pretrain".into(), |found| found.method.clone()),
        condition,
        broken_checkpoints: inspection
            .as_ref()
            .map_or_else(Vec::new, broken_before_last),
        bytes: walk::size(folder),
        date: date(folder, inspection.as_ref()),
        base: lineage.as_ref().map(|found| found.base.clone()),
        niche: lineage.as_ref().map(|found| found.niche.clone()),
        last_score: last_score(folder, lineage.as_ref().map(|found| &*found.niche)),
        earlier_niches: lineage.map_or_else(Vec::new, |found| {
            found.earlier.into_iter().map(|stage| stage.niche).collect()
        }),
        folder: folder.to_path_buf(),
    }
}

fn broken(error: &dyn std::error::Error) -> RunCondition {
    RunCondition::Broken {
        message: error.to_string(),
    }
}

fn condition(folder: &Path, found: &Inspection) -> RunCondition {
    let newest = found.newest().and_then(|newest| newest.state.as_ref().ok());
    let step = newest.map_or(0, |state| state.step);
    let of = newest.and_then(|state| state.planned_steps);
    if let Some(process) = found.process {
        return RunCondition::Running { step, of, process };
    }
    if let Some(last) = found.checkpoints.last()
        && let Err(message) = &last.state
    {
        let rest = match step {
            0 => "no other checkpoint is whole".into(),
            step => format!("`--resume` continues from step {step}"),
        };
        return RunCondition::Broken {
            message: format!("`{}`: {message}; {rest}", last.path.display()),
        };
    }
    match Divergence::read(folder) {
        Ok(Some(Divergence { message })) => return RunCondition::Diverged { message },
        Err(error) => return broken(&error),
        Ok(None) => {}
    }
    if found.training.is_none() {
        return RunCondition::Broken {
            message: format!(
                "`{}`: not the config of a run",
                folder.join("run.toml").display()
            ),
        };
    }
    match (newest, found.finished()) {
        (None, _) => RunCondition::NotBegun,
        (_, Some(_)) if is_unjudged(folder) => RunCondition::Unjudged { step },
        (_, Some(_)) => RunCondition::Finished { step },
        (Some(_), None) => RunCondition::Interrupted { step, of },
    }
}

/// Describes the faults of incomplete checkpoints other than the newest one, one sentence each.
fn broken_before_last(found: &Inspection) -> Vec<String> {
    let earlier = found
        .checkpoints
        .split_last()
        .map_or(&[][..], |(_, rest)| rest);
    let messages = earlier.iter().filter_map(|checkpoint| {
        let message = checkpoint.state.as_ref().err()?;
        Some(format!("`{}`: {message}", checkpoint.path.display()))
    });
    messages.collect()
}

/// Returns true if the run has limits and no verdict on them.
fn is_unjudged(folder: &Path) -> bool {
    let config: Option<toml::Table> = polymath_train::saved_config(folder);
    let limits = config
        .as_ref()
        .and_then(|config| config.get("retention")?.get("limits"));
    limits.is_some() && !folder.join("limits.json").is_file()
}

fn date(folder: &Path, found: Option<&Inspection>) -> Option<SystemTime> {
    let newest = found.and_then(Inspection::newest);
    let file = newest.map_or_else(
        || folder.join("run.toml"),
        |newest| newest.path.join("state.json"),
    );
    file.metadata().ok()?.modified().ok()
}

/// Returns the last evaluation: of the niche, else the mean of the domains that were trained on.
fn last_score(folder: &Path, niche: Option<&str>) -> Option<LastScore> {
    let metrics = read_metrics(folder).ok()?.into_iter().rev();
    let mut evaluations = metrics.filter_map(|metrics| match metrics {
        Metrics::Evaluation(found) => Some(found),
        _ => None,
    });
    let last = evaluations.next()?;
    let pretraining: Option<PretrainConfig> = polymath_train::saved_config(folder);
    let counts = |name: &str| match niche {
        Some(niche) => name == niche,
        None => pretraining
            .as_ref()
            .is_none_or(|config| config.mixture.includes(name)),
    };
    let scores = last.heldout_bits_per_byte.iter();
    let scores: Vec<(&String, &f64)> = scores.filter(|(name, _)| counts(name)).collect();
    let sum: f64 = scores.iter().map(|(_, bits)| **bits).sum();
    Some(LastScore {
        step: last.step,
        name: match scores[..] {
            [(only, _)] => only.clone(),
            [] => return None,
            _ => "mean".into(),
        },
        bits_per_byte: sum / scores.len() as f64,
    })
}
