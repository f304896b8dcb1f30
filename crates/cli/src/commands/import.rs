//! `polymath import`: makes a model folder from a GGUF file.

use crate::arguments;
use crate::failure::Failure;
use crate::results;

/// Reads the GGUF file and writes the model folder.
pub fn run(arguments: &arguments::Import) -> Result<(), Failure> {
    polymath_model::import_gguf(&arguments.model, &arguments.output).map_err(Failure::usage)?;
    results::announce(&arguments.output.display().to_string());
    Ok(())
}
