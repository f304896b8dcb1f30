//! `polymath merge`: merges an adapter into its base and writes a model folder.

use polymath_model::ModelSource;

use crate::arguments;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::results;

/// Merges the adapter into its base and writes the merged model.
pub fn run(arguments: &arguments::Merge, environment: &Environment) -> Result<(), Failure> {
    let folder = polymath_train::resolve_checkpoint(&arguments.adapter).map_err(Failure::usage)?;
    let base =
        polymath_train::resolve_base(&folder, arguments.base.as_deref()).map_err(Failure::usage)?;
    let source = ModelSource {
        folder: &folder,
        base: base.as_deref(),
    };
    environment.say_what_is_left_out(source)?;
    polymath_study::merge(source, &arguments.output)?;
    results::announce(&arguments.output.display().to_string());
    Ok(())
}
