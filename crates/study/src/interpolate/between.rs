//! A base, a model tuned from it, and how those between them are scored and saved: what interpolation and reset share.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use polymath_data::{Dataset, Split, TokenShard};
use polymath_eval::{Interpolation, Shares, WindowOptions};
use polymath_finetune::Lineage;
use polymath_model::TokenizerFiles;
use polymath_train::resolve_checkpoint;

use super::Rule;
use crate::scoring::open_datasets;
use crate::{OutputFolder, Setup, StudyError};

/// Options of a study of the models between two.
#[derive(Debug, Clone)]
pub struct BetweenOptions {
    /// The checkpoint that the tuned one started from, or its run folder.
    pub base: PathBuf,
    /// The tuned checkpoint, or its run folder.
    pub tuned: PathBuf,
    /// Folders of datasets; if empty, those of the tuned checkpoint's own run.
    pub datasets: Vec<PathBuf>,
    /// Context, stride and bound on tokens; both splits are scored.
    pub windows: WindowOptions,
    /// The domain that was tuned for; by default what the tuned run says.
    pub niche: Option<String>,
    /// Highest mean rise of the retained domains on the dev split, in bits per byte.
    pub limit: f64,
    /// Folder for the chosen model and the figures.
    pub output: PathBuf,
}

/// Two checkpoints and what the models between them are scored on.
pub(crate) struct Between {
    /// The base's folder.
    pub base: PathBuf,
    /// The tuned checkpoint's.
    pub tuned: PathBuf,
    /// Chooses a model between them.
    pub rule: Rule,
    /// The folder of the result.
    pub output: OutputFolder,
    domains: Vec<(String, Arc<TokenShard>)>,
    windows: WindowOptions,
}

impl Between {
    /// Checks everything, and claims the output folder, in which `own` tells an earlier result of the same study.
    pub fn open(options: &BetweenOptions, own: &str) -> Result<Self, StudyError> {
        if !(options.limit >= 0.0 && options.limit.is_finite()) {
            return Err(StudyError::refused(format!(
                "`--limit {}`: expected bits per byte, 0 or more",
                options.limit
            )));
        }
        let base = resolve_checkpoint(&options.base).map_err(StudyError::refused)?;
        let tuned = resolve_checkpoint(&options.tuned).map_err(StudyError::refused)?;
        let config = polymath_model::load_config(&base).map_err(StudyError::refused)?;
        let datasets = open_datasets(&options.datasets, std::slice::from_ref(&tuned))?;
        let domains = domains(&datasets, &base)?;
        let lineage = Lineage::of(&tuned)?;
        let niche = niche(options.niche.as_deref(), lineage.as_ref(), &domains)?;
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
            domains,
            windows: WindowOptions {
                context: Some(context.unwrap_or(config.max_position_embeddings)),
                split: None,
                ..options.windows
            },
        })
    }

    /// Loads both ends.
    pub fn models<'a>(&'a self, setup: &'a Setup) -> Result<Interpolation<'a>, StudyError> {
        Interpolation::open(
            (&self.base, &self.tuned),
            &self.domains,
            self.windows,
            setup.frozen(),
        )
        .map_err(StudyError::refused)
    }

    /// Writes the model at `shares` into the output, and its lineage: `how` it was made of the tuned one.
    pub fn write_model(
        &self,
        (models, shares): (&Interpolation, &Shares),
        how: &str,
    ) -> Result<(), StudyError> {
        let output = self.output.path();
        let path = polymath_model::tokenizer_over(&self.tuned, Some(&self.base))?;
        let tokenizer = TokenizerFiles::read(&path)?;
        polymath_model::save(output, &models.model(shares)?, &tokenizer)?;
        if let Some(mut lineage) = Lineage::of(&self.tuned)? {
            lineage.method = format!("{}, {how}", lineage.method);
            lineage.write(output)?;
        }
        Ok(())
    }
}

/// The held-out documents of every domain, the first data set's where two have one of the same name.
fn domains(
    datasets: &[Dataset],
    base: &Path,
) -> Result<Vec<(String, Arc<TokenShard>)>, StudyError> {
    let tokenizer = polymath_model::tokenizer_in(base)?;
    let config = polymath_model::load_config(base)?;
    let mut domains: Vec<(String, Arc<TokenShard>)> = Vec::new();
    for dataset in datasets {
        dataset
            .check_fits(&tokenizer, (config.bos_token_id, config.eos_token_id))
            .map_err(StudyError::refused)?;
        for name in dataset.domain_names() {
            if domains.iter().all(|(known, _)| known != name) {
                domains.push((name.to_owned(), dataset.shard(name, Split::Heldout)?));
            }
        }
    }
    Ok(domains)
}

/// The domain that was tuned for, which must be there and not alone.
fn niche(
    given: Option<&str>,
    lineage: Option<&Lineage>,
    domains: &[(String, Arc<TokenShard>)],
) -> Result<String, StudyError> {
    let given = given.map(str::to_owned);
    let niche = given.or(lineage.map(|lineage| lineage.niche.clone()));
    let names: Vec<&str> = domains.iter().map(|(name, _)| name.as_str()).collect();
    let known = names.join("`, `");
    let Some(niche) = niche else {
        return Err(StudyError::refused(format!(
            "nothing says which domain was tuned for: give `--niche`, one of `{known}`"
        )));
    };
    if !names.contains(&niche.as_str()) {
        return Err(StudyError::refused(format!(
            "the niche `{niche}` is in none of the data sets, which have `{known}`: name it with `--niche`, or give \
             its `--dataset`"
        )));
    }
    if names.len() == 1 {
        return Err(StudyError::refused(format!(
            "the data sets have only the niche `{niche}`: give a `--dataset` with the old domains, whose rise is limited"
        )));
    }
    Ok(niche)
}
