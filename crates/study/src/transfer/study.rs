//! A transfer matrix from its config to its report: open, train, score, compare.

use polymath_config::Source;
use polymath_finetune::Finetuning;
use polymath_report::Diverged;
use polymath_report::transfer::Transfer;

use super::{OpenRun, TransferConfig, TransferData, measure};
use crate::StudyError;
use crate::sweep::{NamedRun, RunStatus, Runner, SweepEnd, status, train};

/// A transfer matrix whose runs are all open.
pub struct TransferStudy<'a> {
    config: &'a TransferConfig,
    data: TransferData,
    runs: Vec<(OpenRun, u64)>,
}

impl<'a> TransferStudy<'a> {
    /// Opens all runs before the first is trained. `source` is the file that `config` was read from. `only_inspect` writes
    /// nothing, and what is opened so can't be run.
    ///
    /// # Errors
    /// The key or file at fault; all are refusals.
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
            let progress = runner.preparation();
            let tuning = match only_inspect {
                true => Finetuning::inspect(run.config, &*progress),
                false => Finetuning::open(run.config, &*progress),
            };
            let tuning = tuning
                .map_err(|error| StudyError::refused(format!("on `{}`: {error}", run.domain)))?;
            let open = OpenRun::new(run.domain, tuning, config.early_share);
            runs.push((open, run.seed));
        }
        Ok(Self { config, data, runs })
    }

    /// Returns what each run would take, and whether it is done.
    ///
    /// # Errors
    /// Runs that can't be compared, or are finished with other settings.
    pub fn status(&self) -> Result<Vec<RunStatus>, StudyError> {
        status(&self.named())
    }

    /// Tunes on each domain in turn, scores all, and writes the matrix into the config's `output`.
    ///
    /// # Errors
    /// [`StudyError::Interrupted`]; what training, scoring and the disk say.
    pub fn run(self, runner: &dyn Runner) -> Result<SweepEnd<Transfer>, StudyError> {
        let (launch, reasons) = train(&self.named(), runner)?;
        let names: Vec<String> = self.named().into_iter().map(|run| run.name).collect();
        let (mut finished, mut diverged) = (Vec::new(), Vec::new());
        for ((run, seed), reason) in self.runs.into_iter().zip(&reasons) {
            match reason {
                None => finished.push(run),
                Some(message) => diverged.push(Diverged {
                    name: run.domain,
                    seed,
                    message: message.clone(),
                }),
            }
        }
        if finished.is_empty() {
            return Ok(SweepEnd::new(None, &names, &reasons));
        }
        let say = &mut |text: &str| runner.say(text);
        let found = measure(self.config, (&finished, &self.data), &launch, say)?;
        let found = found.with_diverged(diverged);
        found.write(&self.config.output)?;
        Ok(SweepEnd::new(Some(found), &names, &reasons))
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
