//! Frontier from its configuration to its report: open, train, score, compare, confirm.

use polymath_config::Source;
use polymath_finetune::Finetuning;
use polymath_report::frontier::Frontier;
use polymath_train::{Cost, Launch};

use super::{FrontierConfig, FrontierRun, PlannedRun, check_splits, compare, confirm};
use crate::StudyError;
use crate::sweep::{self, NamedRun, Runner, SweepEnd, SweepStatus, status, train};

/// Frontier whose runs are all open.
pub struct FrontierStudy<'a> {
    config: &'a FrontierConfig,
    source: &'a Source,
    runs: Vec<FrontierRun>,
}

impl<'a> FrontierStudy<'a> {
    /// Opens all runs before the first one is trained, so that mistakes are found before hours of training. `source`
    /// is the file that `config` was read from. With `only_inspect`, nothing is written, and the study can't be run.
    ///
    /// # Errors
    /// Fails if a key or file is invalid. All errors are refusals.
    pub fn open(
        config: &'a FrontierConfig,
        source: &'a Source,
        only_inspect: bool,
        runner: &dyn Runner,
    ) -> Result<Self, StudyError> {
        polymath_report::check_forms(&config.output, "frontier").map_err(StudyError::refused)?;
        let mut runs = Vec::new();
        for planned in config.plan(source).map_err(StudyError::refused)? {
            let tuning = open_run(&planned, only_inspect, runner)?;
            runs.push(FrontierRun { planned, tuning });
        }
        if let Some(FrontierRun { planned, tuning }) = runs.first() {
            // The run of the fresh seed has the same keys, whichever method is recommended.
            let confirming = config.confirming(&planned.method, source);
            confirming.map_err(StudyError::refused)?;
            check_splits(tuning).map_err(StudyError::refused)?;
        }
        Ok(Self {
            config,
            source,
            runs,
        })
    }

    /// Returns size, progress and time of each run, and the time of the comparison.
    ///
    /// # Errors
    /// Fails if the runs can't be compared, if a finished run has other settings, or if a run does not fit into memory
    /// or on the disk.
    pub fn status(&self, launch: &Launch) -> Result<SweepStatus, StudyError> {
        let runs = status(&self.named(), launch)?;
        let mut after = Cost::default();
        let confirmed = runs
            .iter()
            .filter_map(|run| run.cost.as_ref())
            .map(Cost::seconds);
        if self.config.confirm_seed.is_some() {
            let longest = confirmed.fold(0.0, f64::max);
            after.add("a run with the fresh seed, at most", 1, longest);
        }
        if let Some(FrontierRun { tuning: first, .. }) = self.runs.first() {
            let each = first.time_scoring(launch, first.shards(), self.config.max_tokens)?;
            let models = 1 + self.runs.len() * (1 + self.config.interpolate.len());
            after.add(format!("scoring of {models} models"), models as u64, each);
        }
        Ok(SweepStatus { runs, after })
    }

    /// Trains the unfinished runs, scores all runs, and writes the comparison to the configured `output`.
    ///
    /// # Errors
    /// Fails with [`StudyError::Interrupted`] if the user stops it, or if training, scoring or writing fails.
    pub fn run(self, runner: &dyn Runner) -> Result<SweepEnd<Frontier>, StudyError> {
        let trained = train(&self.named(), runner)?;
        let known = |run: &FrontierRun| (run.planned.method.clone(), run.planned.seed);
        let (finished, diverged) = trained.separate(self.runs, known);
        if finished.is_empty() {
            return Ok(trained.end(None));
        }
        let say = &mut |text: &str| runner.say(text);
        let mut found = compare(self.config, &finished, diverged, &trained.launch, say)?;
        let method = found
            .recommended_candidate()
            .map(|candidate| candidate.method.clone());
        if let Some(method) = method
            && let Some(run) = self
                .config
                .confirming(&method, self.source)
                .map_err(StudyError::refused)?
        {
            found = confirmed(self.config, found, run, runner)?;
        }
        found.write(&self.config.output)?;
        Ok(trained.end(Some(found)))
    }

    fn named(&self) -> Vec<NamedRun<'_>> {
        let runs = self.runs.iter();
        runs.map(|FrontierRun { planned, tuning }| NamedRun {
            name: format!("{}, seed {}", planned.method, planned.seed),
            tuning,
        })
        .collect()
    }
}

fn open_run(
    run: &PlannedRun,
    only_inspect: bool,
    runner: &dyn Runner,
) -> Result<Finetuning, StudyError> {
    let place = format!("`runs.{}`", run.method);
    sweep::open(run.config.clone(), &place, only_inspect, runner)
}

/// Trains the recommended method with the new seed and adds the result as a confirmation. Writes the comparison
/// before that, since the training may be interrupted.
fn confirmed(
    config: &FrontierConfig,
    mut found: Frontier,
    run: PlannedRun,
    runner: &dyn Runner,
) -> Result<Frontier, StudyError> {
    found.write(&config.output)?;
    let tuning = open_run(&run, false, runner)?;
    let named = NamedRun {
        name: format!("{}, fresh seed {}", run.method, run.seed),
        tuning: &tuning,
    };
    let trained = train(&[named], runner)?;
    if let Some(message) = &trained.reasons[0] {
        found.notes.push(format!(
            "The run of the fresh seed {} diverged: {message}. The recommendation is not confirmed.",
            run.seed
        ));
        return Ok(found);
    }
    let say = &mut |text: &str| runner.say(text);
    let run = FrontierRun {
        planned: run,
        tuning,
    };
    confirm(config, found, &run, &trained.launch, say)
}
