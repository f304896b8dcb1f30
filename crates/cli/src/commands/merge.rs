//! `polymath merge`: merges an adapter into its base and writes a model folder.

use anyhow::anyhow;
use polymath_finetune::Lineage;
use polymath_model::{ModelSource, TokenizerFiles, is_adapter};

use crate::arguments;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::results;
use polymath_study::OutputFolder;

/// Writes the merged model.
pub fn run(arguments: &arguments::Merge, environment: &Environment) -> Result<(), Failure> {
    let folder = polymath_train::resolve_checkpoint(&arguments.adapter).map_err(Failure::usage)?;
    if !is_adapter(&folder) {
        return Err(Failure::usage(anyhow!(
            "`{}` is not an adapter: expected a checkpoint of a `lora` or `dora` run, with an `adapter_config.json`",
            folder.display()
        )));
    }
    let output = &arguments.output;
    let made = OutputFolder::new(output).map_err(Failure::usage)?;
    let base =
        polymath_train::resolve_base(&folder, arguments.base.as_deref()).map_err(Failure::usage)?;
    let source = ModelSource {
        folder: &folder,
        base: base.as_deref(),
    };
    environment.say_what_is_left_out(source)?;
    let weights = source.weights().map_err(Failure::usage)?;
    let config = source.config().map_err(Failure::usage)?;
    let tokenizer = source.tokenizer().map_err(Failure::usage)?;
    let tokenizer = TokenizerFiles::read(&tokenizer)?;
    polymath_model::save_weights(made.path(), &config, weights, &tokenizer)?;
    if let Some(lineage) = Lineage::of(&folder)? {
        lineage.write(made.path())?;
    }
    made.finish()?;
    results::announce(&output.display().to_string());
    Ok(())
}
