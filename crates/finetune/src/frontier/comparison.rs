//! Scores a frontier's finished runs, as they are and mixed with the base, each once, and compares them.

use std::path::PathBuf;

use polymath_eval::WindowOptions;
use polymath_eval::frontier::{Candidate, Frontier, RunFigures, Scored};
use polymath_model::{LoadOptions, Precision, Transformer};
use polymath_train::Launch;

use super::{FrontierConfig, PlannedRun};
use crate::retention::Interpolation;
use crate::scores::{digest, key, score};
use crate::{FinetuneError, Finetuning};

/// What is scored.
#[derive(Clone, Copy)]
enum Which {
    Base,
    Tuned,
    /// A share of the tuned weights, the rest being the base's.
    Mixed(f64),
}

/// Compares runs that are all finished. `say` is told what is being scored.
///
/// # Errors
/// A run without a whole checkpoint; what scoring says.
pub fn compare(
    config: &FrontierConfig,
    runs: &[(PlannedRun, Finetuning)],
    launch: &Launch,
    say: &mut dyn FnMut(&str),
) -> Result<Frontier, FinetuneError> {
    let Some((_, first)) = runs.first() else {
        return Err(FinetuneError::Config("a frontier without runs".into()));
    };
    crate::sweep::check_bases(runs.iter().map(|(_, tuning)| tuning))?;
    let mut scoring = Scoring {
        config,
        launch,
        base_sha256: first.base_sha256().to_owned(),
        say,
    };
    let base = scoring.of(first, Which::Base)?;
    let mut figures = Vec::new();
    for (run, tuning) in runs {
        let (tokens, seconds) = cost(tuning);
        let mixed = config.interpolate.iter().map(|share| Which::Mixed(*share));
        for which in std::iter::once(Which::Tuned).chain(mixed) {
            let tuned = scoring.of(tuning, which)?;
            let candidate = Candidate {
                method: run.method.clone(),
                share: match which {
                    Which::Mixed(share) => Some(share),
                    Which::Base | Which::Tuned => None,
                },
                seed: run.seed,
                tokens,
                seconds,
            };
            figures.push(RunFigures::new(candidate, tuning.niche(), (&base, &tuned))?);
        }
    }
    Ok(Frontier::new(first.niche(), config.limit, figures))
}

struct Scoring<'a> {
    config: &'a FrontierConfig,
    launch: &'a Launch,
    /// Of the base that all runs share.
    base_sha256: String,
    say: &'a mut dyn FnMut(&str),
}

impl Scoring<'_> {
    /// The scores of the base of a run, of what it became, or of a mixture of both.
    fn of(&mut self, tuning: &Finetuning, which: Which) -> Result<Scored, FinetuneError> {
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
    fn weights(&self, tuning: &Finetuning, which: Which) -> Result<String, FinetuneError> {
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

    fn load(&self, tuning: &Finetuning, which: Which) -> Result<Transformer, FinetuneError> {
        let share = match which {
            Which::Base => return tuning.load_tuned(self.launch, false),
            Which::Tuned => return tuning.load_tuned(self.launch, true),
            Which::Mixed(share) => share,
        };
        let options = LoadOptions::frozen(&self.launch.device, self.launch.ops(Precision::F32));
        let folders = (tuning.base(), &*tuning.best()?);
        let between =
            Interpolation::open(folders, tuning.shards(), WindowOptions::default(), options)?;
        between.model(&between.alike(share))
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
