//! Facts of a model card, gathered from the checkpoint's files, its run and a forgetting report.

use std::path::{Path, PathBuf};

use polymath_data::{DataError, Dataset};
use polymath_finetune::Lineage;
use polymath_hub::{CARD, Repository, front_matter};
use polymath_model::{LoraConfig, ModelConfig, ModelSource, NamedBase};
use polymath_pretrain::{PretrainConfig, Pretraining};
use polymath_report::ForgettingReport;
use polymath_report::forgetting::{CurvePoint, ReportSettings, RunReport};
use polymath_train::{RunState, locate, resolve_base, resolve_checkpoint};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::StudyError;
use crate::forget::provenance::curve;

/// Facts that a model card is written from.
pub struct Facts {
    /// Published location `owner/name`, or else the path of the checkpoint's folder.
    pub place: String,
    /// Configuration of the model, or of the base for an adapter.
    pub model: ModelConfig,
    /// Adapter configuration, if the checkpoint is an adapter.
    pub adapter: Option<LoraConfig>,
    /// Base that the model was tuned from, or that the adapter belongs to.
    pub base: Option<NamedBase>,
    /// License given by the user, or else in the base's card.
    pub license: Option<String>,
    /// Text of the token that begins a document, if the tokenizer has one.
    pub begin: Option<String>,
    /// True if the tokenizer has a chat template.
    pub chats: bool,
    /// Record of the fine-tuning, if there was one.
    pub lineage: Option<Lineage>,
    /// Resolved configuration of the run.
    pub config: Option<toml::Table>,
    /// Training state at the checkpoint.
    pub state: Option<RunState>,
    /// Scores measured when the checkpoint was saved.
    pub scores: Option<CurvePoint>,
    /// Datasets that the run trained or evaluated on and that still exist.
    pub datasets: Vec<Dataset>,
    /// Share of each domain in the tokens of a pretraining.
    pub shares: Vec<(String, f64)>,
    /// This model's entry in a forgetting report, and the report's settings.
    pub report: Option<(RunReport, ReportSettings)>,
}

/// Options of a model card, given by the user.
pub struct CardOptions<'a> {
    /// Published location `owner/name`, or the path of the checkpoint's folder.
    pub place: String,
    /// Forgetting report: `report.json` or its folder.
    pub report: Option<&'a Path>,
    /// Name of the license.
    pub license: Option<&'a str>,
    /// Base to use instead of the recorded one.
    pub base: Option<&'a Path>,
}

impl Facts {
    /// Gathers the facts that are available. A missing file leaves out its facts.
    ///
    /// # Errors
    /// Fails if the checkpoint or the report can't be read, or if the report has no entry for the checkpoint.
    pub fn gather(folder: &Path, options: &CardOptions) -> Result<Self, StudyError> {
        let over = resolve_base(folder, options.base)?;
        let source = ModelSource {
            folder,
            base: over.as_deref(),
        };
        let model = source.config()?;
        let adapter = polymath_model::is_adapter(folder)
            .then(|| polymath_model::load_adapter(folder, over.as_deref()))
            .transpose()?
            .map(|adapter| adapter.config);
        let lineage = Lineage::of(folder)?;
        let base = name_of_base(folder, lineage.as_ref(), options.base)?;
        let run = folder.parent().unwrap_or(Path::new("."));
        let config = config_of(run)?;
        let state: Option<RunState> = read_json(&folder.join("state.json"))?;
        let step = state.as_ref().map(|state| state.step);
        let given = options.license.map(str::to_owned);
        let report = options
            .report
            .map(|path| report_of(path, folder))
            .transpose()?;
        let datasets = datasets_of(folder, config.as_ref(), lineage.as_ref())?;
        Ok(Self {
            place: options.place.clone(),
            license: given.or_else(|| license_of(base.as_ref()?)),
            begin: begin_token(source)?,
            chats: has_template(folder)?,
            scores: match step {
                Some(step) => curve(folder)?.into_iter().find(|point| point.step == step),
                None => None,
            },
            shares: match datasets.is_empty() {
                true => Vec::new(),
                false => shares_of(config.as_ref()),
            },
            datasets,
            model,
            adapter,
            base,
            lineage,
            config,
            state,
            report,
        })
    }
}

/// Returns the name of the base: the user's, or else the adapter's, or else the run's. Its revision is separate.
fn name_of_base(
    folder: &Path,
    lineage: Option<&Lineage>,
    given: Option<&Path>,
) -> Result<Option<NamedBase>, StudyError> {
    let named = |path: &Path| {
        let repository = Repository::parse(path.to_str().unwrap_or_default());
        match repository.filter(|_| !path.exists()) {
            Some(repository) => NamedBase {
                name: repository.id(),
                revision: Some(repository.revision().to_owned()).filter(|name| name != "main"),
            },
            None => NamedBase {
                name: path.display().to_string(),
                revision: None,
            },
        }
    };
    if let Some(given) = given {
        return Ok(Some(named(given)));
    }
    if polymath_model::is_adapter(folder) {
        return Ok(Some(polymath_model::named_base(folder)?));
    }
    Ok(lineage.map(|lineage| named(&lineage.base)))
}

fn config_of(run: &Path) -> Result<Option<toml::Table>, StudyError> {
    let path = run.join("run.toml");
    // A model from elsewhere has no run folder.
    if !polymath_input::exists(&path)? {
        return Ok(None);
    }
    let text = polymath_input::read_text(&path)?;
    let table = text
        .parse()
        .map_err(|error| StudyError::Config(format!("can't read `{}`: {error}", path.display())))?;
    Ok(Some(table))
}

/// Reads a JSON file, or returns `None` if it does not exist.
fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StudyError> {
    if !polymath_input::exists(path)? {
        return Ok(None);
    }
    let value = polymath_input::read_json(path)?;
    let value = serde_json::from_value(value)
        .map_err(|error| StudyError::Config(format!("can't use `{}`: {error}", path.display())))?;
    Ok(Some(value))
}

/// Opens the datasets of a run that still exist. Warns about those that can't be opened.
fn datasets_of(
    folder: &Path,
    config: Option<&toml::Table>,
    lineage: Option<&Lineage>,
) -> Result<Vec<Dataset>, StudyError> {
    let named = |key: &str| Some(locate(Path::new(config?.get(key)?.as_str()?), folder));
    let mut paths: Vec<PathBuf> = match lineage {
        Some(lineage) => [Some(lineage.dataset.clone()), lineage.retain.clone()]
            .into_iter()
            .flatten()
            .collect(),
        None => named("dataset").into_iter().collect(),
    };
    paths.dedup();
    let mut datasets = Vec::new();
    for path in paths {
        if !polymath_input::exists(&path.join("dataset.json"))? {
            continue;
        }
        let dataset = match Dataset::open(&path) {
            Ok(dataset) => dataset,
            Err(error @ DataError::File { .. }) => return Err(error.into()),
            Err(error) => {
                tracing::warn!("the card leaves out a dataset: {error}");
                continue;
            }
        };
        // A dataset that was prepared again differs from the one that the model was trained on.
        if !lineage.is_some_and(|lineage| lineage.is_of_other_data(&dataset)) {
            datasets.push(dataset);
        }
    }
    Ok(datasets)
}

/// Returns the share of each domain in a pretraining, or nothing if its dataset no longer exists.
fn shares_of(config: Option<&toml::Table>) -> Vec<(String, f64)> {
    let config = config.cloned().map(toml::Value::Table);
    let config = config.and_then(|config| config.try_into::<PretrainConfig>().ok());
    let pretraining = match config.map(Pretraining::open) {
        Some(Ok(pretraining)) => pretraining,
        Some(Err(error)) => {
            tracing::warn!("the card leaves out the domains' shares of the training text: {error}");
            return Vec::new();
        }
        None => return Vec::new(),
    };
    let shares = pretraining.mixture().iter();
    shares
        .map(|share| (share.name.clone(), share.weight))
        .collect()
}

/// Returns the report's entry for the checkpoint in `folder`, and the report's settings.
fn report_of(path: &Path, folder: &Path) -> Result<(RunReport, ReportSettings), StudyError> {
    let file = match path.is_dir() {
        true => path.join("report.json"),
        false => path.to_path_buf(),
    };
    let report = ForgettingReport::read(&file).map_err(StudyError::refused)?;
    let same = |run: &&RunReport| {
        let path = Path::new(&run.path);
        path == folder
            || matches!((path.canonicalize(), folder.canonicalize()), (Ok(a), Ok(b)) if a == b)
    };
    let found = report.runs.iter().find(same).cloned();
    let run = found.ok_or_else(|| {
        let known: Vec<&str> = report.runs.iter().map(|run| run.path.as_str()).collect();
        StudyError::refused(format!(
            "`{}` has no entry for `{}`, only for `{}`",
            file.display(),
            folder.display(),
            known.join("`, `")
        ))
    })?;
    Ok((run, report.settings))
}

#[derive(Deserialize)]
struct License {
    license: Option<String>,
}

/// Returns the license in the base's card, if the base and its card are available.
fn license_of(base: &NamedBase) -> Option<String> {
    let name = match &base.revision {
        Some(revision) => format!("{}@{revision}", base.name),
        None => base.name.clone(),
    };
    let folder = resolve_checkpoint(Path::new(&name)).ok()?;
    let card = polymath_base::read_to_string(folder.join(CARD)).ok()?;
    let facts: License = serde_saphyr::from_str(front_matter(&card)?).ok()?;
    facts.license
}

#[derive(Deserialize)]
struct SettingsFile {
    bos_token: Option<serde_json::Value>,
    chat_template: Option<serde_json::Value>,
}

fn tokenizer_settings(folder: &Path) -> Result<Option<SettingsFile>, StudyError> {
    read_json(&folder.join("tokenizer_config.json"))
}

/// Returns the text of the token that begins documents, which the tokenizer's settings name; `None` if there is none.
fn begin_token(source: ModelSource) -> Result<Option<String>, StudyError> {
    // Without a tokenizer, the begin token is unknown.
    let Ok(tokenizer) = source.tokenizer() else {
        return Ok(None);
    };
    let settings = tokenizer_settings(tokenizer.parent().unwrap_or(Path::new(".")))?;
    let token = settings.and_then(|settings| settings.bos_token);
    Ok(token.and_then(|token| match token {
        serde_json::Value::String(token) => Some(token),
        // Older tokenizer settings store a table with the text and the handling of spaces around it.
        token => Some(token.get("content")?.as_str()?.to_owned()),
    }))
}

fn has_template(folder: &Path) -> Result<bool, StudyError> {
    let settings = tokenizer_settings(folder)?;
    let in_settings = settings.is_some_and(|all| all.chat_template.is_some());
    Ok(in_settings || polymath_input::is_file(&folder.join("chat_template.jinja"))?)
}
