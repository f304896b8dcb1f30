//! `polymath generate`: the continuation of a prompt, streamed to the terminal.

use polymath_data::Spelling;
use polymath_model::{Generation, LoadOptions, Precision, SamplingConfig};
use polymath_tokenizer::{TextStream, encode_prompt};

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
    let tokenizer = polymath_tokenizer::open(&path)?;
    let spelling = Spelling::of(&tokenizer);
    let (given, spaces) = parted(&arguments.prompt, &spelling);
    let prompt = encode_prompt(&tokenizer, given, model.config().bos_token_id)?;
    let sampling = SamplingConfig {
        temperature: arguments.temperature,
        top_k: arguments.top_k,
        top_p: arguments.top_p,
        seed: arguments.seed,
    };
    let bytes = |token| spelling.bytes(token);
    let generation = Generation::new(&model, &prompt, sampling)
        .map_err(Failure::usage)?
        .beginning_with(spaces, &bytes);

    let mut output = Results::open();
    output.write(given)?;
    let mut stream = TextStream::new(&tokenizer);
    // Decoders treat the first token of a text in a special way: the prompt is decoded before the continuation.
    for token in prompt {
        stream.push(token);
    }
    let mut said = false;
    for token in generation.take(arguments.max_tokens) {
        output.write(&stream.push(token?))?;
        output.flush()?;
        said = true;
    }
    let rest = if said {
        stream.finish()
    } else {
        spaces.to_owned()
    };
    output.write(&rest)?;
    output.write("\n")?;
    output.flush()
}

/// Splits trailing spaces off a prompt: in the text that a model has learned, a space belongs to the token of the next
/// word, so that the continuation has to begin with it. If no token begins with a space, the prompt stays whole.
fn parted<'a>(prompt: &'a str, spelling: &Spelling) -> (&'a str, &'a str) {
    let given = prompt.trim_end_matches(' ');
    match spelling.some_begin_with(b" ") {
        true => prompt.split_at(given.len()),
        false => (prompt, ""),
    }
}
