//! Running `frontier` and `transfer` from the command line.

use std::cell::RefCell;
use std::error::Error;

use polymath_data::Progress as PreparationProgress;
use polymath_finetune::Finetuning;
use polymath_study::sweep::Progress;
use polymath_study::{RunStatus, Runner};
use polymath_train::{Launch, Observer};

use super::finetune::about;
use super::pretrain::{launch, watcher};
use crate::console::Stages;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::signals::StopSignal;
use crate::{lines, results};

/// Environment of the runs of a sweep: a dashboard or progress lines, and signals that stop the runs.
pub struct ConsoleRunner<'a> {
    environment: &'a Environment,
    dashboard: bool,
    signal: RefCell<Option<StopSignal>>,
}

impl<'a> ConsoleRunner<'a> {
    /// Makes the environment of a sweep's runs.
    pub fn new(environment: &'a Environment, dashboard: bool) -> Self {
        Self {
            environment,
            dashboard,
            signal: RefCell::default(),
        }
    }
}

impl Runner for ConsoleRunner<'_> {
    fn preparation(&self) -> Box<dyn PreparationProgress + '_> {
        Box::new(Stages::new(self.environment))
    }

    fn begin(&self) -> Launch {
        let signal = StopSignal::listen();
        let launch = launch(self.environment, true, &signal);
        *self.signal.borrow_mut() = Some(signal);
        launch
    }

    fn end(&self) {
        self.signal.borrow_mut().take();
    }

    fn observer(
        &self,
        title: &str,
        tuning: &Finetuning,
    ) -> Result<Box<dyn Observer>, Box<dyn Error + Send + Sync>> {
        let shown = self
            .dashboard
            .then(|| about(title, tuning, tuning.run_folder()));
        watcher(self.environment, &tuning.plan(), shown).map_err(Into::into)
    }

    fn say(&self, text: &str) {
        self.environment.say(text);
    }

    fn warn(&self, text: &str) {
        lines::say(text);
    }
}

/// Prints the training tokens and the progress of each run.
pub fn list(runs: &[RunStatus]) -> Result<(), Failure> {
    let mut text = String::new();
    for run in runs {
        let left = match run.progress {
            Progress::Done => "done",
            Progress::Diverged => "diverged",
            Progress::ToDo => "to do",
        };
        text += &format!("{:24} {:>12} tokens  {left}\n", run.name, run.tokens);
    }
    results::print(&text)
}
