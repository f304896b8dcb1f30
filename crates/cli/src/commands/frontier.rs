//! `polymath frontier`: many ways to tune one base, compared.

use std::path::Path;

use anyhow::anyhow;
use polymath_eval::WindowOptions;
use polymath_finetune::Finetuning;
use polymath_finetune::frontier::{
    Frontier, FrontierConfig, PlannedRun, RunFigures, Scored, score,
};
use polymath_train::{Launch, Outcome};

use super::pretrain::{launch, training_console};
use crate::arguments;
use crate::console::Stages;
use crate::environment::{Environment, StopSignal};
use crate::failure::Failure;

/// Trains what is not there yet, scores every run, and writes the comparison.
pub fn run(arguments: &arguments::Frontier, environment: &Environment) -> Result<(), Failure> {
    let config: FrontierConfig =
        polymath_config::load(&arguments.config, &arguments.overrides).map_err(Failure::usage)?;
    let planned = config.plan().map_err(Failure::usage)?;
    // All of them before the first: hours of work must not end in a typing error.
    let mut runs = Vec::new();
    for run in planned {
        let tuning = Finetuning::open(run.config.clone(), &Stages::new(environment))
            .map_err(|error| Failure::usage(anyhow!("`runs.{}`: {error}", run.method)))?;
        let done = tuning.is_done().map_err(Failure::usage)?;
        runs.push((run, tuning, done));
    }
    if arguments.dry_run {
        for (run, tuning, done) in &runs {
            let left = if *done { "done" } else { "to do" };
            println!(
                "{:24} {:>12} tokens  {left}",
                name_of(run),
                tuning.plan().tokens
            );
        }
        return Ok(());
    }
    std::fs::create_dir_all(&config.output)?;
    let signal = StopSignal::listen()?;
    // A run that was stopped or killed goes on where its last checkpoint stands.
    let launch = launch(environment, true, &signal);
    let count = runs.len();
    for (number, (run, tuning, done)) in runs.iter().enumerate() {
        if *done {
            continue;
        }
        if !environment.quiet {
            eprintln!("{}/{count}  {}", number + 1, name_of(run));
        }
        let mut console = training_console(environment, &tuning.plan())?;
        if let Outcome::Interrupted { .. } = tuning.run(&launch, &mut console)? {
            drop(console);
            eprintln!("stopped and saved; the same command goes on");
            return Err(Failure::Interrupted);
        }
    }
    drop(signal);
    let frontier = compare(&config, &runs, &launch, environment)?;
    let json = serde_json::to_string_pretty(&frontier)?;
    std::fs::write(config.output.join("frontier.json"), json + "\n")?;
    let text = frontier.markdown();
    std::fs::write(config.output.join("frontier.md"), &text)?;
    print!("{text}");
    println!("\n{}", config.output.join("frontier.json").display());
    Ok(())
}

fn name_of(run: &PlannedRun) -> String {
    format!("{}, seed {}", run.method, run.seed)
}

/// Scores base and runs on both halves, each once, and compares them.
fn compare(
    config: &FrontierConfig,
    runs: &[(PlannedRun, Finetuning, bool)],
    launch: &Launch,
    environment: &Environment,
) -> Result<Frontier, Failure> {
    let Some((_, first, _)) = runs.first() else {
        return Err(Failure::usage(anyhow!("a frontier without runs")));
    };
    let base = scored(first, config, (launch, environment), false)?;
    let mut figures = Vec::new();
    for (run, tuning, _) in runs {
        let tuned = scored(tuning, config, (launch, environment), true)?;
        figures.push(RunFigures::new(
            (&run.method, run.seed),
            (tuning.plan().tokens, training_seconds(&run.config.run)),
            tuning.niche(),
            (&base, &tuned),
        )?);
    }
    Ok(Frontier::new(first.niche(), config.limit, figures))
}

fn scored(
    tuning: &Finetuning,
    config: &FrontierConfig,
    (launch, environment): (&Launch, &Environment),
    tuned: bool,
) -> Result<Scored, Failure> {
    let folder = if tuned {
        tuning.best()?
    } else {
        tuning.base().to_path_buf()
    };
    let windows = WindowOptions {
        context: Some(tuning.sequence_length()),
        max_tokens: config.max_tokens,
        ..WindowOptions::default()
    };
    let data: Vec<String> = tuning
        .shards()
        .iter()
        .map(|(name, shard)| format!("{name} {}", shard.path().display()))
        .collect();
    let mut weights = polymath_model::sha256_of_weights(tuning.base())?;
    if polymath_model::is_adapter(&folder) {
        weights += &polymath_train::sha256_of(&folder.join("adapter_model.safetensors"))?;
    } else if tuned {
        weights = polymath_model::sha256_of_weights(&folder)?;
    }
    let key = format!("1 {weights} {windows:?} {data:?}");
    let file = if tuned {
        folder
            .parent()
            .unwrap_or(Path::new("."))
            .join("halves.json")
    } else {
        config.output.join("base-halves.json")
    };
    if !environment.quiet && !file.exists() {
        eprintln!("scoring {}", folder.display());
    }
    Ok(score(
        &file,
        &key,
        || tuning.load_tuned(launch, tuned),
        tuning.shards(),
        windows,
    )?)
}

/// Seconds of training of a finished run, by its own record.
fn training_seconds(run: &Path) -> f64 {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default();
    let seconds =
        |line: &str| serde_json::from_str::<serde_json::Value>(line).ok()?["seconds"].as_f64();
    text.lines().filter_map(seconds).fold(0.0, f64::max)
}
