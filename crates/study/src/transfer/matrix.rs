//! Measurement of the transfer matrix from finished runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use polymath_data::{BATCH_RULE, NamedShard, Split};
use polymath_eval::statistics::Figure;
use polymath_eval::{DomainScores, ModelPair, SplitScores, WindowOptions, divergence};
use polymath_model::{LoadOptions, Precision, Transformer};
use polymath_report::frontier::change_over_seeds;
use polymath_report::transfer::{Row, Setting, Transfer};
use polymath_train::Launch;
use serde::{Deserialize, Serialize};

use super::gradient::Gradient;
use super::{OpenRun, TransferConfig, TransferData};
use crate::cache::cached;
use crate::scores::{digest, key, score};
use polymath_finetune::Finetuning;

use crate::StudyError;

/// Scores each finished run on every domain, and adds forecasts from the base's gradients and from early checkpoints.
/// Calls `say` with the name of each step.
///
/// # Errors
/// Fails if a run has no complete checkpoint or if scoring fails.
pub fn measure(
    config: &TransferConfig,
    runs: &[OpenRun],
    data: &TransferData,
    launch: &Launch,
    say: &mut dyn FnMut(&str),
) -> Result<Transfer, StudyError> {
    let Some(OpenRun { tuning: first, .. }) = runs.first() else {
        return Err(StudyError::Config("a transfer matrix without runs".into()));
    };
    crate::sweep::check_bases(runs.iter().map(|run| &run.tuning))?;
    let windows = WindowOptions {
        context: runs.iter().map(|run| run.tuning.sequence_length()).max(),
        max_tokens: config.max_tokens,
        ..WindowOptions::default()
    };
    let mut matrix = Matrix {
        config,
        data,
        windows,
        launch,
        base_sha256: first.base_sha256().to_owned(),
        say,
    };
    let base = matrix.base(first)?;
    let cosines = matrix.cosines(first)?;
    let rows = runs
        .chunk_by(|a, b| a.domain == b.domain)
        .map(|seeds| matrix.row(seeds, &base, cosines[&seeds[0].domain].clone()))
        .collect::<Result<_, _>>()?;
    let setting = Setting {
        base: first.named_base().display().to_string(),
        seeds: config.seeds.len(),
        tokens: first.plan().tokens,
        early_share: config.early_share,
    };
    let names = data
        .heldout
        .iter()
        .map(|domain| domain.name.clone())
        .collect();
    Ok(Transfer::new(setting, names, rows))
}

/// Returns the seconds per token that a gradient takes, measured on two rows of the first domain.
pub(super) fn time_gradient(
    tuning: &Finetuning,
    data: &TransferData,
    launch: &Launch,
) -> Result<f64, StudyError> {
    let options = LoadOptions {
        device: launch.device.clone(),
        ops: launch.ops(Precision::F32),
        trainable: &|_| true,
    };
    let base = polymath_model::load(tuning.base(), &options)?;
    let Some(dataset) = data.datasets.first() else {
        return Ok(0.0);
    };
    let Some(name) = dataset.domain_names().into_iter().next() else {
        return Ok(0.0);
    };
    let length = tuning.sequence_length();
    let tokens = 2 * length as u64;
    let begin = Instant::now();
    let domain = NamedShard {
        name: name.to_owned(),
        shard: dataset.shard(name, Split::Train)?,
    };
    Gradient::of(&base, domain, tokens, length)?;
    Ok(begin.elapsed().as_secs_f64() / tokens as f64)
}

struct Matrix<'a> {
    config: &'a TransferConfig,
    data: &'a TransferData,
    windows: WindowOptions,
    launch: &'a Launch,
    base_sha256: String,
    say: &'a mut dyn FnMut(&str),
}

/// Cache of one model: the file that holds its scores, and an identifier of its weights.
struct ScoresCache {
    file: PathBuf,
    /// String that identifies the model's weights.
    weights: String,
}

impl Matrix<'_> {
    fn base(&mut self, any: &Finetuning) -> Result<SplitScores, StudyError> {
        let file = self.config.output.join("base-split-scores.json");
        let weights = self.base_sha256.clone();
        let cache = ScoresCache { file, weights };
        self.score(&cache, any.named_base(), &|launch| {
            Ok(any.load_tuned(launch, false)?)
        })
    }

    fn tuned(&mut self, tuning: &Finetuning) -> Result<SplitScores, StudyError> {
        let file = tuning.run_folder().join("split-scores.json");
        let weights = digest(&tuning.best()?, &self.base_sha256)?;
        let cache = ScoresCache { file, weights };
        self.score(&cache, tuning.run_folder(), &|launch| {
            Ok(tuning.load_tuned(launch, true)?)
        })
    }

    /// Returns the scores of a model: from the cache or, if it has none, by scoring the model that `load` returns.
    /// `name` is shown to the user.
    fn score(
        &mut self,
        cache: &ScoresCache,
        name: &Path,
        load: &dyn Fn(&Launch) -> Result<Transformer, StudyError>,
    ) -> Result<SplitScores, StudyError> {
        let heldout = &self.data.heldout;
        let key = key(&cache.weights, heldout, self.windows);
        let load = || {
            (self.say)(&format!("scoring {}", name.display()));
            load(self.launch)
        };
        score(&cache.file, &key, load, heldout, self.windows)
    }

    /// Returns the gradient cosines of each domain with every scored domain. They depend on the base alone and are
    /// cached.
    fn cosines(&mut self, any: &Finetuning) -> Result<BTreeMap<String, Vec<f64>>, StudyError> {
        let mut key = format!(
            "1 rule-{BATCH_RULE} {} {} {:?}",
            self.base_sha256, self.config.gradient_tokens, self.windows.context
        );
        for dataset in &self.data.datasets {
            key = format!("{key} {}", dataset.fingerprint());
        }
        let file = self.config.output.join("cosines.json");
        let found = cached(&file, None, &key, || {
            let cosines = self.measure_cosines(any)?;
            Ok(Cosines { cosines })
        })?;
        Ok(found.cosines)
    }

    fn measure_cosines(
        &mut self,
        any: &Finetuning,
    ) -> Result<BTreeMap<String, Vec<f64>>, StudyError> {
        let options = LoadOptions {
            device: self.launch.device.clone(),
            ops: self.launch.ops(Precision::F32),
            trainable: &|_| true,
        };
        any.check_base()?;
        let base = polymath_model::load(any.base(), &options)?;
        let mut gradients = Vec::new();
        for dataset in &self.data.datasets {
            for name in dataset.domain_names() {
                (self.say)(&format!("gradient of the base on {name}"));
                let domain = NamedShard {
                    name: name.to_owned(),
                    shard: dataset.shard(name, Split::Train)?,
                };
                let length = self.windows.context.unwrap_or(any.sequence_length());
                let gradient = Gradient::of(&base, domain, self.config.gradient_tokens, length)?;
                gradients.push((name.to_owned(), gradient));
            }
        }
        gradients
            .iter()
            .map(|(name, own)| {
                let others = gradients.iter().map(|(_, other)| own.cosine(other));
                Ok((name.clone(), others.collect::<Result<_, _>>()?))
            })
            .collect()
    }

    /// Returns the KL divergence of a run's early checkpoint from the base on the run's own niche, its first domain.
    /// The result is cached.
    fn early_divergence(&mut self, run: &OpenRun) -> Result<f64, StudyError> {
        let tuning = &run.tuning;
        let niche = &tuning.shards()[..1];
        let weights = digest(&run.early, &self.base_sha256)?;
        let key = key(
            &format!("{} {weights}", self.base_sha256),
            niche,
            self.windows,
        );
        let file = tuning.run_folder().join("early.json");
        let found = cached(&file, None, &key, || {
            let untuned = tuning.load_tuned(self.launch, false)?;
            let moved = tuning.load_checkpoint(self.launch, &run.early)?;
            let models = ModelPair {
                base: &untuned,
                tuned: &moved,
            };
            Ok(Early {
                nats_a_token: divergence(models, &niche[0].shard, self.windows)?,
            })
        })?;
        Ok(found.nats_a_token)
    }

    /// Returns a domain's row of the matrix, from its runs with all seeds.
    fn row(
        &mut self,
        runs: &[OpenRun],
        base: &SplitScores,
        gradient_cosines: Vec<f64>,
    ) -> Result<Row, StudyError> {
        let mut after = Vec::new();
        let mut early = 0.0;
        for run in runs {
            after.push(self.tuned(&run.tuning)?);
            early += self.early_divergence(run)? / runs.len() as f64;
        }
        let changes = self
            .data
            .heldout
            .iter()
            .map(|domain| change(&domain.name, base, &after))
            .collect::<Result<_, _>>()?;
        Ok(Row {
            domain: runs[0].domain.clone(),
            changes,
            gradient_cosines,
            early_divergence: early,
        })
    }
}

/// Content of the cache file with the gradient cosines.
#[derive(Serialize, Deserialize)]
struct Cosines {
    cosines: BTreeMap<String, Vec<f64>>,
}

/// Content of the cache file with the divergence of a run's early checkpoint.
#[derive(Serialize, Deserialize)]
struct Early {
    nats_a_token: f64,
}

/// Returns the change in a domain on the test split, since the best checkpoints were chosen on the dev split.
fn change(name: &str, base: &SplitScores, after: &[SplitScores]) -> Result<Figure, StudyError> {
    let runs: Vec<&DomainScores> = after.iter().map(|scores| &scores.test[name]).collect();
    Ok(change_over_seeds(&base.test[name], &runs)?)
}
