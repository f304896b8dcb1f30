//! What `interpolate` and `revert` share: a base, a model tuned from it, and how those between them are scored and kept.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::anyhow;
use polymath_data::{Dataset, Split, TokenShard};
use polymath_eval::WindowOptions;
use polymath_finetune::Lineage;
use polymath_finetune::retention::{Interpolation, Rule, Shares};
use polymath_model::{LoadOptions, Precision, TokenizerFiles};
use polymath_train::resolve_checkpoint;

use super::evaluate::datasets;
use super::output::Output;
use crate::arguments;
use crate::environment::Environment;
use crate::failure::Failure;

/// Two checkpoints and what they are scored on.
pub struct Between {
    /// The base's folder.
    pub base: PathBuf,
    /// The tuned checkpoint's.
    pub tuned: PathBuf,
    /// What a model between them is chosen by.
    pub rule: Rule,
    /// The folder of the result.
    pub output: Output,
    domains: Vec<(String, Arc<TokenShard>)>,
    windows: WindowOptions,
}

impl Between {
    /// Checks everything, and claims the output folder, in which `own` tells an earlier result of the same command.
    pub fn open(arguments: &arguments::Between, own: &str) -> Result<Self, Failure> {
        if !(arguments.limit >= 0.0 && arguments.limit.is_finite()) {
            return Err(Failure::usage(anyhow!(
                "`--limit {}`: expected bits per byte, 0 or more",
                arguments.limit
            )));
        }
        let base = resolve_checkpoint(&arguments.base).map_err(Failure::usage)?;
        let tuned = resolve_checkpoint(&arguments.tuned).map_err(Failure::usage)?;
        let config = polymath_model::load_config(&base).map_err(Failure::usage)?;
        let datasets = datasets(&arguments.scoring, std::slice::from_ref(&tuned))?;
        let domains = domains(&datasets, &base)?;
        let niche = niche(arguments, Lineage::of(&tuned)?.as_ref(), &domains)?;
        let output = Output::again(&arguments.output, own).map_err(Failure::Usage)?;
        let scoring = &arguments.scoring;
        Ok(Self {
            base,
            tuned,
            rule: Rule {
                niche,
                limit: arguments.limit,
            },
            output,
            domains,
            windows: WindowOptions {
                context: Some(scoring.context.unwrap_or(config.max_position_embeddings)),
                stride: scoring.stride,
                max_tokens: scoring.max_tokens,
                split: None,
            },
        })
    }

    /// The models between them.
    pub fn models(&self, environment: &Environment) -> Result<Interpolation<'_>, Failure> {
        let options = LoadOptions::frozen(&environment.device, environment.ops(Precision::F32));
        Interpolation::open(
            (&self.base, &self.tuned),
            &self.domains,
            self.windows,
            options,
        )
        .map_err(Failure::usage)
    }

    /// Writes the model at `shares` into the output, and where it comes from: `how` it was made of the tuned one.
    pub fn write_model(
        &self,
        (models, shares): (&Interpolation, &Shares),
        how: &str,
    ) -> Result<(), Failure> {
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
fn domains(datasets: &[Dataset], base: &Path) -> Result<Vec<(String, Arc<TokenShard>)>, Failure> {
    let tokenizer = polymath_model::tokenizer_in(base)?;
    let config = polymath_model::load_config(base)?;
    let mut domains: Vec<(String, Arc<TokenShard>)> = Vec::new();
    for dataset in datasets {
        dataset
            .check_fits(&tokenizer, (config.bos_token_id, config.eos_token_id))
            .map_err(Failure::usage)?;
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
    arguments: &arguments::Between,
    lineage: Option<&Lineage>,
    domains: &[(String, Arc<TokenShard>)],
) -> Result<String, Failure> {
    let given = arguments.niche.clone();
    let niche = given.or(lineage.map(|lineage| lineage.niche.clone()));
    let names: Vec<&str> = domains.iter().map(|(name, _)| name.as_str()).collect();
    let known = names.join("`, `");
    let Some(niche) = niche else {
        return Err(Failure::usage(anyhow!(
            "nothing says which domain was tuned for: give `--niche`, one of `{known}`"
        )));
    };
    if !names.contains(&niche.as_str()) {
        return Err(Failure::usage(anyhow!(
            "the niche `{niche}` is in none of the data sets, which have `{known}`: name it with `--niche`, or give \
             its `--dataset`"
        )));
    }
    if names.len() == 1 {
        return Err(Failure::usage(anyhow!(
            "the data sets have only the niche `{niche}`: give a `--dataset` with the old domains, whose rise is limited"
        )));
    }
    Ok(niche)
}
