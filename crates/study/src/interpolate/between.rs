//! Base and tuned model: scores and saves the models between them, for interpolation and reset.

use std::path::{Path, PathBuf};

use polymath_data::{Dataset, HeldoutSplit, NamedShard, Split};
use polymath_eval::{Endpoints, Interpolation, Shares, WindowOptions};
use polymath_finetune::Lineage;
use polymath_model::{ModelSource, TokenizerFiles};
use polymath_train::resolve_checkpoint;

use super::Rule;
use crate::forget::Direction;
use crate::scoring::open_datasets;
use crate::{OutputFolder, Setup, StudyError};

/// Options of a study of the models between a base and a tuned model.
#[derive(Debug, Clone)]
pub struct BetweenOptions {
    /// Base checkpoint or its run folder.
    pub base: PathBuf,
    /// Tuned checkpoint or its run folder.
    pub tuned: PathBuf,
    /// Dataset folders. If empty, the datasets of the tuned checkpoint's own run.
    pub datasets: Vec<PathBuf>,
    /// Context, stride and maximum number of tokens. Both splits are scored.
    pub windows: WindowOptions,
    /// Domain of the fine-tuning. Default: the niche that the tuned run records.
    pub niche: Option<String>,
    /// Maximum mean increase over the retained domains on the dev split, in bits per byte.
    pub limit: f64,
    /// Output folder for the chosen model and the scores.
    pub output: PathBuf,
}

/// Two checkpoints, and the data on which the models between them are scored.
pub(crate) struct Between {
    /// Folder of the base.
    pub base: PathBuf,
    /// Folder of the tuned checkpoint.
    pub tuned: PathBuf,
    /// Rule that chooses one of the models between them.
    pub rule: Rule,
    /// Output folder of the study.
    pub output: OutputFolder,
    /// Note on a tuned model that was tuned from another base.
    note: Option<String>,
    domains: Vec<NamedShard>,
    windows: WindowOptions,
}

impl Between {
    /// Checks all options and claims the output folder. A folder that contains one of the files `own` is an earlier
    /// result of the same study and is replaced.
    pub fn open(options: &BetweenOptions, own: &[&str]) -> Result<Self, StudyError> {
        if !(options.limit >= 0.0 && options.limit.is_finite()) {
            return Err(StudyError::refused(format!(
                "`--limit {}`: expected bits per byte, 0 or more",
                options.limit
            )));
        }
        let base = resolve_checkpoint(&options.base).map_err(StudyError::refused)?;
        let tuned = resolve_checkpoint(&options.tuned).map_err(StudyError::refused)?;
        polymath_model::check_folder(&tuned).map_err(StudyError::refused)?;
        let direction = Direction::of(&base, std::slice::from_ref(&tuned))?;
        direction.check_differs(&tuned)?;
        let config = polymath_model::load_config(&base).map_err(StudyError::refused)?;
        let datasets = open_datasets(&options.datasets, std::slice::from_ref(&tuned))?;
        let domains = domains(&datasets, &base)?;
        let lineage = Lineage::of(&tuned)?;
        let niche = niche(options.niche.as_deref(), lineage.as_ref(), &domains)?;
        let note = lineage.and_then(|lineage| direction.note(&tuned, &lineage));
        let output = OutputFolder::again(&options.output, own)?;
        let context = options.windows.context;
        Ok(Self {
            base,
            tuned,
            rule: Rule {
                niche,
                limit: options.limit,
            },
            output,
            note,
            domains,
            windows: WindowOptions {
                context: Some(context.unwrap_or(config.max_position_embeddings)),
                split: None,
                ..options.windows
            },
        })
    }

    /// Loads the base and the tuned model. Says if the tuned model is from another base.
    pub fn models<'a>(&'a self, setup: &'a Setup) -> Result<Interpolation<'a>, StudyError> {
        if let Some(note) = &self.note {
            setup.progress.say(&format!("note: {note}"));
        }
        Interpolation::open(
            Endpoints {
                base: &self.base,
                tuned: &self.tuned,
            },
            &self.domains,
            self.windows,
            setup.frozen(),
        )
        .map_err(StudyError::refused)
    }

    /// Writes the model with the given shares, and its lineage, into the output folder. `how` describes the change to
    /// the tuned model.
    pub fn write_model(
        &self,
        models: &Interpolation,
        shares: &Shares,
        how: &str,
    ) -> Result<(), StudyError> {
        let output = self.output.path();
        let path = ModelSource::over(&self.tuned, &self.base).tokenizer()?;
        let tokenizer = TokenizerFiles::read(&path)?;
        polymath_model::save(output, &models.model(shares)?, &tokenizer)?;
        if let Some(mut lineage) = Lineage::of(&self.tuned)? {
            lineage.method = format!("{}, {how}", lineage.method);
            // The shares were chosen on this split, also if the tuned model was chosen on none.
            lineage.chosen_on = Some(HeldoutSplit::Dev);
            lineage.write(output)?;
        }
        Ok(())
    }
}

/// Returns the held-out documents of every domain. Domains of one name have the same documents in all datasets.
fn domains(datasets: &[Dataset], base: &Path) -> Result<Vec<NamedShard>, StudyError> {
    let tokenizer = polymath_model::tokenizer_in(base)?;
    let config = polymath_model::load_config(base)?;
    let mut domains: Vec<NamedShard> = Vec::new();
    for dataset in datasets {
        dataset
            .check_fits(&tokenizer, config.document_ends())
            .map_err(StudyError::refused)?;
        for name in dataset.domain_names() {
            if domains.iter().all(|known| known.name != name) {
                domains.push(NamedShard {
                    name: name.to_owned(),
                    shard: dataset.shard(name, Split::Heldout)?,
                });
            }
        }
    }
    Ok(domains)
}

/// Returns the niche. Fails unless it is among the domains and there is at least one retained domain.
fn niche(
    given: Option<&str>,
    lineage: Option<&Lineage>,
    domains: &[NamedShard],
) -> Result<String, StudyError> {
    let given = given.map(str::to_owned);
    let niche = given.or(lineage.map(|lineage| lineage.niche.clone()));
    let names: Vec<&str> = domains.iter().map(|domain| domain.name.as_str()).collect();
    let known = names.join("`, `");
    let Some(niche) = niche else {
        return Err(StudyError::refused(format!(
            "the niche is unknown: give `--niche`, one of `{known}`"
        )));
    };
    if !names.contains(&niche.as_str()) {
        return Err(StudyError::refused(format!(
            "the niche `{niche}` is in none of the datasets, which have `{known}`: name it with `--niche`, or give \
             its `--dataset`"
        )));
    }
    if names.len() == 1 {
        return Err(StudyError::refused(format!(
            "the datasets have only the niche `{niche}`: give a `--dataset` with the retained domains"
        )));
    }
    Ok(niche)
}
