//! `polymath finetune`: fine-tuning of a checkpoint on a niche.

use std::path::Path;

use polymath_config::toml_key;
use polymath_eval::statistics::LimitVerdict;
use polymath_finetune::retention::{LimitsConfig, LimitsVerdict};
use polymath_finetune::{Ending, FinetuneConfig, Finetuning};
use polymath_model::ModelSource;
use polymath_study::shell_word;
use polymath_train::{Launch, Outcome};

use super::pretrain::{conclude, fitted, launch, summary, watcher};
use super::{dry_run, prepare};
use crate::arguments;
use crate::console::Stages;
use crate::dashboard::{About, Group};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::signals::StopSignal;
use crate::{lines, results};

/// Fine-tunes the checkpoint; with `--dry-run`, only prints the cost of the run.
pub fn run(
    arguments::Finetune {
        train: arguments,
        limits,
    }: &arguments::Finetune,
    environment: &Environment,
) -> Result<(), Failure> {
    environment.check_dashboard(arguments.dashboard)?;
    arguments.limit.start()?;
    let mut overrides = arguments.overrides.clone();
    overrides.extend(limits.iter().flat_map(as_overrides));
    let config: FinetuneConfig = super::load_run(&arguments.config, &overrides)?;
    let folder = config.run.clone();
    let stages = Stages::new(environment);
    if arguments.dry_run {
        return inspect(config, &stages, environment);
    }
    let finetuning = Finetuning::open(config, &stages).map_err(Failure::usage)?;
    environment.say_what_is_left_out(ModelSource::of(finetuning.base()))?;
    let remarks = remarks(&finetuning);
    if !remarks.is_empty() {
        environment.say(remarks.trim_end());
    }
    for choice in finetuning.choices().iter().chain(&finetuning.generation()) {
        environment.say(choice);
    }
    let config = finetuning.config();
    let plan = fitted(finetuning.plan(), environment);
    environment.say(&summary(&folder, &plan, &config.training));
    let about = arguments
        .dashboard
        .then(|| about("fine-tuning", &finetuning, &folder));
    let mut watcher = watcher(environment, &plan, about)?;
    let signal = StopSignal::listen();
    let launch = launch(environment, arguments.resume, &signal);
    let Ending { outcome, verdict } = finetuning.run(&launch, &mut *watcher)?;
    drop(watcher);
    if let Some(verdict) = verdict {
        return conclude_judged(&finetuning, &verdict, outcome, environment);
    }
    let last = plan.steps;
    if finetuning.is_limited() && outcome == (Outcome::Interrupted { step: last }) {
        lines::say(&format!(
            "{}: stopped before the verdict on its limits; continue with `--resume`",
            folder.display()
        ));
        return Err(Failure::Interrupted);
    }
    conclude(outcome, &folder, finetuning.niche(), environment)?;
    environment.say(&next(finetuning.named_base(), &folder));
    Ok(())
}

/// Prints the cost of a run without starting it.
fn inspect(
    config: FinetuneConfig,
    stages: &Stages,
    environment: &Environment,
) -> Result<(), Failure> {
    let folder = config.run.clone();
    let finetuning = Finetuning::inspect(config, stages).map_err(Failure::usage)?;
    environment.say_what_is_left_out(ModelSource::of(finetuning.base()))?;
    results::line(&format!(
        "niche: {}; watched: {}",
        finetuning.niche(),
        finetuning.watched().join(", ")
    ))?;
    results::print(&remarks(&finetuning))?;
    print_cost(&finetuning, &folder, environment)
}

/// Prints the end of a run under limits. Fails with the exit code of the verdict.
fn conclude_judged(
    finetuning: &Finetuning,
    verdict: &LimitsVerdict,
    outcome: Outcome,
    environment: &Environment,
) -> Result<(), Failure> {
    let folder = finetuning.run_folder();
    results::announce(&verdict.to_string());
    if verdict.verdict() == LimitVerdict::Broken {
        return Err(Failure::LimitBroken);
    }
    if verdict.judged.mixed.is_some() {
        // `best` is a mixture with the base instead of a checkpoint of the run.
        results::announce(&folder.join("best").display().to_string());
    } else {
        conclude(outcome, folder, finetuning.niche(), environment)?;
    }
    environment.say(&next(finetuning.named_base(), folder));
    match verdict.verdict() {
        LimitVerdict::Undecided => Err(Failure::LimitUndecided),
        LimitVerdict::Kept | LimitVerdict::Broken => Ok(()),
    }
}

/// Returns a sentence with the commands that show what a run learned and forgot.
fn next(base: &Path, run: &Path) -> String {
    let [base, run] = [base, run].map(|path| shell_word(&path.display().to_string()));
    format!(
        "next: `polymath report {base} {run} -o report` says what it gained and forgot, and `polymath chat {run} {base}` talks \
         with both"
    )
}

/// Returns the remarks that `prepare` makes about the niche's dataset, with the keys that a `finetune` config has for
/// them.
fn remarks(finetuning: &Finetuning) -> String {
    let niche = finetuning.niche();
    let manifest = finetuning.niche_manifest();
    // A fine-tuning has keys of its own for what `prepare` reads from the table of a domain.
    let key = format!("`domains.{}.", toml_key(niche));
    manifest.map_or(String::new(), |domain| {
        prepare::remarks(niche, domain).replace(&key, "`")
    })
}

/// Describes a fine-tuning for the dashboard. The niche and the retained domains are separate groups.
pub fn about(title: &str, tuning: &Finetuning, run: &Path) -> About {
    let (niche, watched) = (tuning.niche(), tuning.watched());
    let retained: Vec<&str> = watched.into_iter().filter(|name| *name != niche).collect();
    let mut groups = vec![Group::new("niche", [niche])];
    if !retained.is_empty() {
        groups.push(Group::new("retained", retained));
    }
    About {
        title: title.to_owned(),
        run: run.to_path_buf(),
        groups,
    }
}

/// Prints the settings that the run in `folder` would have, and its cost in memory, disk and time.
pub fn print_cost(
    finetuning: &Finetuning,
    folder: &Path,
    environment: &Environment,
) -> Result<(), Failure> {
    let config = finetuning.config();
    let plan = fitted(finetuning.plan(), environment);
    results::line(&summary(folder, &plan, &config.training))?;
    let generation = finetuning.generation();
    let said = finetuning.choices().iter().chain(&generation);
    for said in said.chain(&finetuning.packings()) {
        results::line(said)?;
    }
    let measure = |launch: &Launch| Ok(finetuning.cost(launch)?);
    dry_run::print((&plan, &finetuning.disk()), environment, measure)
}

/// Converts limits to overrides of the config.
fn as_overrides(limits: &LimitsConfig) -> Vec<String> {
    let limits = limits.iter();
    limits
        .map(|(domain, limit)| format!("retention.limits.{}={limit:?}", toml_key(domain)))
        .collect()
}
