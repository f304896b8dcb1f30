//! The command line: arguments in, exit code out.

mod arguments;
mod commands;
mod console;
mod dashboard;
mod environment;
mod failure;
mod home;
mod lines;
mod peak;
mod results;
mod signals;

use std::borrow::Cow;
use std::process::ExitCode;

use clap::Parser;
use polymath_report::untrusted::printable;

use arguments::{Arguments, Command};
use environment::Environment;
use failure::Failure;

/// Runs the command that the process was started with.
///
/// The exit code is 0 when done, 1 when it failed, 2 for wrong usage or configuration, 3 when a retention limit was
/// broken, and 130 when it was interrupted and had saved.
pub fn run() -> ExitCode {
    let done = parse().and_then(|arguments| dispatch(&arguments));
    // A command that has done its work has failed all the same if its results could not be told.
    let failures: Vec<Failure> = done.err().into_iter().chain(results::lost()).collect();
    for message in failures.iter().filter_map(Failure::message) {
        lines::say(&format!("error: {message}"));
    }
    match failures.first() {
        Some(failure) => ExitCode::from(failure.code()),
        None => ExitCode::SUCCESS,
    }
}

/// The parser of the command line, for programs that describe it: the reference page, completions.
#[doc(hidden)]
pub fn command() -> clap::Command {
    <Arguments as clap::CommandFactory>::command()
}

/// Reads the process's arguments. Help and mistakes are told like everything else: `| head` and a full disk are known.
fn parse() -> Result<Arguments, Failure> {
    Arguments::try_parse_from(home::at_home(std::env::args_os())).map_err(|error| {
        let text = error.render();
        // The names of files that the shell put in for a pattern may hold escape sequences.
        let harmless = std::env::args_os()
            .all(|argument| matches!(printable(&argument.to_string_lossy()), Cow::Borrowed(_)));
        let told = match (error.use_stderr(), harmless) {
            (true, true) if lines::is_colored() => {
                lines::say_styled(text.ansi().to_string().trim_end());
                Ok(())
            }
            (true, _) => {
                lines::say(text.to_string().trim_end());
                Ok(())
            }
            (false, true) if results::is_colored() => {
                results::print_styled(&text.ansi().to_string())
            }
            (false, _) => results::print(&text.to_string()),
        };
        told.err()
            .unwrap_or_else(|| Failure::Told(error.exit_code().try_into().unwrap_or(2)))
    })
}

fn dispatch(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.global.ops != arguments::OpsChoice::Reference {
        polymath_model::calm_candle();
    }
    polymath_model::keep_freed_memory();
    signals::install()?;
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
        Command::Tokenizer(arguments) => commands::tokenizer::run(arguments),
        Command::Evaluate(arguments) => commands::evaluate::run(arguments, environment),
        Command::Forget(arguments) => commands::forget::run(arguments, environment),
        Command::Interpolate(arguments) => commands::interpolate::run(arguments, environment),
        Command::Revert(arguments) => commands::revert::run(arguments, environment),
        Command::Frontier(arguments) => commands::frontier::run(arguments, environment),
        Command::Transfer(arguments) => commands::transfer::run(arguments, environment),
        Command::Generate(arguments) => commands::generate::run(arguments, environment),
        Command::Merge(arguments) => commands::merge::run(arguments, environment),
        Command::Export(arguments) => commands::export::run(arguments, environment),
        Command::Import(arguments) => commands::import::run(arguments),
        Command::Dataset(command) => commands::dataset::run(command),
        Command::Bench(arguments) => commands::bench::run(arguments, environment),
        Command::Demo(arguments) => commands::demo::run(arguments, environment),
    }
}
