//! End of a fine-tuning: finished and judged, stopped, or diverged.

use std::path::Path;

use polymath_train::{Launch, Observer, Outcome, RunFolder, TrainError};
use serde::{Deserialize, Serialize};

use crate::retention::LimitsVerdict;
use crate::{FinetuneError, Finetuning};

/// Name of the file with a [`Divergence`], in the run's folder.
const FILE: &str = "diverged.json";

/// End of a run that did not fail.
#[derive(Debug, Clone)]
pub struct Ending {
    /// Outcome of training. It is [`Outcome::Interrupted`] too if the run was stopped between its last step and the
    /// verdict on the limits.
    pub outcome: Outcome,
    /// Verdict on the limits, if the run has limits and is finished.
    pub verdict: Option<LimitsVerdict>,
}

impl Ending {
    /// Returns true if the run is finished and, if it has limits, judged.
    pub fn is_finished(&self) -> bool {
        matches!(self.outcome, Outcome::Finished { .. })
    }
}

/// Record of a run that diverged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Divergence {
    /// Error message of the training.
    pub message: String,
}

impl Divergence {
    /// Reads the record in a run's folder, or returns `None` if there is none.
    ///
    /// # Errors
    /// Fails if the file can't be read.
    pub fn read(run: &Path) -> Result<Option<Self>, FinetuneError> {
        let path = run.join(FILE);
        let text = match polymath_base::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(FinetuneError::File { path, source }),
        };
        serde_json::from_slice(&text).map(Some).map_err(|error| {
            FinetuneError::Config(format!(
                "`{}` is not a note of a diverged run: {error}; remove it to try the run again",
                path.display()
            ))
        })
    }

    /// Writes a record of `error` if it is a divergence.
    pub(crate) fn note(run: &Path, error: &FinetuneError) {
        let FinetuneError::Training(TrainError::Diverged(message)) = error else {
            return;
        };
        let note = Self {
            message: message.clone(),
        };
        let text = serde_json::to_string_pretty(&note).expect("a note is text") + "\n";
        if let Err(error) = polymath_base::write(&run.join(FILE), text.as_bytes()) {
            // The divergence is reported, not this failure to record it.
            tracing::warn!("can't write `{}`: {error}", run.join(FILE).display());
        }
    }

    /// Removes the record of an earlier attempt.
    pub(crate) fn clear(run: &Path) -> Result<(), FinetuneError> {
        let path = run.join(FILE);
        polymath_base::remove(&path).map_err(|source| FinetuneError::File { path, source })
    }
}

impl Finetuning {
    /// Returns the record of the divergence, if this run has diverged with the same settings.
    ///
    /// # Errors
    /// Fails if the file can't be read.
    pub fn divergence(&self) -> Result<Option<Divergence>, FinetuneError> {
        match Divergence::read(&self.config.run)? {
            Some(found) if self.is_same()? => Ok(Some(found)),
            _ => Ok(None),
        }
    }

    /// Sets the links that training does not set, and makes the verdict on the limits.
    pub(crate) fn conclude(
        &self,
        outcome: Outcome,
        run: &RunFolder,
        launch: &Launch,
        observer: &mut dyn Observer,
    ) -> Result<Ending, FinetuneError> {
        let Outcome::Finished { steps, .. } = outcome else {
            return Ok(Ending {
                outcome,
                verdict: None,
            });
        };
        let Some(limits) = &self.config.retention.limits else {
            // A killed process may not have moved the link of a finished run.
            if let Some(from) = run.resumed().filter(|from| from.state.finished) {
                run.mark_best(&from.state)?;
            }
            return Ok(Ending {
                outcome,
                verdict: None,
            });
        };
        let verdict = match LimitsVerdict::read(run.path()) {
            Some(said) => self.point_by(&said, run).map(|()| said),
            None => self.verdict(limits, run, launch, observer),
        };
        match verdict {
            Err(FinetuneError::Stopped) => Ok(Ending {
                outcome: Outcome::Interrupted { step: steps },
                verdict: None,
            }),
            verdict => Ok(Ending {
                outcome,
                verdict: Some(verdict?),
            }),
        }
    }
}
