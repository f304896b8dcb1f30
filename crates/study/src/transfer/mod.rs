//! Transfer matrix: one base is tuned briefly on each of several domains and scored on all of them. Forecasts come
//! from gradients and from an early checkpoint.

mod gradient;
mod matrix;
mod study;

use std::path::{Path, PathBuf};

use polymath_config::Source;
use polymath_data::{Dataset, NamedShard, Split};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

pub use matrix::measure;
pub use study::TransferStudy;

use polymath_finetune::{FinetuneConfig, Finetuning};

use crate::StudyError;

/// Configuration of a transfer matrix.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransferConfig {
    /// Folder of the runs and of the report.
    #[serde(deserialize_with = "polymath_config::folder")]
    pub output: PathBuf,
    /// Prepared datasets. All their domains are scored.
    pub datasets: Vec<PathBuf>,
    /// Domains to tune on; default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<String>,
    /// Random seeds: the base is tuned on each domain once with each seed.
    #[serde(default = "default_seeds")]
    pub seeds: Vec<u64>,
    /// Maximum number of held-out tokens that are scored for each domain and split; default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// Number of training tokens of each domain from which its gradient is computed.
    #[serde(default = "default_gradient_tokens")]
    pub gradient_tokens: u64,
    /// Share of a run after which its divergence from the base is measured for the forecast.
    #[serde(default = "default_early_share")]
    pub early_share: f64,
    /// Settings that all runs share: the keys of a `finetune` config except `run`, `seed`, `dataset` and `domain`.
    pub shared: Table,
}

fn default_seeds() -> Vec<u64> {
    vec![1]
}

fn default_gradient_tokens() -> u64 {
    65_536
}

fn default_early_share() -> f64 {
    0.05
}

/// Run that a transfer matrix will train: the base on one domain with one seed.
#[derive(Debug, Clone)]
pub struct PlannedRun {
    /// Domain that the base is tuned on.
    pub domain: String,
    /// Seed of the run.
    pub seed: u64,
    /// Complete configuration of the run.
    pub config: FinetuneConfig,
}

/// Data of a transfer matrix, opened before training.
pub struct TransferData {
    /// Held-out documents of every domain.
    pub heldout: Vec<NamedShard>,
    /// Datasets that contain the scored domains.
    pub datasets: Vec<Dataset>,
}

impl TransferConfig {
    /// Plans all runs, grouped by domain, and opens the data to score. `source` is the file that the configuration
    /// was read from.
    ///
    /// # Errors
    /// Fails if a key is invalid or a dataset can't be opened.
    pub fn plan(&self, source: &Source) -> Result<(Vec<PlannedRun>, TransferData), StudyError> {
        self.validate()?;
        let mut scored: Vec<NamedShard> = Vec::new();
        let mut homes: Vec<&PathBuf> = Vec::new();
        let mut datasets = Vec::new();
        for path in &self.datasets {
            let dataset = Dataset::open(path)?;
            for name in dataset.domain_names() {
                if scored.iter().any(|known| known.name == name) {
                    return refuse(format!(
                        "`datasets`: two of them have a domain `{name}`: rename one"
                    ));
                }
                scored.push(NamedShard {
                    name: name.to_owned(),
                    shard: dataset.shard(name, Split::Heldout)?,
                });
                homes.push(path);
            }
            datasets.push(dataset);
        }
        let mut planned = Vec::new();
        let known = || scored.iter().map(|domain| domain.name.as_str());
        for name in &self.domains {
            if known().all(|other| other != name) {
                return refuse(format!(
                    "`domains` has `{name}`, which is in none of the datasets; they have `{}`",
                    known().collect::<Vec<_>>().join("`, `")
                ));
            }
        }
        for (NamedShard { name, .. }, home) in scored.iter().zip(homes) {
            if self.domains.is_empty() || self.domains.contains(name) {
                for seed in &self.seeds {
                    planned.push(self.run(name, home, *seed, source)?);
                }
            }
        }
        let data = TransferData {
            heldout: scored,
            datasets,
        };
        Ok((planned, data))
    }

    fn validate(&self) -> Result<(), StudyError> {
        if self.datasets.is_empty() {
            return refuse("`datasets` is empty: give at least one".into());
        }
        if !(self.early_share > 0.0 && self.early_share < 1.0) {
            return refuse(format!(
                "`early_share` = `{}`: expected a share between 0 and 1",
                self.early_share
            ));
        }
        if self.gradient_tokens == 0 {
            return refuse("`gradient_tokens` = `0`: expected at least 1".into());
        }
        let own = ["run", "seed", "dataset", "domain", "texts"];
        crate::sweep::check(&self.seeds, &self.shared, &own)
    }

    fn run(
        &self,
        domain: &str,
        dataset: &Path,
        seed: u64,
        source: &Source,
    ) -> Result<PlannedRun, StudyError> {
        let mut table = self.shared.clone();
        let folder = self.output.join(format!("{domain}-{seed}"));
        for (key, value) in [
            ("run", folder.display().to_string()),
            ("dataset", dataset.display().to_string()),
            ("domain", domain.to_owned()),
        ] {
            table.insert(key.into(), value.into());
        }
        table.insert("seed".into(), Value::Integer(seed as i64));
        let config = source
            .read_table(&table)
            .map_err(|error| StudyError::Config(format!("`shared`: {error}")))?;
        crate::sweep::refuse_new_tokens(&config)?;
        Ok(PlannedRun {
            domain: domain.to_owned(),
            seed,
            config,
        })
    }
}

/// Opened run, with the folder of its early checkpoint.
pub struct OpenRun {
    /// Domain that the base is tuned on.
    pub domain: String,
    /// Opened fine-tuning of the run.
    pub tuning: Finetuning,
    early: PathBuf,
}

impl OpenRun {
    /// Makes a run from an opened fine-tuning, and tells it to keep its checkpoint after the share `share` of the
    /// training.
    pub fn new(domain: String, mut tuning: Finetuning, share: f64) -> Self {
        let early = tuning.keep_at(share);
        Self {
            domain,
            tuning,
            early,
        }
    }
}

fn refuse<T>(message: String) -> Result<T, StudyError> {
    Err(StudyError::Config(message))
}
