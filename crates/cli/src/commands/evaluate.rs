//! `polymath evaluate`, and what it shares with `forget`: a checkpoint's scores on the domains of data sets
//! and on tasks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow};
use polymath_data::{Dataset, HeldoutSplit, Reading, Split, Task, question_groups};
use polymath_eval::{ModelScores, WindowOptions, answer_questions};
use polymath_finetune::Lineage;
use polymath_model::{LoadOptions, Precision, Transformer};
use polymath_train::{resolve_base, resolve_checkpoint};

use super::tasks::{self, ItemsFile};
use crate::arguments;
use crate::console::scoring_bar;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::results;

/// Prints bits per byte and perplexity of every domain, and what was answered of every task.
pub fn run(arguments: &arguments::Evaluate, environment: &Environment) -> Result<(), Failure> {
    let folder = resolve_checkpoint(&arguments.checkpoint)?;
    let base = resolve_base(&folder, arguments.adapter_base.as_deref())?;
    // Whether there is a model at all comes before what it is scored on.
    polymath_model::load_config_over(&folder, base.as_deref())?;
    let items = arguments
        .items
        .as_deref()
        .map(ItemsFile::check)
        .transpose()?;
    let tasks = tasks::read(&arguments.tasks)?;
    let only_tasks = !tasks.is_empty() && arguments.scoring.dataset.is_empty();
    let datasets = if only_tasks {
        Vec::new()
    } else {
        datasets(&arguments.scoring, std::slice::from_ref(&folder))?
    };
    let asked = Asked {
        datasets: &datasets,
        tasks: &tasks,
        scoring: &arguments.scoring,
        split: arguments.split.choice(),
        or_all: false,
        keep: 0,
    };
    let scores = score((&folder, base.as_deref()), &asked, environment)?;
    if let Some(items) = items {
        items.write(&scores)?;
    }
    if arguments.json {
        return results::line(&serde_json::to_string_pretty(&json(&scores))?);
    }
    let mut text = String::new();
    if !only_tasks {
        text += &domains_table(&scores);
    }
    text += &tasks::table(&scores);
    results::print(&text)
}

fn json(scores: &ModelScores) -> serde_json::Value {
    let domains: BTreeMap<&str, serde_json::Value> = scores
        .domains
        .iter()
        .map(|(name, domain)| {
            let mut value = serde_json::json!({
                "bits_per_byte": domain.bits_per_byte(),
                "perplexity": domain.perplexity(),
                "documents": domain.documents.len(),
                "tokens": domain.tokens(),
                "bytes": domain.bytes(),
            });
            if let Some(right) = scores.questions.get(name) {
                value["accuracy"] = accuracy(right).into();
                value["questions"] = right.len().into();
            }
            (name.as_str(), value)
        })
        .collect();
    let mut all = serde_json::json!({ "domains": domains });
    if !scores.tasks.is_empty() {
        all["tasks"] = tasks::json(scores);
    }
    all
}

fn domains_table(scores: &ModelScores) -> String {
    let mut text = format!(
        "{:20} {:>13} {:>11} {:>10} {:>12} {:>10}\n",
        "domain", "bits per byte", "perplexity", "documents", "bytes", "questions"
    );
    for (name, domain) in &scores.domains {
        let questions = scores.questions.get(name).map_or(String::new(), |right| {
            format!("{:.1} %", accuracy(right) * 100.0)
        });
        text += &format!(
            "{name:20} {:>13.4} {:>11.3} {:>10} {:>12} {questions:>10}\n",
            domain.bits_per_byte(),
            domain.perplexity(),
            domain.documents.len(),
            domain.bytes()
        );
    }
    text
}

fn accuracy(right: &[bool]) -> f64 {
    right.iter().filter(|right| **right).count() as f64 / right.len().max(1) as f64
}

/// The data sets that were named, else those of the checkpoints' own runs.
pub fn datasets(
    scoring: &arguments::Scoring,
    checkpoints: &[PathBuf],
) -> Result<Vec<Dataset>, Failure> {
    let mut paths = scoring.dataset.clone();
    if paths.is_empty() {
        for checkpoint in checkpoints {
            for path in own_datasets(checkpoint)? {
                if !paths.contains(&path) {
                    paths.push(path);
                }
            }
        }
    }
    if paths.is_empty() {
        return Err(Failure::usage(anyhow!(
            "nothing says which data set to score on: give `--dataset <folder>`"
        )));
    }
    let datasets = paths
        .iter()
        .map(|path| Dataset::open(path))
        .collect::<Result<Vec<_>, _>>()?;
    for checkpoint in checkpoints {
        let Some(lineage) = Lineage::of(checkpoint)? else {
            continue;
        };
        for dataset in datasets
            .iter()
            .filter(|data| lineage.is_of_other_data(data))
        {
            tracing::warn!(
                "`{}` was prepared again since `{}` was trained on it: held-out documents may be such that it was trained on",
                dataset.path().display(),
                checkpoint.display()
            );
        }
    }
    Ok(datasets)
}

fn own_datasets(checkpoint: &Path) -> Result<Vec<PathBuf>, Failure> {
    if let Some(lineage) = Lineage::of(checkpoint)? {
        let mut paths = vec![lineage.dataset];
        paths.extend(lineage.retain.filter(|retain| *retain != paths[0]));
        return Ok(paths);
    }
    let run = checkpoint
        .parent()
        .unwrap_or(Path::new("."))
        .join("run.toml");
    // A model from elsewhere has no such file; then the user is asked for a data set.
    if !polymath_input::exists(&run)? {
        return Ok(Vec::new());
    }
    let table: toml::Table = polymath_input::read_text(&run)?
        .parse()
        .with_context(|| format!("can't read `{}`", run.display()))?;
    let dataset = table.get("dataset").and_then(toml::Value::as_str);
    Ok(dataset.into_iter().map(PathBuf::from).collect())
}

impl arguments::ScoredSplit {
    /// Returns the part that is asked for; `None` where it is all of them.
    pub fn choice(&self) -> Option<HeldoutSplit> {
        match self.split? {
            arguments::HeldoutChoice::Dev => Some(HeldoutSplit::Dev),
            arguments::HeldoutChoice::Test => Some(HeldoutSplit::Test),
            arguments::HeldoutChoice::Audit => Some(HeldoutSplit::Audit),
            arguments::HeldoutChoice::All => None,
        }
    }
}

/// What a checkpoint is scored on.
pub struct Asked<'a> {
    /// Every domain's held-out documents, and its questions.
    pub datasets: &'a [Dataset],
    /// Tasks with choices.
    pub tasks: &'a [Arc<Task>],
    /// How documents are cut.
    pub scoring: &'a arguments::Scoring,
    /// Of the documents, this part alone.
    pub split: Option<HeldoutSplit>,
    /// Whether a domain that has no document in the split is scored whole, rather than refused.
    pub or_all: bool,
    /// Of so many tokens of each domain, the single scores are kept.
    pub keep: u64,
}

/// Scores a checkpoint (an adapter over its base, if one is given) on the text of data sets in its own tokens. What does not fit
/// it is refused before it is loaded.
pub fn score(
    (folder, base): (&Path, Option<&Path>),
    asked: &Asked,
    environment: &Environment,
) -> Result<ModelScores, Failure> {
    let tokenizer = polymath_model::tokenizer_over(folder, base)?;
    let config = polymath_model::load_config_over(folder, base)?;
    let ends = (config.bos_token_id, config.eos_token_id);
    let readings = asked
        .datasets
        .iter()
        .map(|dataset| dataset.read_by(&tokenizer, ends))
        .collect::<Result<Vec<_>, _>>()
        .map_err(Failure::usage)?;
    for reading in readings.iter().filter(|reading| reading.is_translated()) {
        environment.say(&format!(
            "`{}` was prepared with another tokenizer than that of `{}`: its held-out text is tokenised again",
            reading.dataset().path().display(),
            folder.display()
        ));
    }
    environment.say_what_is_left_out(folder, base)?;
    let encoded = tasks::encode(asked, &tokenizer, &config)?;
    let options = LoadOptions::frozen(&environment.device, environment.ops(Precision::F32));
    let model = polymath_model::load_over(folder, base, &options)?;
    let mut scores = ModelScores {
        path: folder.display().to_string(),
        own_tokens: readings.iter().any(Reading::is_translated),
        ..ModelScores::default()
    };
    for reading in &readings {
        score_dataset(
            (&model, &tokenizer),
            reading,
            asked,
            environment,
            &mut scores,
        )?;
    }
    for task in &encoded {
        let found = tasks::score(&model, task, environment)?;
        scores.tasks.insert(found.task.name.clone(), found);
    }
    Ok(scores)
}

/// The domains of a data set that have no scores yet.
fn score_dataset(
    (model, tokenizer): (&Transformer, &Path),
    reading: &Reading<'_>,
    asked: &Asked,
    environment: &Environment,
    scores: &mut ModelScores,
) -> Result<(), Failure> {
    let windows = WindowOptions {
        context: asked.scoring.context,
        stride: asked.scoring.stride,
        max_tokens: asked.scoring.max_tokens,
        split: asked.split,
    };
    let dataset = reading.dataset();
    for name in dataset.domain_names() {
        if scores.domains.contains_key(name) {
            continue;
        }
        let shard = reading.shard(name, Split::Heldout)?;
        let mut windows = windows;
        match asked.split.map(|split| split.check(name, &shard)) {
            Some(Err(error)) if asked.or_all => {
                environment.say(&format!("{error}. All of `{name}` is scored"));
                windows.split = None;
            }
            Some(Err(error)) => return Err(Failure::usage(error)),
            Some(Ok(())) | None => {}
        }
        let bar = scoring_bar(environment, name);
        let mut progress = |done, all| {
            bar.set_length(all);
            bar.set_position(done);
        };
        let domain =
            polymath_eval::score_tokens((model, &shard), windows, asked.keep, &mut progress)?;
        scores.domains.insert(name.to_owned(), domain);
        let questions = dataset.questions(name)?;
        if !questions.is_empty() {
            let right = answer_questions(model, tokenizer, &questions)?;
            scores.questions.insert(name.to_owned(), right);
            let groups = question_groups(&questions);
            if !groups.is_empty() {
                scores.question_groups.insert(name.to_owned(), groups);
            }
        }
        bar.finish_and_clear();
    }
    Ok(())
}
