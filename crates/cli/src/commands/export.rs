//! `polymath export`: a checkpoint for another program.

use std::path::Path;

use polymath_model::{GgufExport, GgufType};

use crate::arguments::{self, GgufKind};
use crate::environment::Environment;
use crate::failure::Failure;

/// Takes the checkpoint to every place that was named.
pub fn run(arguments: &arguments::Export, environment: &Environment) -> Result<(), Failure> {
    let folder =
        polymath_train::resolve_checkpoint(&arguments.checkpoint).map_err(Failure::usage)?;
    if let Some(file) = &arguments.destination.gguf {
        to_gguf((&folder, file), arguments, environment)?;
    }
    Ok(())
}

fn to_gguf(
    (folder, file): (&Path, &Path),
    arguments: &arguments::Export,
    environment: &Environment,
) -> Result<(), Failure> {
    let tokenizer = polymath_model::tokenizer_in(folder).map_err(Failure::usage)?;
    let template = polymath_data::chat_template(&tokenizer).map_err(Failure::usage)?;
    let options = GgufExport {
        kind: match arguments.kind {
            GgufKind::F32 => GgufType::F32,
            GgufKind::F16 => GgufType::F16,
            GgufKind::Q8_0 => GgufType::Q8_0,
            GgufKind::Q4K => GgufType::Q4K,
        },
        chat_template: template.as_deref(),
        base: arguments.base.as_deref(),
    };
    let notes = polymath_model::export_gguf(folder, file, &options).map_err(Failure::usage)?;
    for note in notes {
        environment.say(&format!("note: {note}"));
    }
    println!("{}", file.display());
    Ok(())
}
