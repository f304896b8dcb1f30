//! End of a fine-tuning: finished (with a verdict on its forgetting limits), stopped, or diverged.

use std::path::Path;

use polymath_train::{Launch, Observer, Outcome, RunFolder, TrainError};
use serde::{Deserialize, Serialize};

use crate::retention::LimitsVerdict;
use crate::{FinetuneError, Finetuning};

/// Name of the file in the run's folder that records a [`Divergence`].
const FILE: &str = "diverged.json";

/// Result of a run that was not ended by an error.
#[derive(Debug, Clone)]
pub struct Ending {
    /// Outcome of training. [`Outcome::Interrupted`] also if the run was stopped after its last step but before the
    /// verdict on its limits.
    pub outcome: Outcome,
    /// Verdict on the forgetting limits, if the run has limits and is finished.
    pub verdict: Option<LimitsVerdict>,
}

impl Ending {
    /// Returns true if the run is finished, which includes the verdict if it has limits.
    pub fn is_finished(&self) -> bool {
        matches!(self.outcome, Outcome::Finished { .. })
    }
}

/// Record that a run diverged, stored in its folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Divergence {
    /// Error message with which training stopped.
    pub message: String,
}

impl Divergence {
    /// Reads the record of a divergence from a run's folder, or returns `None` if there is none.
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

    /// Writes a record into the folder `run` if `error` is a divergence.
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

    /// Removes the record of a divergence from the folder `run`, before another attempt.
    pub(crate) fn clear(run: &Path) -> Result<(), FinetuneError> {
        let path = run.join(FILE);
        polymath_base::remove(&path).map_err(|source| FinetuneError::File { path, source })
    }
}

impl Finetuning {
    /// Returns the record of this run's divergence, if the run in its folder diverged with the same settings.
    ///
    /// # Errors
    /// Fails if the file can't be read.
    pub fn divergence(&self) -> Result<Option<Divergence>, FinetuneError> {
        match Divergence::read(&self.config.run)? {
            Some(found) if self.is_same()? => Ok(Some(found)),
            _ => Ok(None),
        }
    }

    /// Completes a run after its training: makes or reads the verdict on the limits, and points the link `best` to the
    /// result.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that a divergence is recorded, read and cleared, that another error leaves no record, and that a file
    /// with other content is refused.
    #[test]
    fn only_a_divergence_is_recorded() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path();
        Divergence::note(run, &FinetuneError::Config("no key".into()));
        assert_eq!(Divergence::read(run).unwrap(), None);
        let error = TrainError::Diverged("step 3: the loss is NaN".into());
        Divergence::note(run, &FinetuneError::Training(error));
        let found = Divergence::read(run).unwrap().unwrap();
        assert_eq!(found.message, "step 3: the loss is NaN");
        let text = std::fs::read_to_string(run.join(FILE)).unwrap();
        assert!(text.ends_with("}\n"), "{text}");
        Divergence::clear(run).unwrap();
        assert_eq!(Divergence::read(run).unwrap(), None);
        Divergence::clear(run).unwrap();
        std::fs::write(run.join(FILE), "[]").unwrap();
        assert!(Divergence::read(run).is_err());
    }
}
