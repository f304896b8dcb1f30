//! `polymath interpolate`: the models between a base and a tuned checkpoint, and the best of them.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use polymath_data::{Dataset, Split, TokenShard};
use polymath_eval::WindowOptions;
use polymath_finetune::Lineage;
use polymath_finetune::retention::{Found, Interpolation, Rule, grid};
use polymath_model::{LoadOptions, Precision, TokenizerFiles};
use polymath_train::resolve_checkpoint;
use serde_json::json;

use super::evaluate::datasets;
use crate::arguments;
use crate::environment::Environment;
use crate::failure::Failure;

/// What the curve is kept in, written last: a folder with it is an interpolation's own.
const CURVE: &str = "interpolation.json";

/// Scores the curve, and writes the chosen model and the curve.
pub fn run(arguments: &arguments::Interpolate, environment: &Environment) -> Result<(), Failure> {
    let grid = grid(&arguments.alphas).map_err(Failure::usage)?;
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
    let lineage = Lineage::of(&tuned)?;
    let niche = niche(arguments, lineage.as_ref(), &domains)?;
    claim(&arguments.output).map_err(Failure::usage)?;

    let windows = WindowOptions {
        context: Some(
            arguments
                .scoring
                .context
                .unwrap_or(config.max_position_embeddings),
        ),
        stride: arguments.scoring.stride,
        max_tokens: arguments.scoring.max_tokens,
        half: None,
    };
    let options = LoadOptions::frozen(&environment.device, environment.ops(Precision::F32));
    let between =
        Interpolation::open((&base, &tuned), &domains, windows, options).map_err(Failure::usage)?;
    let rule = Rule {
        niche,
        limit: arguments.limit,
    };
    let found = between.search(&grid, &rule, arguments.per_block, &mut |point| {
        if !environment.quiet {
            let alpha = point
                .alpha
                .map_or("per block".to_owned(), |alpha| format!("α {alpha:.2}"));
            eprintln!(
                "{alpha}  {} {:.4}  old domains {:+.4}",
                rule.niche, point.development[&rule.niche], point.mean_increase
            );
        }
    })?;

    write_model(arguments, (&between, &found), &tuned)?;
    write_curve(arguments, (&base, &tuned), (&found, &rule))?;
    print!("{}", found.table(&rule));
    println!("\n{}", arguments.output.display());
    Ok(())
}

/// Writes the chosen model, and where it comes from.
fn write_model(
    arguments: &arguments::Interpolate,
    (between, found): (&Interpolation, &Found),
    tuned: &Path,
) -> Result<(), Failure> {
    let chosen = &found.points[found.chosen];
    let tokenizer = TokenizerFiles {
        tokenizer: polymath_model::tokenizer_in(tuned)?,
    };
    polymath_model::save(
        &arguments.output,
        &between.model(&chosen.shares)?,
        &tokenizer,
    )?;
    if let Some(mut lineage) = Lineage::of(tuned)? {
        let alpha = chosen
            .alpha
            .map_or("per block".to_owned(), |alpha| format!("at {alpha:.2}"));
        lineage.method = format!("{}, interpolated {alpha}", lineage.method);
        lineage.write(&arguments.output)?;
    }
    Ok(())
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
    arguments: &arguments::Interpolate,
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

/// The output folder must be new, empty, or an earlier interpolation's.
fn claim(output: &Path) -> anyhow::Result<()> {
    let occupied = output.is_dir()
        && !output.join(CURVE).is_file()
        && std::fs::read_dir(output)?.next().is_some();
    if occupied {
        return Err(anyhow!(
            "`{}` holds files but no earlier interpolation: choose another `--output`",
            output.display()
        ));
    }
    std::fs::create_dir_all(output)
        .with_context(|| format!("can't make the folder `{}`", output.display()))
}

fn write_curve(
    arguments: &arguments::Interpolate,
    (base, tuned): (&Path, &Path),
    (found, rule): (&Found, &Rule),
) -> Result<(), Failure> {
    let curve = json!({
        "schema": 1,
        "base": base,
        "tuned": tuned,
        "niche": rule.niche,
        "limit": rule.limit,
        "points": found.points,
        "chosen": found.chosen,
        "within_limit": found.within_limit,
    });
    for (name, text) in [
        ("interpolation.md", found.table(rule)),
        (CURVE, format!("{curve:#}\n")),
    ] {
        let path = arguments.output.join(name);
        std::fs::write(&path, text).with_context(|| format!("can't write `{}`", path.display()))?;
    }
    Ok(())
}
