//! Transfer matrix from its configuration to its report: open, train, score, compare.

use polymath_config::Source;
use polymath_report::transfer::Transfer;
use polymath_train::{Cost, Launch};

use super::matrix::time_gradient;
use super::{OpenRun, TransferConfig, TransferData, measure};
use crate::StudyError;
use crate::sweep::{self, NamedRun, Runner, SweepEnd, SweepStatus, status, train};

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

    /// Returns size, progress and time of each run, and the time of the matrix.
    ///
    /// # Errors
    /// Fails if the runs can't be compared, if a finished run has other settings, or if a run does not fit into memory
    /// or on the disk.
    pub fn status(&self, launch: &Launch) -> Result<SweepStatus, StudyError> {
        let runs = status(&self.named(), launch)?;
        let mut after = Cost::default();
        if let Some((first, _)) = self.runs.first() {
            let heldout = &self.data.heldout;
            let tuning = &first.tuning;
            let each = tuning.time_scoring(launch, heldout, self.config.max_tokens)?;
            let models = 1 + self.runs.len() as u64;
            after.add(format!("scoring of {models} models"), models, each);
            let tokens = heldout.len() as u64 * self.config.gradient_tokens;
            let each_token = time_gradient(tuning, &self.data, launch)?;
            after.add(format!("gradients on {tokens} tokens"), tokens, each_token);
            // Two models read the niche, on both splits.
            let niche = 2.0 * each / heldout.len() as f64;
            let early = self.runs.len() as u64;
            after.add(
                format!("divergence of {early} early checkpoints"),
                early,
                niche,
            );
        }
        Ok(SweepStatus { runs, after })
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
