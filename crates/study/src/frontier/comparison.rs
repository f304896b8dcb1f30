//! Comparison of a frontier's finished runs. Each is scored as trained and as mixtures with the base.

use std::path::PathBuf;

use polymath_data::{HeldoutSplit, NamedShard};
use polymath_eval::{Endpoints, Interpolation, SplitScores, WindowOptions};
use polymath_model::{LoadOptions, Precision, Transformer};
use polymath_report::Diverged;
use polymath_report::frontier::{Candidate, Frontier, FrontierSettings, ScoredRun};
use polymath_train::Launch;

use super::{FrontierConfig, PlannedRun};
use crate::scores::{digest, key, score};
use polymath_finetune::Finetuning;

use crate::StudyError;

/// Weights of a run to score: the base, the tuned model, or a mixture.
#[derive(Clone, Copy)]
enum Weights {
    Base,
    Tuned,
    /// Mixture with this share of the tuned weights; the rest is the base's.
    Mixed(f64),
}

/// Planned run whose base and data are open.
pub struct FrontierRun {
    /// Plan of the run: method, seed and configuration.
    pub planned: PlannedRun,
    /// Opened fine-tuning of the run.
    pub tuning: Finetuning,
}

/// Checks before training that every domain has documents in the dev and in the test split.
///
/// # Errors
/// Fails if a domain has no documents in one of the splits.
pub fn check_splits(tuning: &Finetuning) -> Result<(), StudyError> {
    for NamedShard { name, shard } in tuning.shards() {
        HeldoutSplit::Dev.check(name, shard)?;
        HeldoutSplit::Test.check(name, shard)?;
    }
    Ok(())
}

/// Compares finished runs. `diverged` lists the runs that diverged. `say` is called with the name of each model that
/// is scored.
///
/// # Errors
/// Fails if a run has no complete checkpoint or if scoring fails.
pub fn compare(
    config: &FrontierConfig,
    runs: &[FrontierRun],
    diverged: Vec<Diverged>,
    launch: &Launch,
    say: &mut dyn FnMut(&str),
) -> Result<Frontier, StudyError> {
    let Some(FrontierRun { tuning: first, .. }) = runs.first() else {
        return Err(StudyError::Config("a frontier without runs".into()));
    };
    crate::sweep::check_bases(runs.iter().map(|run| &run.tuning))?;
    let mut scoring = Scoring::new(config, first, launch, say);
    let base = scoring.score(first, Weights::Base)?;
    let (mut scored, mut older) = (Vec::new(), Vec::new());
    for run in runs {
        if polymath_finetune::chosen_on(&run.tuning.best()?)?.is_none() {
            older.push(format!(
                "{} (seed {})",
                run.planned.method, run.planned.seed
            ));
        }
        let mixed = config
            .interpolate
            .iter()
            .map(|share| Weights::Mixed(*share));
        for weights in std::iter::once(Weights::Tuned).chain(mixed) {
            scored.push(scoring.run(run, weights)?);
        }
    }
    let settings = FrontierSettings {
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

/// Scores a finished run of the recommended method with a new seed, and adds the result to the frontier as its
/// confirmation. Calls `say` with the name of each model that is scored.
///
/// # Errors
/// Fails if the run has no complete checkpoint or if scoring fails.
pub fn confirm(
    config: &FrontierConfig,
    frontier: Frontier,
    run: &FrontierRun,
    launch: &Launch,
    say: &mut dyn FnMut(&str),
) -> Result<Frontier, StudyError> {
    let share = frontier
        .recommended_candidate()
        .and_then(|candidate| candidate.share);
    let mut scoring = Scoring::new(config, &run.tuning, launch, say);
    let base = scoring.score(&run.tuning, Weights::Base)?;
    let weights = share.map_or(Weights::Tuned, Weights::Mixed);
    let fresh = scoring.run(run, weights)?;
    Ok(frontier.confirm(&base, &fresh)?)
}

struct Scoring<'a> {
    config: &'a FrontierConfig,
    launch: &'a Launch,
    /// SHA-256 of the weights of the base that all runs start from.
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

    /// Scores the given weights of a run.
    fn run(&mut self, run: &FrontierRun, weights: Weights) -> Result<ScoredRun, StudyError> {
        let FrontierRun {
            planned: run,
            tuning,
        } = run;
        let (tokens, seconds) = cost(tuning);
        Ok(ScoredRun {
            candidate: Candidate {
                method: run.method.clone(),
                share: match weights {
                    Weights::Mixed(share) => Some(share),
                    Weights::Base | Weights::Tuned => None,
                },
                seed: run.seed,
                tokens,
                seconds,
            },
            scored: self.score(tuning, weights)?,
        })
    }

    /// Returns the scores of the given weights of a run, from the cache if it has them.
    fn score(&mut self, tuning: &Finetuning, weights: Weights) -> Result<SplitScores, StudyError> {
        let windows = WindowOptions {
            context: Some(tuning.sequence_length()),
            max_tokens: self.config.max_tokens,
            ..WindowOptions::default()
        };
        let file = self.file(tuning, weights);
        let key = key(&self.identity(tuning, weights)?, tuning.shards(), windows);
        let load = || {
            (self.say)(&format!("scoring {}", described(tuning, weights)));
            self.load(tuning, weights)
        };
        score(&file, &key, load, tuning.shards(), windows)
    }

    /// Returns the part of the cache key that identifies the weights.
    fn identity(&self, tuning: &Finetuning, weights: Weights) -> Result<String, StudyError> {
        let base = &self.base_sha256;
        Ok(match weights {
            Weights::Base => base.clone(),
            Weights::Tuned => digest(&tuning.best()?, base)?,
            Weights::Mixed(share) => format!("{} {share} {base}", digest(&tuning.best()?, base)?),
        })
    }

    fn file(&self, tuning: &Finetuning, weights: Weights) -> PathBuf {
        let run = tuning.run_folder();
        match weights {
            Weights::Base => self.config.output.join("base-split-scores.json"),
            Weights::Tuned => run.join("split-scores.json"),
            Weights::Mixed(share) => run.join(format!("split-scores-{share}.json")),
        }
    }

    fn load(&self, tuning: &Finetuning, weights: Weights) -> Result<Transformer, StudyError> {
        let share = match weights {
            Weights::Base => return Ok(tuning.load_tuned(self.launch, false)?),
            Weights::Tuned => return Ok(tuning.load_tuned(self.launch, true)?),
            Weights::Mixed(share) => share,
        };
        let options = LoadOptions::frozen(&self.launch.device, self.launch.ops(Precision::F32));
        let folders = Endpoints {
            base: tuning.base(),
            tuned: &tuning.best()?,
        };
        let between =
            Interpolation::open(folders, tuning.shards(), WindowOptions::default(), options)?;
        Ok(between.model(&between.alike(share))?)
    }
}

fn described(tuning: &Finetuning, weights: Weights) -> String {
    let run = tuning.run_folder().display();
    match weights {
        Weights::Base => tuning.named_base().display().to_string(),
        Weights::Tuned => run.to_string(),
        Weights::Mixed(share) => format!("{run} × {share}"),
    }
}

/// Returns the tokens and seconds of training that a finished run recorded.
fn cost(tuning: &Finetuning) -> (u64, f64) {
    polymath_train::finished(tuning.run_folder())
        .map_or((0, 0.0), |state| (state.tokens, state.seconds))
}
