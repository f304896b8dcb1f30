//! Scores a frontier's finished runs, as they are and mixed with the base, each once, and compares them.

use std::path::PathBuf;

use polymath_data::HeldoutSplit;
use polymath_eval::{Interpolation, SplitScores, WindowOptions};
use polymath_model::{LoadOptions, Precision, Transformer};
use polymath_report::Diverged;
use polymath_report::frontier::{Candidate, Frontier, ScoredRun, Settings};
use polymath_train::Launch;

use super::{FrontierConfig, PlannedRun};
use crate::scores::{digest, key, score};
use polymath_finetune::Finetuning;

use crate::StudyError;

/// A model of a run.
#[derive(Clone, Copy)]
enum Which {
    Base,
    Tuned,
    /// A share of the tuned weights, the rest being the base's.
    Mixed(f64),
}

/// Checks that every domain has documents to choose by and to report on, before anything is trained.
///
/// # Errors
/// A domain without documents in one of the splits.
pub fn check_splits(tuning: &Finetuning) -> Result<(), StudyError> {
    for (name, shard) in tuning.shards() {
        HeldoutSplit::Dev.check(name, shard)?;
        HeldoutSplit::Test.check(name, shard)?;
    }
    Ok(())
}

/// Compares runs that are all finished; `diverged` are those that are not. `say` is told what is being scored.
///
/// # Errors
/// A run without a whole checkpoint; what scoring says.
pub fn compare(
    config: &FrontierConfig,
    runs: &[(PlannedRun, Finetuning)],
    diverged: Vec<Diverged>,
    launch: &Launch,
    say: &mut dyn FnMut(&str),
) -> Result<Frontier, StudyError> {
    let Some((_, first)) = runs.first() else {
        return Err(StudyError::Config("a frontier without runs".into()));
    };
    crate::sweep::check_bases(runs.iter().map(|(_, tuning)| tuning))?;
    let mut scoring = Scoring::new(config, first, launch, say);
    let base = scoring.of(first, Which::Base)?;
    let (mut scored, mut older) = (Vec::new(), Vec::new());
    for (run, tuning) in runs {
        if polymath_finetune::chosen_on(&tuning.best()?)?.is_none() {
            older.push(format!("{} (seed {})", run.method, run.seed));
        }
        let mixed = config.interpolate.iter().map(|share| Which::Mixed(*share));
        for which in std::iter::once(Which::Tuned).chain(mixed) {
            scored.push(scoring.run((run, tuning), which)?);
        }
    }
    let settings = Settings {
        niche: first.niche().to_owned(),
        limit: config.limit,
        reference: config.reference.clone(),
        diverged,
    };
    let mut frontier = Frontier::new(settings, &base, &scored)?;
    if !older.is_empty() {
        frontier.notes.push(format!(
            "The best checkpoint of {} was chosen by an earlier version on all held-out documents, the test split among them: its \
             figures look better than they are.",
            older.join(", ")
        ));
    }
    Ok(frontier)
}

/// Scores a finished run of the recommended method with a fresh seed, and says what it confirms.
///
/// # Errors
/// As [`compare`].
pub fn confirm(
    config: &FrontierConfig,
    frontier: Frontier,
    (run, tuning): &(PlannedRun, Finetuning),
    launch: &Launch,
    say: &mut dyn FnMut(&str),
) -> Result<Frontier, StudyError> {
    let share = frontier
        .recommended_candidate()
        .and_then(|candidate| candidate.share);
    let mut scoring = Scoring::new(config, tuning, launch, say);
    let base = scoring.of(tuning, Which::Base)?;
    let which = share.map_or(Which::Tuned, Which::Mixed);
    let fresh = scoring.run((run, tuning), which)?;
    Ok(frontier.confirm(&base, &fresh)?)
}

struct Scoring<'a> {
    config: &'a FrontierConfig,
    launch: &'a Launch,
    /// Of the base that all runs share.
    base_sha256: String,
    say: &'a mut dyn FnMut(&str),
}

impl<'a> Scoring<'a> {
    fn new(
        config: &'a FrontierConfig,
        first: &Finetuning,
        launch: &'a Launch,
        say: &'a mut dyn FnMut(&str),
    ) -> Self {
        Self {
            config,
            launch,
            base_sha256: first.base_sha256().to_owned(),
            say,
        }
    }

    /// A run, as it is or mixed with the base, and its scores.
    fn run(
        &mut self,
        (run, tuning): (&PlannedRun, &Finetuning),
        which: Which,
    ) -> Result<ScoredRun, StudyError> {
        let (tokens, seconds) = cost(tuning);
        Ok(ScoredRun {
            candidate: Candidate {
                method: run.method.clone(),
                share: match which {
                    Which::Mixed(share) => Some(share),
                    Which::Base | Which::Tuned => None,
                },
                seed: run.seed,
                tokens,
                seconds,
            },
            scored: self.of(tuning, which)?,
        })
    }

    /// The scores of the base of a run, of what it became, or of a mixture of both.
    fn of(&mut self, tuning: &Finetuning, which: Which) -> Result<SplitScores, StudyError> {
        let windows = WindowOptions {
            context: Some(tuning.sequence_length()),
            max_tokens: self.config.max_tokens,
            ..WindowOptions::default()
        };
        let file = self.file(tuning, which);
        let key = key(&self.weights(tuning, which)?, tuning.shards(), windows);
        let load = || {
            (self.say)(&format!("scoring {}", described(tuning, which)));
            self.load(tuning, which)
        };
        score(&file, &key, load, tuning.shards(), windows)
    }

    /// What stands for the model.
    fn weights(&self, tuning: &Finetuning, which: Which) -> Result<String, StudyError> {
        let base = &self.base_sha256;
        Ok(match which {
            Which::Base => base.clone(),
            Which::Tuned => digest(&tuning.best()?, base)?,
            Which::Mixed(share) => format!("{} {share} {base}", digest(&tuning.best()?, base)?),
        })
    }

    fn file(&self, tuning: &Finetuning, which: Which) -> PathBuf {
        let run = tuning.run_folder();
        match which {
            Which::Base => self.config.output.join("base-halves.json"),
            Which::Tuned => run.join("halves.json"),
            Which::Mixed(share) => run.join(format!("halves-{share}.json")),
        }
    }

    fn load(&self, tuning: &Finetuning, which: Which) -> Result<Transformer, StudyError> {
        let share = match which {
            Which::Base => return Ok(tuning.load_tuned(self.launch, false)?),
            Which::Tuned => return Ok(tuning.load_tuned(self.launch, true)?),
            Which::Mixed(share) => share,
        };
        let options = LoadOptions::frozen(&self.launch.device, self.launch.ops(Precision::F32));
        let folders = (tuning.base(), &*tuning.best()?);
        let between =
            Interpolation::open(folders, tuning.shards(), WindowOptions::default(), options)?;
        Ok(between.model(&between.alike(share))?)
    }
}

fn described(tuning: &Finetuning, which: Which) -> String {
    let run = tuning.run_folder().display();
    match which {
        Which::Base => tuning.named_base().display().to_string(),
        Which::Tuned => run.to_string(),
        Which::Mixed(share) => format!("{run} × {share}"),
    }
}

/// Tokens and seconds of training of a finished run, by its own record.
fn cost(tuning: &Finetuning) -> (u64, f64) {
    polymath_train::finished(tuning.run_folder())
        .map_or((0, 0.0), |state| (state.tokens, state.seconds))
}
