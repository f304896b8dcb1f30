//! Frontier: compares several fine-tuning methods for one base and niche, at equal training tokens and over several
//! seeds, by the gain on the niche and the forgetting of the retained domains.

mod comparison;
mod study;

use std::collections::BTreeMap;
use std::path::PathBuf;

use polymath_config::Source;
use polymath_finetune::FinetuneConfig;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

pub use comparison::{FrontierRun, check_splits, compare, confirm};
pub use study::FrontierStudy;

use crate::StudyError;

/// Configuration of a frontier.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrontierConfig {
    /// Folder of the runs and of the report.
    #[serde(deserialize_with = "polymath_config::folder")]
    pub output: PathBuf,
    /// Random seeds. Each method is trained once with each seed; two or more seeds are needed for a comparison.
    #[serde(default = "default_seeds")]
    pub seeds: Vec<u64>,
    /// Maximum increase in bits per byte on any retained domain with which a method is still recommended.
    #[serde(default = "default_limit")]
    pub limit: f64,
    /// Method that the others are compared with; default: `full`, or else the first by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Additional seed, not among `seeds`, with which the recommended method is trained once more to confirm the
    /// recommendation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_seed: Option<u64>,
    /// Maximum number of held-out tokens that are scored for each domain and split; default: all. Include at least 20
    /// groups of documents (works, files) for each domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// Shares of the tuned weights at which every run is also mixed with the base and scored, without training.
    #[serde(default = "default_interpolate")]
    pub interpolate: Vec<f64>,
    /// Settings that all runs share: the keys of a `finetune` config except `run` and `seed`.
    pub shared: Table,
    /// Methods by name: the keys that each adds to `shared` or overrides, as in a `finetune` config. Default: the
    /// usual methods.
    #[serde(default)]
    pub runs: BTreeMap<String, Table>,
}

fn default_seeds() -> Vec<u64> {
    vec![1, 2, 3]
}

fn default_limit() -> f64 {
    0.02
}

fn default_interpolate() -> Vec<f64> {
    vec![0.25, 0.5, 0.75]
}

/// Returns the common fine-tuning methods. One of them runs with forgetting limits of `limit` bits per byte.
pub fn default_methods(limit: f64) -> BTreeMap<String, Table> {
    let limits = format!("retention = {{ limits = {{ default = {limit:?} }} }}");
    let methods = [
        ("limits", limits.as_str()),
        ("full", "method = \"full\""),
        (
            "head",
            "method = \"frozen\"\nfrozen = { train_last_layers = 0, train = [\"lm_head\"] }",
        ),
        (
            "last-2",
            "method = \"frozen\"\nfrozen = { train_last_layers = 2 }",
        ),
        (
            "lora-4",
            "method = \"lora\"\nlora = { rank = 4, alpha = 8 }",
        ),
        (
            "lora-16",
            "method = \"lora\"\nlora = { rank = 16, alpha = 32 }",
        ),
        ("replay-1", "retention = { replay = 0.01 }"),
        ("replay-5", "retention = { replay = 0.05 }"),
        ("replay-20", "retention = { replay = 0.2 }"),
        ("l2sp", "retention = { l2sp = 0.01 }"),
        ("ewc", "retention = { ewc = { strength = 10.0 } }"),
        (
            "distill",
            "retention = { replay = 0.05, distill = { strength = 1.0 } }",
        ),
    ];
    methods
        .into_iter()
        .map(|(name, text)| {
            (
                name.to_owned(),
                text.parse().expect("the default methods are TOML"),
            )
        })
        .collect()
}

/// Run that a frontier will train: one method with one seed.
#[derive(Debug, Clone)]
pub struct PlannedRun {
    /// Name of the method.
    pub method: String,
    /// Seed of the run.
    pub seed: u64,
    /// Complete configuration of the run.
    pub config: FinetuneConfig,
}

impl FrontierConfig {
    /// Plans all runs, grouped by method. `source` is the file that the configuration was read from.
    ///
    /// # Errors
    /// Fails if a key is invalid.
    pub fn plan(&self, source: &Source) -> Result<Vec<PlannedRun>, StudyError> {
        let methods = match self.runs.is_empty() {
            true => default_methods(self.limit),
            false => self.runs.clone(),
        };
        self.validate(&methods)?;
        let mut planned = Vec::new();
        for (name, own) in &methods {
            for seed in &self.seeds {
                planned.push(self.run(name, own, *seed, source)?);
            }
        }
        if let Some(first) = planned.first() {
            for run in &planned {
                check_alike(first, run)?;
            }
        }
        Ok(planned)
    }

    /// Checks the keys of the frontier itself. The keys of each run are checked when its configuration is read.
    fn validate(&self, methods: &BTreeMap<String, Table>) -> Result<(), StudyError> {
        crate::sweep::check(&self.seeds, &self.shared, &["run", "seed"])?;
        if !(self.limit > 0.0 && self.limit.is_finite()) {
            return refuse(format!(
                "`limit` = `{}`: expected bits per byte above 0",
                self.limit
            ));
        }
        let is_between = |share: &&f64| **share > 0.0 && **share < 1.0;
        if let Some(share) = self.interpolate.iter().find(|share| !is_between(share)) {
            return refuse(format!(
                "`interpolate` has `{share}`: expected shares of the tuned weights above 0 and below 1"
            ));
        }
        if !self.shared.contains_key("retain") {
            return refuse(
                "`shared.retain` is not given: forgetting is measured on its domains".into(),
            );
        }
        let wanted = self.reference.as_ref();
        if let Some(reference) = wanted.filter(|name| !methods.contains_key(*name)) {
            let known: Vec<&str> = methods.keys().map(String::as_str).collect();
            return refuse(format!(
                "`reference` = `{reference}`: no method has this name; there are `{}`",
                known.join("`, `")
            ));
        }
        if let Some(seed) = self.confirm_seed.filter(|seed| self.seeds.contains(seed)) {
            return refuse(format!(
                "`confirm_seed` = `{seed}` is among `seeds`: confirm the recommendation with a seed that did not take part in it"
            ));
        }
        let is_folder = |name: &&String| {
            let fits = |letter: char| letter.is_alphanumeric() || "-_.".contains(letter);
            !name.is_empty() && name.chars().all(fits)
        };
        if let Some(name) = methods.keys().find(|name| !is_folder(name)) {
            return refuse(format!(
                "`runs.{name}`: the name of a method is also a folder name: use letters, digits, `-` and `_`"
            ));
        }
        Ok(())
    }

    /// Plans the run of `method` with `confirm_seed`. Returns `None` if the key is not set.
    ///
    /// # Errors
    /// Fails if a key is invalid.
    pub fn confirming(
        &self,
        method: &str,
        source: &Source,
    ) -> Result<Option<PlannedRun>, StudyError> {
        let Some(seed) = self.confirm_seed else {
            return Ok(None);
        };
        let confirming = Self {
            seeds: vec![seed],
            confirm_seed: None,
            ..self.clone()
        };
        let runs = confirming.plan(source)?;
        Ok(runs.into_iter().find(|run| run.method == method))
    }

    fn run(
        &self,
        name: &str,
        own: &Table,
        seed: u64,
        source: &Source,
    ) -> Result<PlannedRun, StudyError> {
        let mut table = self.shared.clone();
        merge(&mut table, own);
        let folder = self.output.join(format!("{name}-{seed}"));
        table.insert("run".into(), folder.display().to_string().into());
        table.insert("seed".into(), Value::Integer(seed as i64));
        let config = source.read_table(&table).map_err(|error| {
            StudyError::Config(format!("`runs.{name}`, with `shared`: {error}"))
        })?;
        crate::sweep::refuse_new_tokens(&config)?;
        Ok(PlannedRun {
            method: name.to_owned(),
            seed,
            config,
        })
    }
}

/// Fails unless two runs are comparable: they must train on equally many tokens and have the same domains.
fn check_alike(first: &PlannedRun, other: &PlannedRun) -> Result<(), StudyError> {
    let tokens = |run: &PlannedRun| {
        let training = &run.config.training;
        let rows = training.batch_size.unwrap_or(polymath_train::BATCH_SIZE) as u64;
        let rows = training.steps.map(|steps| steps.saturating_mul(rows));
        (training.tokens, training.epochs, rows)
    };
    if tokens(other) != tokens(first) {
        return refuse(format!(
            "`runs.{}` trains on another number of tokens than `runs.{}`: a frontier compares methods at equal tokens, so set \
             them in `shared.training` alone",
            other.method, first.method
        ));
    }
    let (one, two) = (&first.config, &other.config);
    let is_same = one.dataset == two.dataset
        && one.texts == two.texts
        && one.domain == two.domain
        && one.retain == two.retain;
    match is_same {
        true => Ok(()),
        false => refuse(format!(
            "`runs.{}` has another niche or other retained domains than `runs.{}`: means over different domains are not \
             ranked, so set `dataset`, `texts`, `domain` and `retain` in `shared` alone",
            other.method, first.method
        )),
    }
}

fn refuse<T>(message: String) -> Result<T, StudyError> {
    Err(StudyError::Config(message))
}

/// Overrides keys of `table` by those of `own`, including keys of nested tables.
fn merge(table: &mut Table, own: &Table) {
    for (key, value) in own {
        match (table.get_mut(key), value) {
            (Some(Value::Table(inner)), Value::Table(own)) => merge(inner, own),
            _ => {
                table.insert(key.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "output = \"out\"\nseeds = [1, 2]\n[shared]\nbase = \"b\"\ndataset = \"d\"\nretain = \"r\"\n\
                          [shared.training]\nsteps = 10\nlearning_rate = 1e-3\n";

    fn plan(text: &str) -> Result<Vec<PlannedRun>, String> {
        let config: FrontierConfig = toml::from_str(text).unwrap();
        let source = Source::new("frontier.toml".as_ref(), text);
        config.plan(&source).map_err(|error| error.to_string())
    }

    /// Checks that each method overrides the shared keys and is planned once for each seed, in its own folder, and
    /// that the default methods are used if none is given.
    #[test]
    fn methods_override_shared_keys() {
        let runs = plan(&format!(
            "{CONFIG}[runs.slow.training]\nlearning_rate = 1e-4\n[runs.plain]\n"
        ))
        .unwrap();
        let told: Vec<_> = runs
            .iter()
            .map(|run| {
                (
                    run.method.as_str(),
                    run.seed,
                    run.config.training.learning_rate,
                    run.config.training.steps,
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("plain", 1, Some(1e-3), Some(10)),
                ("plain", 2, Some(1e-3), Some(10)),
                ("slow", 1, Some(1e-4), Some(10)),
                ("slow", 2, Some(1e-4), Some(10)),
            ]
        );
        assert_eq!(runs[3].config.run, PathBuf::from("out/slow-2"));
        assert_eq!(plan(CONFIG).unwrap().len(), 2 * default_methods(0.02).len());
    }

    /// Checks that one default method has the frontier's own limit, on every retained domain.
    #[test]
    fn limits_are_among_the_default_methods() {
        let runs = plan(&CONFIG.replace("[shared]", "limit = 0.05\n[shared]")).unwrap();
        let limited: Vec<&PlannedRun> = runs
            .iter()
            .filter(|run| run.config.retention.limits.is_some())
            .collect();
        assert_eq!(limited.len(), 2);
        for run in limited {
            assert_eq!(run.method, "limits");
            assert_eq!(
                run.config.retention.limits.as_ref().unwrap()["default"],
                0.05
            );
        }
    }

    /// Checks that the recommended method is planned once more with the confirmation seed, in its own folder.
    #[test]
    fn fresh_seed_confirms_the_recommendation() {
        let text = CONFIG.replace("[shared]", "confirm_seed = 9\n[shared]");
        let config: FrontierConfig = toml::from_str(&text).unwrap();
        let source = Source::new("frontier.toml".as_ref(), &text);
        let run = config.confirming("l2sp", &source).unwrap().unwrap();
        assert_eq!((run.method.as_str(), run.seed), ("l2sp", 9));
        assert_eq!(run.config.run, PathBuf::from("out/l2sp-9"));
        assert_eq!(run.config.seed, 9);
        assert_eq!(plan(&text).unwrap().len(), 2 * default_methods(0.02).len());
        let config: FrontierConfig = toml::from_str(CONFIG).unwrap();
        assert!(config.confirming("l2sp", &source).unwrap().is_none());
    }

    /// Checks that frontiers whose runs can't be compared are refused with the key.
    #[test]
    fn incomparable_frontiers_are_refused() {
        let refused = |text: &str, said: &str| {
            let error = plan(text).unwrap_err();
            assert!(error.contains(said), "{error}");
        };
        refused(&CONFIG.replace("[1, 2]", "[]"), "`seeds` is empty");
        refused(&CONFIG.replace("[1, 2]", "[1, 1]"), "`seeds` has `1` twice");
        refused(
            &CONFIG.replace("retain = \"r\"\n", ""),
            "`shared.retain` is not given",
        );
        refused(
            &format!("{CONFIG}[runs.long.training]\nsteps = 20\n[runs.a]\n"),
            "equal tokens",
        );
        refused(
            &CONFIG.replace("[shared]", "reference = \"ful\"\n[shared]"),
            "`reference` = `ful`",
        );
        refused(
            &CONFIG.replace("[shared]", "confirm_seed = 2\n[shared]"),
            "`confirm_seed` = `2` is among `seeds`",
        );
        refused(
            &format!("{CONFIG}[runs.a]\n[runs.b]\nretain = \"other\"\n"),
            "`runs.b` has another niche or other retained domains than `runs.a`",
        );
        refused(
            &CONFIG.replace("[shared]", "interpolate = [0.5, 1.0]\n[shared]"),
            "`interpolate` has `1`",
        );
        refused(
            &format!("{CONFIG}[runs.bad]\nmethd = \"full\"\n"),
            "`runs.bad`, with `shared`: `frontier.toml`, line 11: unknown key `methd`: did you mean `method`?",
        );
        refused(
            &CONFIG.replace("[shared.training]", "seed = 3\n[shared.training]"),
            "`shared.seed`",
        );
    }
}
