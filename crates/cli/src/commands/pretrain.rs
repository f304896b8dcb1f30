//! `polymath pretrain`: trains a new model.

use std::path::Path;

use anyhow::Context;
use polymath_base::counted;
use polymath_model::resident_memory;
use polymath_pretrain::{PretrainConfig, Pretraining};
use polymath_study::shell_word;
use polymath_train::{Launch, Observer, Outcome, Plan, Training, memory_of};

use super::dry_run;
use crate::arguments;
use crate::console::TrainingConsole;
use crate::dashboard::{About, Dashboard, Group};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::signals::StopSignal;
use crate::{lines, peak, results};

/// Time for which the machine's peak rate is measured before a run.
const PEAK_TIME: std::time::Duration = std::time::Duration::from_millis(300);

/// Trains the model; with `--dry-run`, only prints the cost of the run.
pub fn run(arguments: &arguments::Train, environment: &Environment) -> Result<(), Failure> {
    environment.check_dashboard(arguments.dashboard)?;
    arguments.limit.start()?;
    let config: PretrainConfig = super::load_run(&arguments.config, &arguments.overrides)?;
    let folder = config.run.clone();
    let pretraining = Pretraining::open(config).map_err(Failure::usage)?;
    if arguments.dry_run {
        for share in pretraining.mixture() {
            results::line(&format!(
                "{:20} {:5.1} % of the tokens, {:.2} epochs",
                share.name,
                share.weight * 100.0,
                share.repetitions
            ))?;
        }
        let config = pretraining.config();
        let plan = fitted(pretraining.plan(), environment);
        let summary = summary(&folder, &plan, &config.training);
        results::line(&summary)?;
        for said in pretraining.choices().iter().chain(&pretraining.packings()) {
            results::line(said)?;
        }
        let disk = pretraining.disk();
        let measure = |launch: &Launch| Ok(pretraining.cost(launch)?);
        return dry_run::print((&plan, &disk), environment, measure);
    }
    for choice in pretraining.choices() {
        environment.say(choice);
    }
    let config = pretraining.config();
    let plan = fitted(pretraining.plan(), environment);
    environment.say(&summary(&folder, &plan, &config.training));
    let about = arguments.dashboard.then(|| about(&pretraining, &folder));
    let mut watcher = watcher(environment, &plan, about)?;
    let signal = StopSignal::listen();
    let outcome = pretraining.run(
        &launch(environment, arguments.resume, &signal),
        &mut *watcher,
    )?;
    drop(watcher);
    let score_name = match pretraining.mixture() {
        [only] => only.name.clone(),
        several => format!("the mean of {} domains", several.len()),
    };
    conclude(outcome, &folder, &score_name, environment)?;
    let run = shell_word(&folder.display().to_string());
    environment.say(&format!(
        "next: `polymath evaluate {run}` scores it, `polymath generate {run} --prompt TEXT` lets it write, and `polymath tune \
         {run} TEXT` or `base = \"{}\"` in a fine-tuning config specializes it",
        folder.display()
    ));
    Ok(())
}

/// Returns a sentence about a run: its folder, model, rows, steps and memory.
pub fn summary(folder: &Path, plan: &Plan, training: &Training) -> String {
    let parts = match plan.parts {
        1 => String::new(),
        parts => format!(", in {parts} parts"),
    };
    format!(
        "{}: {} parameters, {} of them trained; {} of {} of {}{parts}; about {} MB of memory",
        folder.display(),
        plan.parameters,
        plan.trainable_parameters,
        counted(plan.steps, "step"),
        counted(training.batch_size as u64, "row"),
        counted(training.sequence_length as u64, "token"),
        plan.total_bytes().saturating_add(own_memory()) / 1_000_000
    )
}

/// Returns the memory in bytes that the program takes before the model is loaded: code, tokenizer and input read so
/// far.
pub fn own_memory() -> u64 {
    resident_memory().unwrap_or(0)
}

/// Returns the plan as this machine will run it: activations are recomputed if memory would not suffice otherwise.
pub fn fitted(plan: Plan, environment: &Environment) -> Plan {
    plan.fitted(memory_of(&environment.device))
}

/// Returns the launch settings of a run.
pub fn launch(environment: &Environment, resume: bool, signal: &StopSignal) -> Launch {
    Launch {
        device: environment.device.clone(),
        implementation: environment.implementation,
        resume,
        stop: signal.flag(),
    }
}

/// Describes a pretraining for the dashboard. The trained domains and those that are only scored are separate groups.
fn about(pretraining: &Pretraining, run: &Path) -> About {
    let trained: Vec<String> = pretraining
        .mixture()
        .iter()
        .map(|share| share.name.clone())
        .collect();
    let mut watched = pretraining.watched();
    watched.retain(|name| !trained.iter().any(|other| other == name));
    let mut groups = vec![Group::new("trained on", trained)];
    if !watched.is_empty() {
        groups.push(Group::new("only watched", watched));
    }
    About {
        title: "pretraining".into(),
        run: run.to_path_buf(),
        groups,
    }
}

/// Returns the observer of a run: the dashboard if `about` is given, or else a progress line.
pub fn watcher(
    environment: &Environment,
    plan: &Plan,
    about: Option<About>,
) -> anyhow::Result<Box<dyn Observer>> {
    let peak = peak::measure(&environment.device, plan.precision, PEAK_TIME)?;
    let flops = plan.flops_per_token;
    let Some(about) = about else {
        return Ok(Box::new(TrainingConsole::new(environment, flops, peak)));
    };
    let dashboard = Dashboard::open(about, flops, peak);
    Ok(Box::new(
        dashboard.context("`--dashboard`: can't take the terminal")?,
    ))
}

/// Prints the final message of a run, and fails if the run was interrupted.
///
/// `score_name` is the domain whose score chose the best checkpoint, or the name of the mean of several domains.
pub fn conclude(
    outcome: Outcome,
    run: &Path,
    score_name: &str,
    environment: &Environment,
) -> Result<(), Failure> {
    match outcome {
        Outcome::Finished { steps, best } => {
            if !environment.quiet {
                let step = best.map_or(steps, |best| best.step);
                let bits = best.and_then(|best| best.score.bits_per_byte());
                results::announce(&format!(
                    "{}: {steps} steps done, best after step {step} with {:.4} bits per byte of {}: {}",
                    run.display(),
                    bits.unwrap_or(f64::NAN),
                    score_name,
                    run.join("best").display()
                ));
            }
            Ok(())
        }
        Outcome::Interrupted { step: 0 } => {
            lines::say(&format!(
                "{}: stopped before its first step; the same command starts it again",
                run.display()
            ));
            Err(Failure::Interrupted)
        }
        Outcome::Interrupted { step } => {
            lines::say(&format!(
                "{}: stopped and saved after step {step}; continue with `--resume`",
                run.display()
            ));
            Err(Failure::Interrupted)
        }
    }
}

#[cfg(test)]
mod tests {
    use polymath_model::EndTokens;
    use polymath_pretrain::DatasetFacts;

    use super::*;

    /// Checks every figure of the sentence about a run. The program's own memory is little beside that of the plan.
    #[test]
    fn a_run_is_told_before_it_begins() {
        let config: PretrainConfig = toml::from_str(
            "dataset = \"d\"\nrun = \"r\"\n[model]\nhidden_size = 8\nnum_hidden_layers = 1\nnum_attention_heads = 1\n\
             [training]\nsteps = 3\nbatch_size = 2\nsequence_length = 5",
        )
        .unwrap();
        let facts = DatasetFacts {
            vocab_size: 50,
            ends: EndTokens { begin: 0, end: 0 },
            epoch_tokens: 100,
            padding: 0.0,
        };
        let resolved = config.resolve(&facts).unwrap();
        let mut plan = Plan::new(resolved.architecture(), &resolved.training, 0.0, &|_| true);
        (plan.parameters, plan.trainable_parameters, plan.steps) = (7000, 5000, 30);
        (plan.state_bytes, plan.activation_bytes) = (1_000_000_000_000, 20_000_000_000_000);
        plan.retention_bytes = 300_000_000_000_000;
        let told = |plan: &Plan| summary(Path::new("runs/a"), plan, &resolved.training);
        let said = told(&plan);
        let (before, memory) = said.split_once("; about ").unwrap();
        assert_eq!(
            before,
            "runs/a: 7000 parameters, 5000 of them trained; 30 steps of 2 rows of 5 tokens"
        );
        let megabytes = memory.strip_suffix(" MB of memory").unwrap();
        let megabytes: u64 = megabytes.parse().unwrap();
        assert!(
            (321_000_001..321_100_000).contains(&megabytes),
            "{megabytes}"
        );
        plan.parts = 4;
        assert!(told(&plan).contains(" rows of 5 tokens, in 4 parts; about "));
    }
}
