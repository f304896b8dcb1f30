//! `polymath export`: writes a checkpoint as GGUF or pushes it to the hub.

use std::path::Path;

use polymath_model::{GgufType, ModelSource};

use super::publish;
use crate::arguments::{self, GgufKind};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::results;

/// Exports the checkpoint to every given destination.
pub fn run(arguments: &arguments::Export, environment: &Environment) -> Result<(), Failure> {
    let folder =
        polymath_train::resolve_checkpoint(&arguments.checkpoint).map_err(Failure::usage)?;
    let destination = &arguments.destination;
    if let Some(file) = destination.gguf.as_ref().filter(|_| !arguments.dry_run) {
        to_gguf(&folder, file, arguments, environment)?;
    }
    match (&destination.push, &destination.card) {
        (Some(name), _) => publish::push(&folder, name, arguments, environment),
        (None, Some(card)) => publish::write_card(&folder, card, arguments),
        (None, None) => Ok(()),
    }
}

fn to_gguf(
    folder: &Path,
    file: &Path,
    arguments: &arguments::Export,
    environment: &Environment,
) -> Result<(), Failure> {
    let base =
        polymath_train::resolve_base(folder, arguments.base.as_deref()).map_err(Failure::usage)?;
    let source = ModelSource {
        folder,
        base: base.as_deref(),
    };
    let kind = match arguments.kind {
        GgufKind::F32 => GgufType::F32,
        GgufKind::F16 => GgufType::F16,
        GgufKind::Q8_0 => GgufType::Q8_0,
        GgufKind::Q4K => GgufType::Q4K,
    };
    let notes = polymath_study::write_gguf(source, file, kind)?;
    for note in notes {
        environment.say(&format!("note: {note}"));
    }
    results::announce(&file.display().to_string());
    Ok(())
}
