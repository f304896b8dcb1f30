//! `polymath serve`: serves a model through an OpenAI-compatible API.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use anyhow::anyhow;
use polymath_serve::ServeConfig;

use super::answers;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::signals::StopSignal;
use crate::{arguments, lines};

/// Maximum of `--queue`: as many requests, each of them in memory, are never meant.
const MOST_WAITING: usize = 1_000_000;

/// Serves the model until a signal stops it.
pub fn run(arguments: &arguments::Serve, environment: &Environment) -> Result<(), Failure> {
    if arguments.queue > MOST_WAITING {
        return Err(Failure::usage(anyhow!(
            "`--queue {}`: expected at most {MOST_WAITING}",
            arguments.queue
        )));
    }
    // The port is bound before the model is loaded, which may take minutes.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, arguments.port)).map_err(|error| {
        Failure::usage(anyhow!(
            "`--port {}`: can't listen there ({error}): choose another one, or 0 for a free one",
            arguments.port
        ))
    })?;
    let address = listener.local_addr()?;
    let model = answers::open(&arguments.model, arguments.base.as_deref(), environment)?;
    let config = ServeConfig {
        name: arguments
            .name
            .clone()
            .unwrap_or_else(|| name(&arguments.model)),
        sampling: answers::sampling(&model, &arguments.sampling)?,
        queue: arguments.queue,
    };
    if !model.has_template() {
        environment.say("no chat template: `/v1/completions` alone is answered");
    }
    // The address is the result of the command, so quiet mode prints it too.
    lines::say(&format!(
        "serving `{}` at http://{address}/v1; Ctrl-C ends it",
        config.name
    ));
    let stop = StopSignal::serve();
    Ok(polymath_serve::serve(
        listener,
        &model,
        &config,
        &stop.flag(),
    )?)
}

/// Returns the served model's default name: the last part of its path other than `best` and `latest`, so that
/// `<run>/best` is named after the run.
fn name(model: &Path) -> String {
    let parts: Vec<&str> = model
        .iter()
        .filter_map(|part| part.to_str())
        .filter(|part| !matches!(*part, "best" | "latest" | "/" | "." | ".."))
        .collect();
    parts.last().map_or("polymath".into(), ToString::to_string)
}
