//! `polymath export`: a checkpoint for others.

use std::path::Path;

use anyhow::anyhow;
use polymath_model::{GgufExport, GgufType};

use super::publish;
use crate::arguments::{self, GgufKind};
use crate::environment::Environment;
use crate::failure::Failure;

/// Takes the checkpoint to every place that was named.
pub fn run(arguments: &arguments::Export, environment: &Environment) -> Result<(), Failure> {
    let folder =
        polymath_train::resolve_checkpoint(&arguments.checkpoint).map_err(Failure::usage)?;
    let destination = &arguments.destination;
    refuse_what_is_of_a_card(arguments)?;
    if let Some(file) = &destination.gguf {
        to_gguf((&folder, file), arguments, environment)?;
    }
    match (&destination.push, &destination.card) {
        (Some(name), _) => publish::push((&folder, name), arguments, environment),
        (None, Some(card)) => publish::write_card((&folder, card), arguments),
        (None, None) => Ok(()),
    }
}

/// A GGUF file has no card, so what is given for one would be lost.
fn refuse_what_is_of_a_card(arguments: &arguments::Export) -> Result<(), Failure> {
    let destination = &arguments.destination;
    if destination.push.is_some() || destination.card.is_some() {
        return Ok(());
    }
    let given = [
        ("--report", arguments.report.is_some()),
        ("--license", arguments.license.is_some()),
    ];
    match given.into_iter().find(|(_, is_given)| *is_given) {
        Some((name, _)) => Err(Failure::usage(anyhow!(
            "{name} is for the model card, and none is made: add --card or --push, or leave it out"
        ))),
        None => Ok(()),
    }
}

fn to_gguf(
    (folder, file): (&Path, &Path),
    arguments: &arguments::Export,
    environment: &Environment,
) -> Result<(), Failure> {
    let base = arguments.base.as_deref();
    let tokenizer = polymath_model::tokenizer_over(folder, base).map_err(Failure::usage)?;
    let template = polymath_data::chat_template(&tokenizer).map_err(Failure::usage)?;
    let options = GgufExport {
        kind: match arguments.kind {
            GgufKind::F32 => GgufType::F32,
            GgufKind::F16 => GgufType::F16,
            GgufKind::Q8_0 => GgufType::Q8_0,
            GgufKind::Q4K => GgufType::Q4K,
        },
        chat_template: template.as_deref(),
        base,
    };
    let notes = polymath_model::export_gguf(folder, file, &options).map_err(Failure::usage)?;
    for note in notes {
        environment.say(&format!("note: {note}"));
    }
    println!("{}", file.display());
    Ok(())
}
