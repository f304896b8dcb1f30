//! Scores of a checkpoint on the domains of datasets and on tasks, each tokenized with the model's tokenizer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use polymath_data::{
    Dataset, Question, RetokenizedDataset, Split, Task, TokenShard, question_groups, read_tasks,
};
use polymath_eval::{
    EncodedTask, TaskEncoder, TaskScores, WindowOptions, answer_questions, check_questions,
    generate_answers, score_task,
};
use polymath_finetune::Lineage;
use polymath_model::{ModelConfig, ModelSource, Transformer};
use polymath_report::ModelScores;

use crate::{Scored, Setup, StudyError};

/// Maximum number of generated answers that are stored for each domain.
const LOST_ANSWERS: usize = 3;

/// Data and settings to score a checkpoint with.
#[derive(Debug, Clone)]
pub struct Target<'a> {
    /// Datasets whose held-out documents and questions are scored.
    pub datasets: &'a [Dataset],
    /// Multiple-choice tasks.
    pub tasks: &'a [Arc<Task>],
    /// Windows that documents are cut into, and the split.
    pub windows: WindowOptions,
    /// If true, a domain without documents in the split is scored as a whole; otherwise it is an error.
    pub or_all: bool,
    /// Maximum number of tokens of each domain whose single scores are stored.
    pub keep: u64,
    /// For each question of a domain, whether the base's answer is correct; `None` while the base itself is scored. Of
    /// the questions that only the base answers correctly, a few generated answers of the scored model are stored.
    pub base_answers: Option<&'a BTreeMap<String, Vec<bool>>>,
}

/// Reads the tasks in files or folders.
///
/// # Errors
/// Fails if a file is not a task.
pub fn open_tasks(paths: &[PathBuf]) -> Result<Vec<Arc<Task>>, StudyError> {
    let tasks = read_tasks(paths).map_err(StudyError::refused)?;
    Ok(tasks.into_iter().map(Arc::new).collect())
}

/// Returns the dataset folders that are named, or else those that the checkpoints were trained on.
///
/// # Errors
/// Fails if the record of a checkpoint can't be read.
pub fn own_datasets(
    named: &[PathBuf],
    checkpoints: &[PathBuf],
) -> Result<Vec<PathBuf>, StudyError> {
    let mut paths = named.to_vec();
    if paths.is_empty() {
        for checkpoint in checkpoints {
            for path in polymath_finetune::datasets_of(checkpoint)? {
                if !paths.contains(&path) {
                    paths.push(path);
                }
            }
        }
    }
    Ok(paths)
}

/// Opens the named datasets, or else those of the checkpoints' own runs.
///
/// # Errors
/// Fails if no dataset is known, one can't be opened, or two have domains of one name with other held-out documents.
pub fn open_datasets(
    named: &[PathBuf],
    checkpoints: &[PathBuf],
) -> Result<Vec<Dataset>, StudyError> {
    let paths = own_datasets(named, checkpoints)?;
    if paths.is_empty() {
        return Err(StudyError::refused(
            "no dataset to score on: give `--dataset <folder>`",
        ));
    }
    let datasets = paths
        .iter()
        .map(|path| Dataset::open(path))
        .collect::<Result<Vec<_>, _>>()?;
    check_names(&datasets)?;
    for checkpoint in checkpoints {
        let Some(lineage) = Lineage::of(checkpoint)? else {
            continue;
        };
        for dataset in datasets
            .iter()
            .filter(|data| lineage.is_of_other_data(data))
        {
            tracing::warn!(
                "`{}` was prepared again after `{}` was trained on it: the model may have been trained on documents that are held-out now",
                dataset.path().display(),
                checkpoint.display()
            );
        }
    }
    Ok(datasets)
}

/// Checks that domains of one name have the same held-out documents in all datasets: scores are known by the name, so
/// that only the first such domain would be scored, for the others as well.
fn check_names(datasets: &[Dataset]) -> Result<(), StudyError> {
    for (number, dataset) in datasets.iter().enumerate() {
        for name in dataset.domain_names() {
            let shard = dataset.shard(name, Split::Heldout)?;
            for earlier in &datasets[..number] {
                if earlier.domain_names().contains(&name)
                    && !holds_same(&*earlier.shard(name, Split::Heldout)?, &shard)
                {
                    return Err(StudyError::refused(format!(
                        "`{}` and `{}` both have a domain `{name}`, with other held-out documents, and scores are known by the \
                         domain's name: give only one of the two with `--dataset`, or prepare one with another name",
                        earlier.path().display(),
                        dataset.path().display()
                    )));
                }
            }
        }
    }
    Ok(())
}

/// Returns true if two shards hold the same documents, maybe in the tokens of different tokenizers.
fn holds_same(one: &TokenShard, other: &TokenShard) -> bool {
    let is_same = |index| {
        one.document(index).bytes == other.document(index).bytes
            && one.group_of(index) == other.group_of(index)
    };
    one.sha256() == other.sha256()
        || one.documents() == other.documents() && (0..one.documents()).all(is_same)
}

/// Checks that contexts, tasks and questions fit a checkpoint (or an adapter with its base), without loading it.
///
/// # Errors
/// Fails if the context, a task or a question is too long for the model.
pub fn check_fit(source: ModelSource, target: &Target) -> Result<(), StudyError> {
    let tokenizer = source.tokenizer()?;
    let config = source.config()?;
    let longest = config.max_position_embeddings;
    if let Some(context) = target.windows.context.filter(|context| *context > longest) {
        return Err(StudyError::refused(format!(
            "`{}` reads at most {longest} tokens, and the context is {context}: give `--context {longest}`, or less",
            source.folder.display()
        )));
    }
    encode_tasks(target, &tokenizer, &config)?;
    for dataset in target.datasets {
        for name in dataset.domain_names() {
            let questions = dataset.questions(name)?;
            check_questions(&config, &tokenizer, &questions).map_err(|error| {
                StudyError::refused(format!(
                    "`{}`, domain `{name}`, for `{}`: {error} from its `questions`, and prepare it again",
                    dataset.path().display(),
                    source.folder.display()
                ))
            })?;
        }
    }
    Ok(())
}

/// Scores a checkpoint (or an adapter with its base) on datasets and tasks, with the model's tokenizer. Data that do
/// not fit are refused before the model is loaded.
///
/// # Errors
/// Fails if the tokenizer, the context or the split does not fit, or if loading or scoring fails.
pub fn score(
    source: ModelSource,
    target: &Target,
    setup: &Setup,
) -> Result<ModelScores, StudyError> {
    check_fit(source, target)?;
    let tokenizer = source.tokenizer()?;
    let config = source.config()?;
    let ends = config.document_ends();
    let readings = target
        .datasets
        .iter()
        .map(|dataset| dataset.read_by(&tokenizer, ends))
        .collect::<Result<Vec<_>, _>>()
        .map_err(StudyError::refused)?;
    for reading in readings.iter().filter(|reading| reading.is_translated()) {
        setup.progress.say(&format!(
            "`{}` was prepared with another tokenizer than that of `{}`: its held-out text is tokenized again",
            reading.dataset().path().display(),
            source.folder.display()
        ));
    }
    setup.note_unused_files(source)?;
    let encoded = encode_tasks(target, &tokenizer, &config)?;
    let model = source.load(&setup.frozen())?;
    let mut scores = ModelScores {
        path: source.folder.display().to_string(),
        own_tokens: readings.iter().any(RetokenizedDataset::is_translated),
        ..ModelScores::default()
    };
    let scorer = DomainScorer {
        model: &model,
        tokenizer: &tokenizer,
        target,
        setup,
    };
    for reading in &readings {
        scorer.dataset(reading, &mut scores)?;
    }
    for task in &encoded {
        let found = score_one_task(&model, task, setup)?;
        scores.tasks.insert(found.task.name.clone(), found);
    }
    Ok(scores)
}

/// Model to score, with the data and settings of the scoring.
struct DomainScorer<'a> {
    model: &'a Transformer,
    tokenizer: &'a Path,
    target: &'a Target<'a>,
    setup: &'a Setup<'a>,
}

impl DomainScorer<'_> {
    /// Scores those domains of a dataset that have no scores yet.
    fn dataset(
        &self,
        reading: &RetokenizedDataset<'_>,
        scores: &mut ModelScores,
    ) -> Result<(), StudyError> {
        let Self {
            model,
            tokenizer,
            target,
            setup,
        } = *self;
        let dataset = reading.dataset();
        for name in dataset.domain_names() {
            if scores.domains.contains_key(name) {
                continue;
            }
            let shard = reading.shard(name, Split::Heldout)?;
            let mut windows = target.windows;
            match windows.split.map(|split| split.check(name, &shard)) {
                Some(Err(error)) if target.or_all => {
                    setup
                        .progress
                        .say(&format!("{error}. All of `{name}` is scored"));
                    windows.split = None;
                }
                Some(Err(error)) => return Err(StudyError::refused(error)),
                Some(Ok(())) | None => {}
            }
            setup.progress.begin(Scored::Domain(name));
            let mut progress = |done, all| setup.progress.advance(done, all);
            let mut domain =
                polymath_eval::score_tokens(model, &shard, windows, target.keep, &mut progress)?;
            domain.whole = windows.split != target.windows.split;
            scores.domains.insert(name.to_owned(), domain);
            let questions = dataset.questions(name)?;
            if !questions.is_empty() {
                let right = answer_questions(model, tokenizer, &questions)?;
                let lost = self.lost_answers(name, &questions, &right)?;
                scores.lost_answers.insert(name.to_owned(), lost);
                scores.questions.insert(name.to_owned(), right);
                let groups = question_groups(&questions);
                if !groups.is_empty() {
                    scores.question_groups.insert(name.to_owned(), groups);
                }
            }
            setup.progress.finish();
        }
        Ok(())
    }

    /// Generates answers to a few questions of a domain that the base answers and this model does not, spread over all
    /// such questions. Returns them by the question's index.
    fn lost_answers(
        &self,
        domain: &str,
        questions: &[Question],
        right: &[bool],
    ) -> Result<BTreeMap<usize, String>, StudyError> {
        let base = self.target.base_answers.and_then(|base| base.get(domain));
        let Some(base) = base.filter(|base| base.len() == right.len()) else {
            return Ok(BTreeMap::new());
        };
        let lost: Vec<usize> = (0..right.len())
            .filter(|at| base[*at] && !right[*at])
            .collect();
        let count = lost.len().min(LOST_ANSWERS);
        let shown: Vec<usize> = (0..count)
            .map(|place| lost[(2 * place + 1) * lost.len() / (2 * count)])
            .collect();
        let asked: Vec<Question> = shown.iter().map(|at| questions[*at].clone()).collect();
        let answers = generate_answers(self.model, self.tokenizer, &asked)?;
        Ok(shown.into_iter().zip(answers).collect())
    }
}

/// Tokenizes the tasks with the model's tokenizer, cut to the context that scoring uses.
fn encode_tasks(
    target: &Target,
    tokenizer: &Path,
    config: &ModelConfig,
) -> Result<Vec<EncodedTask>, StudyError> {
    if target.tasks.is_empty() {
        return Ok(Vec::new());
    }
    let longest = config.max_position_embeddings;
    let context = target.windows.context.unwrap_or(longest);
    if context == 0 || context > longest {
        return Err(StudyError::refused(format!(
            "`--context {context}`: the model's `max_position_embeddings` is {longest}"
        )));
    }
    let encoder = TaskEncoder::open(tokenizer, config.bos_token_id, context)?;
    let encoded = target.tasks.iter().map(|task| encoder.encode(task));
    encoded
        .collect::<Result<_, _>>()
        .map_err(StudyError::refused)
}

/// Scores one task.
fn score_one_task(
    model: &Transformer,
    task: &EncodedTask,
    setup: &Setup,
) -> Result<TaskScores, StudyError> {
    setup.progress.begin(Scored::Task(task.name()));
    let scores = score_task(model, task, &mut |done, all| {
        setup.progress.advance(done, all);
    })?;
    setup.progress.finish();
    Ok(scores)
}
