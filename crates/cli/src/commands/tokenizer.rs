//! `polymath tokenizer`: writes the tokenizer that a fine-tuning will use.

use polymath_finetune::{FinetuneConfig, tokenizer_of};

use crate::arguments;
use crate::failure::Failure;
use crate::results;
use polymath_study::OutputFolder;

/// Writes the tokenizer's files to a new folder.
pub fn run(arguments: &arguments::Tokenizer) -> Result<(), Failure> {
    let config: FinetuneConfig = super::load_run(&arguments.config, &arguments.overrides)?;
    let (tokenizer, model) = tokenizer_of(&config).map_err(Failure::usage)?;
    let output = OutputFolder::new(&arguments.output).map_err(Failure::usage)?;
    tokenizer.write(output.path(), &model)?;
    output.finish()?;
    let path = arguments.output.join("tokenizer.json");
    results::announce(&path.display().to_string());
    Ok(())
}
