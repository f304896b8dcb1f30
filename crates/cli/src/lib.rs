//! The command line: arguments in, exit code out.

mod arguments;
mod card;
mod commands;
mod console;
mod dashboard;
mod environment;
mod failure;
mod home;
mod lines;
mod peak;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};
use environment::Environment;
use failure::Failure;

/// Runs the command that the process was started with.
///
/// The exit code is 0 when done, 1 when it failed, 2 for wrong usage or configuration, 3 when a retention limit was
/// broken, and 130 when it was interrupted and had saved.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse_from(home::at_home(std::env::args_os()));
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(message) = failure.message() {
                lines::say(&format!("error: {message}"));
            }
            ExitCode::from(failure.code())
        }
    }
}

fn dispatch(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.global.ops != arguments::OpsChoice::Composed {
        polymath_model::calm_candle();
    }
    polymath_model::keep_freed_memory();
    let environment = Environment::new(&arguments.global)?;
    // On a thread of the pool: what is split into tasks then begins here, at once, and a thread that sleeps is woken
    // only to help. From outside the pool, every product would wait for one to wake.
    rayon::scope(|_| run_command(&arguments.command, &environment))
}

fn run_command(command: &Command, environment: &Environment) -> Result<(), Failure> {
    match command {
        Command::Prepare(arguments) => commands::prepare::run(arguments, environment),
        Command::Pretrain(arguments) => commands::pretrain::run(arguments, environment),
        Command::Finetune(arguments) => commands::finetune::run(arguments, environment),
        Command::Evaluate(arguments) => commands::evaluate::run(arguments, environment),
        Command::Forget(arguments) => commands::forget::run(arguments, environment),
        Command::Interpolate(arguments) => commands::interpolate::run(arguments, environment),
        Command::Revert(arguments) => commands::revert::run(arguments, environment),
        Command::Frontier(arguments) => commands::frontier::run(arguments, environment),
        Command::Transfer(arguments) => commands::transfer::run(arguments, environment),
        Command::Generate(arguments) => commands::generate::run(arguments, environment),
        Command::Merge(arguments) => commands::merge::run(arguments),
        Command::Export(arguments) => commands::export::run(arguments, environment),
        Command::Import(arguments) => commands::import::run(arguments),
        Command::Dataset(command) => commands::dataset::run(command),
        Command::Bench(arguments) => commands::bench::run(arguments, environment),
        Command::Demo(arguments) => commands::demo::run(arguments, environment),
    }
}
