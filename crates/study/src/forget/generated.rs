//! Text that the base generates, on which a report measures forgetting without any data.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use polymath_data::Dataset;
use polymath_finetune::retention::SelfReplay;
use polymath_train::Observer;

use crate::setup::Scored;
use crate::{Setup, StudyError, StudyProgress};

/// Text that the base generates. The mean rise of its bits per byte estimates KL(base ‖ tuned).
#[derive(Debug, Clone)]
pub struct GeneratedText {
    /// Number of tokens to generate.
    pub tokens: u64,
    /// Random seed of the text.
    pub seed: u64,
    /// Folder of the dataset that holds the text.
    pub folder: PathBuf,
}

impl GeneratedText {
    /// Returns the dataset with the text of `base`. Generates the text unless the folder already has it.
    pub(super) fn prepare(&self, base: &Path, setup: &Setup) -> Result<Dataset, StudyError> {
        let text = SelfReplay::to_measure(base, self.tokens, self.seed, self.folder.clone())?;
        let model = polymath_model::load(base, &setup.frozen())?;
        let mut shown = Shown {
            progress: setup.progress,
            has_begun: false,
        };
        let stop = AtomicBool::new(false);
        Ok(text.prepare(&model, &stop, &mut shown)?)
    }
}

/// Adapter that shows the progress of generating text as a study's progress.
struct Shown<'a> {
    progress: &'a dyn StudyProgress,
    has_begun: bool,
}

impl Observer for Shown<'_> {
    fn message(&mut self, text: &str) {
        self.progress.say(text);
    }

    fn preparing(&mut self, work: &str, done: u64, total: u64) {
        if !self.has_begun {
            self.progress.begin(Scored::Generated(work));
        }
        self.has_begun = done < total;
        self.progress.advance(done, total);
        if done == total {
            self.progress.finish();
        }
    }
}
