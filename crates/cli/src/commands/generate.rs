//! `polymath generate`: the continuation of a prompt, streamed to the terminal.

use anyhow::{Context, anyhow};
use polymath_model::{Generation, LoadOptions, Precision, SamplingConfig};
use tokenizers::Tokenizer;

use crate::arguments;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::results::Results;

/// Prints the prompt and its continuation.
pub fn run(arguments: &arguments::Generate, environment: &Environment) -> Result<(), Failure> {
    let folder = polymath_train::resolve_checkpoint(&arguments.checkpoint)?;
    let options = LoadOptions::frozen(&environment.device, environment.ops(Precision::F32));
    let base = polymath_train::resolve_base(&folder, arguments.base.as_deref())?;
    environment.say_what_is_left_out(&folder, base.as_deref())?;
    let model = polymath_model::load_over(&folder, base.as_deref(), &options)?;
    let path = polymath_model::tokenizer_over(&folder, base.as_deref())?;
    let tokenizer = Tokenizer::from_file(&path)
        .map_err(|error| anyhow!("{error}"))
        .with_context(|| format!("can't read `{}`", path.display()))?;
    let encoded = tokenizer
        .encode_fast(arguments.prompt.as_str(), false)
        .map_err(|error| anyhow!("can't encode the prompt: {error}"))?;
    let mut prompt = vec![model.config().bos_token_id];
    prompt.extend(encoded.get_ids());
    let sampling = SamplingConfig {
        temperature: arguments.temperature,
        top_k: arguments.top_k,
        top_p: arguments.top_p,
        seed: arguments.seed,
    };
    let generation = Generation::new(&model, &prompt, sampling).map_err(Failure::usage)?;

    let mut output = Results::open();
    output.write(&arguments.prompt)?;
    // The stream holds back bytes that are not yet a whole character.
    let mut stream = tokenizer.decode_stream(true);
    for token in generation.take(arguments.max_tokens) {
        if let Some(text) = stream.step(token?).map_err(|error| anyhow!("{error}"))? {
            output.write(&text)?;
            output.flush()?;
        }
    }
    output.write("\n")?;
    output.flush()
}
