//! Command line: parses the arguments, runs the command, and returns the exit code.

mod arguments;
mod commands;
mod console;
#[cfg(feature = "dashboard")]
mod dashboard;
#[cfg(not(feature = "dashboard"))]
#[path = "dashboard_left_out.rs"]
mod dashboard;
mod environment;
mod failure;
mod home;
mod key_hint;
mod lines;
mod peak;
mod results;
mod signals;

use std::borrow::Cow;
use std::process::ExitCode;

use clap::FromArgMatches;
use polymath_report::untrusted::printable;

use arguments::{Arguments, Command, help};
use environment::Environment;
use failure::Failure;

/// Runs the command that the process was started with.
///
/// Returns exit code 0 for success, 1 for failure, 2 for wrong usage or configuration, 3 for a broken forgetting
/// limit, 4 for an undecided one, 5 for an audit whose comparison is invalid, 75 for a run that was saved when its time
/// was up, and 130 for a run that was interrupted and saved.
pub fn run() -> ExitCode {
    let done = parse().and_then(|arguments| dispatch(&arguments));
    // A command fails if its results could not be printed, even if its work is done.
    let failures: Vec<Failure> = done.err().into_iter().chain(results::lost()).collect();
    for message in failures.iter().filter_map(Failure::message) {
        lines::say(&format!("error: {message}"));
    }
    match failures.first() {
        Some(failure) => ExitCode::from(failure.code()),
        None => ExitCode::SUCCESS,
    }
}

/// Returns the parser of the command line, for the reference page.
#[doc(hidden)]
pub fn command() -> clap::Command {
    help::command()
}

/// Parses the process's arguments. Help and errors are printed like all output, so that `| head` and a full disk are
/// handled.
fn parse() -> Result<Arguments, Failure> {
    let mut command = help::command();
    let parsed = command
        .try_get_matches_from_mut(home::at_home(std::env::args_os()))
        .and_then(|mut matches| {
            Arguments::from_arg_matches_mut(&mut matches)
                .map_err(|error| error.format(&mut command))
        });
    parsed.map_err(|error| {
        if let Some(hint) = key_hint::of(&error, std::env::args()) {
            return Failure::usage(anyhow::anyhow!(hint));
        }
        let text = error.render();
        // File names that the shell substituted for a pattern may contain escape sequences.
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
        polymath_model::quiet_candle_threads();
    }
    polymath_model::keep_freed_memory();
    signals::install()?;
    let environment = Environment::new(&arguments.global)?;
    // Runs on a thread of rayon's pool: parallel work begins there at once, and sleeping threads wake only to help.
    // Outside the pool, every product would wait for a thread to wake.
    rayon::scope(|_| run_command(&arguments.command, &environment))
}

fn run_command(command: &Command, environment: &Environment) -> Result<(), Failure> {
    match command {
        Command::Tune(arguments) => commands::tune::run(arguments, environment),
        Command::Init(arguments) => commands::init::run(arguments, environment),
        Command::Config(arguments) => commands::init::print_schema(arguments),
        Command::Prepare(arguments) => commands::prepare::run(arguments, environment),
        Command::Pretrain(arguments) => commands::pretrain::run(arguments, environment),
        Command::Finetune(arguments) => commands::finetune::run(arguments, environment),
        Command::Tokenizer(arguments) => commands::tokenizer::run(arguments),
        Command::Evaluate(arguments) => commands::evaluate::run(arguments, environment),
        Command::Report(arguments) => commands::report::run(arguments, environment),
        Command::Audit(arguments) => commands::audit::run(arguments, environment),
        Command::Interpolate(arguments) => commands::interpolate::run(arguments, environment),
        Command::Reset(arguments) => commands::reset::run(arguments, environment),
        Command::Frontier(arguments) => commands::frontier::run(arguments, environment),
        Command::Transfer(arguments) => commands::transfer::run(arguments, environment),
        Command::Generate(arguments) => commands::generate::run(arguments, environment),
        Command::Chat(arguments) => commands::chat::run(arguments, environment),
        #[cfg(feature = "serve")]
        Command::Serve(arguments) => commands::serve::run(arguments, environment),
        #[cfg(not(feature = "serve"))]
        Command::Serve(_) => Err(Failure::usage(anyhow::anyhow!(
            "`serve`: this program was built without the server: build it with `--features serve`"
        ))),
        Command::Merge(arguments) => commands::merge::run(arguments, environment),
        Command::Export(arguments) => commands::export::run(arguments, environment),
        Command::Import(arguments) => commands::import::run(arguments),
        Command::Dataset(command) => commands::dataset::run(command),
        Command::Runs(arguments) => commands::runs::run(arguments, environment),
        Command::Bench(arguments) => commands::bench::run(arguments, environment),
        Command::Completions(arguments) => commands::completions::print(arguments),
        Command::ManPages(arguments) => commands::completions::write_man_pages(arguments),
        Command::Demo(arguments) => commands::demo::run(arguments, environment),
    }
}
