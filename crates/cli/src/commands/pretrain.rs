//! `polymath pretrain`.

use polymath_pretrain::{PretrainConfig, Pretraining};
use polymath_train::{Launch, Outcome, Plan};

use crate::arguments;
use crate::console::{TrainingConsole, duration};
use crate::environment::{Environment, StopSignal};
use crate::failure::Failure;
use crate::peak;

/// How long the machine's peak is looked for before a run.
const PEAK_TIME: std::time::Duration = std::time::Duration::from_millis(300);

/// Trains, or says what training would take.
pub fn run(arguments: &arguments::Train, environment: &Environment) -> Result<(), Failure> {
    let config: PretrainConfig = super::load_run(&arguments.config, &arguments.overrides)?;
    let folder = config.run.clone();
    let pretraining = Pretraining::open(config).map_err(Failure::usage)?;
    if arguments.dry_run {
        for share in pretraining.mixture() {
            println!(
                "{:20} {:5.1} % of the tokens, {:.2} times through",
                share.name,
                share.weight * 100.0,
                share.repetitions
            );
        }
        return dry_run(&pretraining.plan(), environment);
    }
    let mut console = training_console(environment, &pretraining.plan())?;
    let signal = StopSignal::listen()?;
    let outcome = pretraining.run(
        &launch(environment, arguments.resume, &signal),
        &mut console,
    )?;
    drop(console);
    conclude(outcome, &folder, environment)
}

/// How a run is started from this command line.
pub fn launch(environment: &Environment, resume: bool, signal: &StopSignal) -> Launch {
    Launch {
        device: environment.device.clone(),
        implementation: environment.implementation,
        resume,
        stop: signal.flag(),
    }
}

/// The console of a run.
pub fn training_console(
    environment: &Environment,
    plan: &Plan,
) -> Result<TrainingConsole, Failure> {
    let peak = peak::measure(&environment.device, plan.precision, PEAK_TIME)?;
    Ok(TrainingConsole::new(
        environment,
        plan.flops_per_token,
        peak,
    ))
}

/// The plan of a run, for a person.
pub fn dry_run(plan: &Plan, environment: &Environment) -> Result<(), Failure> {
    // A cautious guess, not a measurement: `polymath bench` measures the share of this model on this machine.
    const USUAL_SHARE: f64 = 0.35;
    let peak = peak::measure(&environment.device, plan.precision, PEAK_TIME)?;
    println!(
        "parameters            {:>16}  ({} of them trained)",
        plan.parameters, plan.trainable_parameters
    );
    println!("steps                 {:>16}", plan.steps);
    println!("tokens                {:>16}", plan.tokens);
    println!(
        "operations            {:>16.3e}  floating-point, at {:.3e} a token",
        plan.flops(),
        plan.flops_per_token
    );
    println!(
        "memory                {:>13} MB  of parameters, gradients and moments",
        plan.state_bytes / 1_000_000
    );
    println!(
        "                      {:>13} MB  of activations, about",
        plan.activation_bytes / 1_000_000
    );
    println!(
        "time                  {:>16}  at {:.0} % of this machine's {:.0} GFLOP/s, about",
        duration(plan.flops() / (USUAL_SHARE * peak)),
        USUAL_SHARE * 100.0,
        peak / 1e9
    );
    Ok(())
}

/// What to say at the end, and the exit code.
pub fn conclude(
    outcome: Outcome,
    run: &std::path::Path,
    environment: &Environment,
) -> Result<(), Failure> {
    match outcome {
        Outcome::Finished { steps, best } => {
            if !environment.quiet {
                println!(
                    "{}: {steps} steps done, best after step {} with {:.4} bits per byte: {}",
                    run.display(),
                    best.0,
                    best.1,
                    run.join("best").display()
                );
            }
            Ok(())
        }
        Outcome::Interrupted { step } => {
            eprintln!(
                "{}: stopped and saved after step {step}; go on with `--resume`",
                run.display()
            );
            Err(Failure::Interrupted)
        }
    }
}
