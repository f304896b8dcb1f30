//! Transfer matrix from its configuration to its report: open, train, score, compare.

use polymath_config::Source;
use polymath_report::transfer::Transfer;

use super::{OpenRun, TransferConfig, TransferData, measure};
use crate::StudyError;
use crate::sweep::{self, NamedRun, RunStatus, Runner, SweepEnd, status, train};

/// Transfer matrix whose runs are all open.
pub struct TransferStudy<'a> {
    config: &'a TransferConfig,
    data: TransferData,
    runs: Vec<(OpenRun, u64)>,
}

impl<'a> TransferStudy<'a> {
    /// Opens all runs before the first one is trained. `source` is the file that `config` was read from. With
    /// `only_inspect`, nothing is written, and the study can't be run.
    ///
    /// # Errors
    /// Fails if a key or file is invalid. All errors are refusals.
    pub fn open(
        config: &'a TransferConfig,
        source: &Source,
        only_inspect: bool,
        runner: &dyn Runner,
    ) -> Result<Self, StudyError> {
        polymath_report::check_forms(&config.output, "transfer").map_err(StudyError::refused)?;
        let (plan, data) = config.plan(source).map_err(StudyError::refused)?;
        let mut runs = Vec::new();
        for run in plan {
            let place = format!("on `{}`", run.domain);
            let tuning = sweep::open(run.config, &place, only_inspect, runner)?;
            let open = OpenRun::new(run.domain, tuning, config.early_share);
            runs.push((open, run.seed));
        }
        Ok(Self { config, data, runs })
    }

    /// Returns the number of training tokens and the progress of each run.
    ///
    /// # Errors
    /// Fails if the runs can't be compared, or if a finished run has other settings.
    pub fn status(&self) -> Result<Vec<RunStatus>, StudyError> {
        status(&self.named())
    }

    /// Tunes the base on each domain separately, scores all runs, and writes the matrix to the configured `output`.
    ///
    /// # Errors
    /// Fails with [`StudyError::Interrupted`] if the user stops it, or if training, scoring or writing fails.
    pub fn run(self, runner: &dyn Runner) -> Result<SweepEnd<Transfer>, StudyError> {
        let trained = train(&self.named(), runner)?;
        let known = |(run, seed): &(OpenRun, u64)| (run.domain.clone(), *seed);
        let (finished, diverged) = trained.separate(self.runs, known);
        if finished.is_empty() {
            return Ok(trained.end(None));
        }
        let finished: Vec<OpenRun> = finished.into_iter().map(|(run, _)| run).collect();
        let say = &mut |text: &str| runner.say(text);
        let found = measure(self.config, &finished, &self.data, &trained.launch, say)?;
        let found = found.with_diverged(diverged);
        found.write(&self.config.output)?;
        Ok(trained.end(Some(found)))
    }

    fn named(&self) -> Vec<NamedRun<'_>> {
        let runs = self.runs.iter();
        runs.map(|(run, seed)| NamedRun {
            name: format!("{}, seed {seed}", run.domain),
            tuning: &run.tuning,
        })
        .collect()
    }
}
