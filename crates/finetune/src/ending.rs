//! How a fine-tuning ends: trained, judged, stopped, or diverged.

use std::path::Path;

use polymath_train::{Launch, Observer, Outcome, RunFolder, TrainError};
use serde::{Deserialize, Serialize};

use crate::retention::LimitsVerdict;
use crate::{FinetuneError, Finetuning};

/// The file of a [`Divergence`] in a run's folder.
const FILE: &str = "diverged.json";

/// How a run ended that did not fail.
#[derive(Debug, Clone)]
pub struct Ending {
    /// Of training; [`Outcome::Interrupted`] also where it was stopped between its last step and the verdict.
    pub outcome: Outcome,
    /// On the limits of a run that has some and is finished.
    pub verdict: Option<LimitsVerdict>,
}

impl Ending {
    /// Whether the run is finished, and judged if it has limits.
    pub fn is_finished(&self) -> bool {
        matches!(self.outcome, Outcome::Finished { .. })
    }
}

/// The note that a run leaves which diverged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Divergence {
    /// What training said.
    pub message: String,
}

impl Divergence {
    /// The note in a run's folder, if there is one.
    ///
    /// # Errors
    /// A file that can't be read.
    pub fn read(run: &Path) -> Result<Option<Self>, FinetuneError> {
        let path = run.join(FILE);
        let text = match polymath_files::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(FinetuneError::File { path, source }),
        };
        serde_json::from_slice(&text).map(Some).map_err(|error| {
            FinetuneError::Config(format!(
                "`{}` is no note of a run that diverged: {error}; remove it to try the run again",
                path.display()
            ))
        })
    }

    /// Leaves a note of `error`, if it is a divergence.
    pub(crate) fn note(run: &Path, error: &FinetuneError) {
        let FinetuneError::Training(TrainError::Diverged(message)) = error else {
            return;
        };
        let note = Self {
            message: message.clone(),
        };
        let text = serde_json::to_string_pretty(&note).expect("a note is text") + "\n";
        if let Err(error) = polymath_files::write(&run.join(FILE), text.as_bytes()) {
            // The divergence itself is the error to report.
            tracing::warn!("can't write `{}`: {error}", run.join(FILE).display());
        }
    }

    /// Removes the note of an earlier attempt.
    pub(crate) fn clear(run: &Path) -> Result<(), FinetuneError> {
        let path = run.join(FILE);
        polymath_files::remove(&path).map_err(|source| FinetuneError::File { path, source })
    }
}

impl Finetuning {
    /// The note of this run, with these settings, if it diverged.
    ///
    /// # Errors
    /// A file that can't be read.
    pub fn divergence(&self) -> Result<Option<Divergence>, FinetuneError> {
        match Divergence::read(&self.config.run)? {
            Some(found) if self.is_same()? => Ok(Some(found)),
            _ => Ok(None),
        }
    }

    /// What follows training: the links that are not training's own, and the verdict.
    pub(crate) fn conclude(
        &self,
        outcome: Outcome,
        run: &RunFolder,
        (launch, observer): (&Launch, &mut dyn Observer),
    ) -> Result<Ending, FinetuneError> {
        let Outcome::Finished { steps, .. } = outcome else {
            return Ok(Ending {
                outcome,
                verdict: None,
            });
        };
        let Some(limits) = &self.config.retention.limits else {
            // Of a run that was finished before, a killed process may not have moved it.
            if let Some(from) = run.resumed().filter(|from| from.state.finished) {
                run.mark_best(&from.state)?;
            }
            return Ok(Ending {
                outcome,
                verdict: None,
            });
        };
        let verdict = match LimitsVerdict::read(run.path()) {
            Some(said) => {
                self.point_by(&said, run)?;
                Some(said)
            }
            None => self.verdict(limits, run, (launch, observer))?,
        };
        Ok(match verdict {
            Some(verdict) => Ending {
                outcome,
                verdict: Some(verdict),
            },
            None => Ending {
                outcome: Outcome::Interrupted { step: steps },
                verdict: None,
            },
        })
    }
}
