//! Several fine-tunings of one base, one after the other, as a frontier and a transfer matrix need them.

use std::error::Error;

use polymath_data::Progress as PreparationProgress;
use polymath_finetune::{Divergence, Ending, FinetuneConfig, FinetuneError, Finetuning};
use polymath_train::{Launch, Observer, Silent, TrainError, check_batch_rules};
use toml::Table;

use crate::StudyError;

/// Starts the runs of a sweep and shows them.
pub trait Runner {
    /// Returns what shows the preparation of a run's raw text.
    fn preparation(&self) -> Box<dyn PreparationProgress + '_>;

    /// Training begins: returns how runs are started. Whoever stops them sets the launch's `stop`.
    fn begin(&self) -> Launch;

    /// Training has ended, well or not.
    fn end(&self);

    /// Returns what observes a run.
    ///
    /// # Errors
    /// Whatever keeps it from being shown.
    fn observer(
        &self,
        title: &str,
        tuning: &Finetuning,
    ) -> Result<Box<dyn Observer>, Box<dyn Error + Send + Sync>>;

    /// Takes a line of progress.
    fn say(&self, text: &str);

    /// Takes a line that is to be read even where progress is not wanted.
    fn warn(&self, text: &str);
}

/// A run of a sweep with the name that a person knows it by.
pub(crate) struct NamedRun<'a> {
    pub name: String,
    pub tuning: &'a Finetuning,
}

/// What is left to do of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Nothing.
    Done,
    /// It diverged, and is left out.
    Diverged,
    /// It is to be trained, or to go on.
    ToDo,
}

/// A run of a sweep before anything is trained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunStatus {
    /// What a person knows it by.
    pub name: String,
    /// Tokens that it trains on.
    pub tokens: u64,
    /// What is left to do.
    pub progress: Progress,
}

/// The end of a sweep.
#[derive(Debug)]
pub struct SweepEnd<T> {
    /// What was found; `None` where every run diverged.
    pub found: Option<T>,
    /// How many runs there are.
    pub runs: usize,
    /// Each run that diverged, with the reason in brackets.
    pub diverged: Vec<String>,
}

impl<T> SweepEnd<T> {
    pub(crate) fn new(found: Option<T>, names: &[String], diverged: &[Option<String>]) -> Self {
        let lost = names.iter().zip(diverged);
        let lost = lost.filter_map(|(name, reason)| Some(format!("{name} ({})", reason.as_ref()?)));
        Self {
            found,
            runs: names.len(),
            diverged: lost.collect(),
        }
    }

    /// Checks that no run diverged.
    ///
    /// # Errors
    /// The runs that did, with their reasons.
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

/// Says of each run what it would take, and whether it is done.
///
/// # Errors
/// Runs that can't be compared, or are finished with other settings.
pub(crate) fn status(runs: &[NamedRun]) -> Result<Vec<RunStatus>, StudyError> {
    let mut found = Vec::new();
    for (NamedRun { name, tuning }, done) in runs.iter().zip(done(runs)?) {
        found.push(RunStatus {
            name: name.clone(),
            tokens: tuning.plan().tokens,
            progress: match tuning.divergence()? {
                _ if done => Progress::Done,
                Some(_) => Progress::Diverged,
                None => Progress::ToDo,
            },
        });
    }
    Ok(found)
}

/// Returns which runs are done. A finished run of other settings, or of another rule of making batches than the others, is
/// refused before the first one starts.
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

/// Trains what is not done yet; a run that was stopped or killed goes on where its last checkpoint stands. A run that diverges
/// is noted as such, and the others go on; it is not trained again. Returns how runs were started, and why each run that
/// diverged did, in the order of the runs; `None` for those that are finished.
///
/// # Errors
/// Runs that can't be compared; [`StudyError::Interrupted`]; what training says.
pub(crate) fn train(
    runs: &[NamedRun],
    runner: &dyn Runner,
) -> Result<(Launch, Vec<Option<String>>), StudyError> {
    let done = done(runs)?;
    let launch = runner.begin();
    let mut diverged = Vec::new();
    let train_all = || {
        for (number, (run, done)) in runs.iter().zip(done).enumerate() {
            let title = format!("{}/{}  {}", number + 1, runs.len(), run.name);
            diverged.push(match done {
                true => {
                    // Nothing is left but what a killed process may have left undone after the last checkpoint.
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
    ended.map(|()| (launch, diverged))
}

/// Trains one run, unless it diverged before; returns why it diverged, if it did.
fn train_one(
    NamedRun { name, tuning }: &NamedRun,
    title: &str,
    launch: &Launch,
    runner: &dyn Runner,
) -> Result<Option<String>, StudyError> {
    if let Some(Divergence { message }) = tuning.divergence()? {
        runner.warn(&format!(
            "{name}: diverged before, and is left out ({message}); to train it again, remove `{}`",
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
            runner.warn("stopped and saved; the same command goes on");
            Err(StudyError::Interrupted)
        }
        Err(FinetuneError::Training(TrainError::Diverged(message))) => {
            runner.warn(&format!("{name}: {message}; the other runs go on"));
            Ok(Some(message))
        }
        Err(error) => Err(error.into()),
    }
}

/// Checks the seeds, and that `shared` leaves out the keys that each run has as its `own`.
pub fn check(seeds: &[u64], shared: &Table, own: &[&str]) -> Result<(), StudyError> {
    if seeds.is_empty() {
        return Err(StudyError::Config(
            "`seeds` is empty: give at least one".into(),
        ));
    }
    match own.iter().find(|key| shared.contains_key(**key)) {
        Some(key) => Err(StudyError::Config(format!(
            "`shared.{key}`: each run has its own; leave it out"
        ))),
        None => Ok(()),
    }
}

/// Checks that runs that are compared start from the same weights: the base of one is not the base of all otherwise.
///
/// # Errors
/// Two runs of different bases, by their folders; a base that was replaced meanwhile.
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
            "the runs of a comparison start from one base, and {} does, but {}: a link such as `best` may have moved \
             between them. Name the folder of one checkpoint as `base`, and remove the run that has another",
            described(first),
            described(other)
        )));
    }
    Ok(first.check_base()?)
}

/// Runs that are compared, or mixed with their base, have its vocabulary.
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
