//! Sweep: several fine-tunings of one base, run one after the other, for a frontier or a transfer matrix.

use std::error::Error;

use polymath_data::PreparationProgress;
use polymath_finetune::{Divergence, Ending, FinetuneConfig, FinetuneError, Finetuning};
use polymath_report::Diverged;
use polymath_train::{Cost, Launch, Observer, Silent, TrainError, check_batch_rules};
use toml::Table;

use crate::StudyError;

/// Environment in which the runs of a sweep are trained: launch settings, observers and progress display.
pub trait Runner {
    /// Returns a progress display for the preparation of a run's text.
    fn preparation(&self) -> Box<dyn PreparationProgress + '_>;

    /// Called before training. Returns the launch settings; setting their `stop` interrupts the runs.
    fn begin(&self) -> Launch;

    /// Called after training, whether it succeeded or failed.
    fn end(&self);

    /// Returns an observer of a run.
    ///
    /// # Errors
    /// Fails if the observer can't be created.
    fn observer(
        &self,
        title: &str,
        tuning: &Finetuning,
    ) -> Result<Box<dyn Observer>, Box<dyn Error + Send + Sync>>;

    /// Called with a progress message for the user.
    fn say(&self, text: &str);

    /// Called with a warning, which must be shown even without a progress display.
    fn warn(&self, text: &str);
}

/// Opened run of a sweep, with its display name.
pub(crate) struct NamedRun<'a> {
    pub name: String,
    pub tuning: &'a Finetuning,
}

/// Progress of a run in a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunProgress {
    /// The run is finished.
    Done,
    /// The run diverged and is left out.
    Diverged,
    /// The run is not started or not finished.
    ToDo,
}

/// Status of a run before training.
#[derive(Debug, Clone, PartialEq)]
pub struct RunStatus {
    /// Display name of the run.
    pub name: String,
    /// Number of tokens that the run trains on.
    pub tokens: u64,
    /// Progress of the run.
    pub progress: RunProgress,
    /// Estimated memory of the run in bytes.
    pub memory_bytes: u64,
    /// Maximum disk space in bytes that the run will still take.
    pub disk_bytes: u64,
    /// Measured time of the run; `None` if it is finished or diverged.
    pub cost: Option<Cost>,
}

/// Status of a whole sweep before training.
#[derive(Debug, Clone, PartialEq)]
pub struct SweepStatus {
    /// Status of each run.
    pub runs: Vec<RunStatus>,
    /// Measured time of the work that follows the training of all runs, such as scoring.
    pub after: Cost,
}

/// Result of a sweep, with the number of its runs and those that diverged.
#[derive(Debug)]
pub struct SweepEnd<T> {
    /// Comparison of the runs; `None` if every run diverged.
    pub found: Option<T>,
    /// Number of runs.
    pub runs: usize,
    /// Names of the runs that diverged, each with the reason in parentheses.
    pub diverged: Vec<String>,
}

impl<T> SweepEnd<T> {
    fn new(found: Option<T>, names: &[String], diverged: &[Option<String>]) -> Self {
        let lost = names.iter().zip(diverged);
        let lost = lost.filter_map(|(name, reason)| Some(format!("{name} ({})", reason.as_ref()?)));
        Self {
            found,
            runs: names.len(),
            diverged: lost.collect(),
        }
    }

    /// Fails if a run diverged.
    ///
    /// # Errors
    /// Fails with the names of the diverged runs and the reasons.
    pub fn check_diverged(&self) -> Result<(), StudyError> {
        match self.diverged.is_empty() {
            true => Ok(()),
            false => Err(StudyError::Config(format!(
                "{} of {} runs diverged: {}",
                self.diverged.len(),
                self.runs,
                self.diverged.join("; ")
            ))),
        }
    }
}

/// Returns size and progress of each run, and the time of each that is to be trained, measured on a few of its steps.
/// Runs that differ in their seed alone take as long as one another.
///
/// # Errors
/// Fails if the runs can't be compared, if a finished run has other settings, or if a run does not fit into memory or
/// on the disk.
pub(crate) fn status(runs: &[NamedRun], launch: &Launch) -> Result<Vec<RunStatus>, StudyError> {
    let mut found = Vec::new();
    let mut measured: Vec<(String, Cost)> = Vec::new();
    let done = done(runs)?;
    check_disk(runs, &done)?;
    for (NamedRun { name, tuning }, done) in runs.iter().zip(done) {
        let progress = match tuning.divergence()? {
            _ if done => RunProgress::Done,
            Some(_) => RunProgress::Diverged,
            None => RunProgress::ToDo,
        };
        let mut plan = tuning.plan();
        let mut cost = None;
        if progress == RunProgress::ToDo {
            let refused = |error| StudyError::refused(format!("{name}: {error}"));
            plan = launch.fit_memory(plan).map_err(refused)?;
            let kind = without_seed(tuning);
            let known = measured.iter().find(|(known, _)| *known == kind);
            let time = match known {
                Some((_, time)) => time.clone(),
                None => tuning.cost(launch)?,
            };
            measured.push((kind, time.clone()));
            cost = Some(time);
        }
        found.push(RunStatus {
            name: name.clone(),
            tokens: plan.tokens,
            progress,
            memory_bytes: plan.total_bytes(),
            disk_bytes: match progress {
                RunProgress::ToDo => tuning.disk().bytes(),
                RunProgress::Done | RunProgress::Diverged => 0,
            },
            cost,
        });
    }
    Ok(found)
}

/// Returns a text that is equal for two runs if they differ only in their seed and folder: the config without these,
/// and the number of finished steps.
fn without_seed(tuning: &Finetuning) -> String {
    let mut config = tuning.config().clone();
    config.seed = 0;
    config.run = "".into();
    format!("{} {}", tuning.steps_done(), config.to_toml())
}

/// Fails if the checkpoints of the runs that are not done don't fit on the disk together.
fn check_disk(runs: &[NamedRun], done: &[bool]) -> Result<(), StudyError> {
    let left = runs.iter().zip(done).filter(|(_, done)| !**done);
    let disks: Vec<_> = left.map(|(run, _)| run.tuning.disk()).collect();
    polymath_train::check_all(&disks).map_err(StudyError::refused)
}

/// Returns for each run whether it is finished. Fails if a finished run has other settings, or another version of the
/// batch order than the other runs.
fn done(runs: &[NamedRun]) -> Result<Vec<bool>, StudyError> {
    check_bases(runs.iter().map(|run| run.tuning)).map_err(StudyError::refused)?;
    let done = runs.iter().map(|run| run.tuning.is_done());
    let done = done
        .collect::<Result<_, _>>()
        .map_err(StudyError::refused)?;
    let folders: Vec<_> = runs.iter().map(|run| run.tuning.run_folder()).collect();
    check_batch_rules(&folders).map_err(StudyError::refused)?;
    Ok(done)
}

/// Opens one run of a sweep. Its error messages begin with `place`, the run's key or domain. With `only_inspect`,
/// nothing is written.
///
/// # Errors
/// Fails if a key or file is invalid. All errors are refusals.
pub(crate) fn open(
    config: FinetuneConfig,
    place: &str,
    only_inspect: bool,
    runner: &dyn Runner,
) -> Result<Finetuning, StudyError> {
    let progress = runner.preparation();
    let tuning = match only_inspect {
        true => Finetuning::inspect(config, &*progress),
        false => Finetuning::open(config, &*progress),
    };
    tuning.map_err(|error| StudyError::refused(format!("{place}: {error}")))
}

/// Runs of a sweep after their training.
pub(crate) struct Trained {
    /// Launch settings of the runs.
    pub launch: Launch,
    names: Vec<String>,
    /// For each run, the reason why it diverged; `None` if it did not.
    pub reasons: Vec<Option<String>>,
}

impl Trained {
    /// Separates the finished runs from those that diverged. `known` returns the name that a run has in the report, and
    /// its seed.
    pub fn separate<R>(
        &self,
        runs: Vec<R>,
        known: impl Fn(&R) -> (String, u64),
    ) -> (Vec<R>, Vec<Diverged>) {
        let (mut finished, mut diverged) = (Vec::new(), Vec::new());
        for (run, reason) in runs.into_iter().zip(&self.reasons) {
            let Some(message) = reason else {
                finished.push(run);
                continue;
            };
            let (name, seed) = known(&run);
            diverged.push(Diverged {
                name,
                seed,
                message: message.clone(),
            });
        }
        (finished, diverged)
    }

    /// Makes the sweep's end from its result `found`; `None` if every run diverged.
    pub fn end<T>(&self, found: Option<T>) -> SweepEnd<T> {
        SweepEnd::new(found, &self.names, &self.reasons)
    }
}

/// Trains the unfinished runs. An interrupted run resumes from its last checkpoint. A run that diverges is recorded
/// and not retried, and the others continue.
///
/// # Errors
/// Fails if the runs can't be compared or if training fails, and with [`StudyError::Interrupted`] if the user stops
/// it.
pub(crate) fn train(runs: &[NamedRun], runner: &dyn Runner) -> Result<Trained, StudyError> {
    let done = done(runs)?;
    check_disk(runs, &done)?;
    let launch = runner.begin();
    let mut reasons = Vec::new();
    let mut train_all = || {
        let to_do = runs.iter().zip(&done).filter(|(_, done)| !**done);
        for (run, _) in to_do {
            let fits = launch.fit_memory(run.tuning.plan());
            fits.map_err(|error| StudyError::refused(format!("{}: {error}", run.name)))?;
        }
        for (number, (run, done)) in runs.iter().zip(&done).enumerate() {
            let title = format!("{}/{}  {}", number + 1, runs.len(), run.name);
            reasons.push(match done {
                true => {
                    // Completes the work after the last checkpoint, which a killed process may have left undone.
                    run.tuning.run(&launch, &mut Silent)?;
                    None
                }
                false => train_one(run, &title, &launch, runner)?,
            });
        }
        Ok(())
    };
    let ended: Result<(), StudyError> = train_all();
    runner.end();
    ended?;
    Ok(Trained {
        launch,
        names: runs.iter().map(|run| run.name.clone()).collect(),
        reasons,
    })
}

/// Trains one run, unless it has diverged before. Returns the reason if it diverged.
fn train_one(
    NamedRun { name, tuning }: &NamedRun,
    title: &str,
    launch: &Launch,
    runner: &dyn Runner,
) -> Result<Option<String>, StudyError> {
    if let Some(Divergence { message }) = tuning.divergence()? {
        runner.warn(&format!(
            "{name}: left out, since it diverged before ({message}); to train it again, remove `{}`",
            tuning.run_folder().display()
        ));
        return Ok(Some(message));
    }
    runner.say(title);
    let mut observer = runner
        .observer(title, tuning)
        .map_err(StudyError::Observer)?;
    let ended = tuning.run(launch, &mut *observer);
    if let Ok(Ending {
        verdict: Some(verdict),
        ..
    }) = &ended
    {
        observer.message(&verdict.to_string());
    }
    drop(observer);
    match ended {
        Ok(ending) if ending.is_finished() => Ok(None),
        Ok(_) => {
            runner.warn("stopped and saved; the same command resumes");
            Err(StudyError::Interrupted)
        }
        Err(FinetuneError::Training(TrainError::Diverged(message))) => {
            runner.warn(&format!("{name}: {message}; the other runs continue"));
            Ok(Some(message))
        }
        Err(error) => Err(error.into()),
    }
}

/// Fails unless there is a seed, no seed is there twice (its runs would count as two that differ by nothing), and
/// `shared` has none of the keys `own`, which are set for each run.
pub fn check(seeds: &[u64], shared: &Table, own: &[&str]) -> Result<(), StudyError> {
    if seeds.is_empty() {
        return Err(StudyError::Config(
            "`seeds` is empty: give at least one".into(),
        ));
    }
    if let Some(at) = (0..seeds.len()).find(|at| seeds[..*at].contains(&seeds[*at])) {
        let seed = seeds[at];
        let message = format!("`seeds` has `{seed}` twice: its runs are the same, give it once");
        return Err(StudyError::Config(message));
    }
    match own.iter().find(|key| shared.contains_key(**key)) {
        Some(key) => Err(StudyError::Config(format!(
            "`shared.{key}`: set per run; remove it from `shared`"
        ))),
        None => Ok(()),
    }
}

/// Fails unless all runs of a comparison start from the same weights.
///
/// # Errors
/// Fails if two runs have different bases, or if a base has changed on the disk.
pub fn check_bases<'a>(
    runs: impl Iterator<Item = &'a Finetuning> + Clone,
) -> Result<(), StudyError> {
    let mut others = runs.clone();
    let Some(first) = others.next() else {
        return Ok(());
    };
    if let Some(other) = others.find(|other| other.base_sha256() != first.base_sha256()) {
        let described = |run: &Finetuning| {
            format!(
                "`{}` from `{}` (SHA-256 `{}`)",
                run.run_folder().display(),
                run.base().display(),
                run.base_sha256()
            )
        };
        return Err(StudyError::Config(format!(
            "the runs of a comparison must start from the same base: {}, but {}. A link such as `best` may have moved \
             between them. Name the folder of one checkpoint as `base`, and remove the run that has another",
            described(first),
            described(other)
        )));
    }
    Ok(first.check_base()?)
}

/// Fails if the config adds tokens, since all runs of a comparison must have their base's vocabulary.
pub fn refuse_new_tokens(config: &FinetuneConfig) -> Result<(), StudyError> {
    if config.tokenizer.is_empty() {
        return Ok(());
    }
    Err(StudyError::Config(
        "`tokenizer` adds tokens, and the runs of a comparison share their base's vocabulary: tune a base with the new tokens \
         first, by `polymath finetune`, and start from that"
            .into(),
    ))
}
