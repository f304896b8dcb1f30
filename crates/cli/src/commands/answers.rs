//! Code that `generate`, `chat` and `serve` share: loading the model, sampling settings, and notes about an answer.

use std::path::Path;

use polymath_base::counted;
use polymath_chat::{Answer, ChatError, ChatModel, End};
use polymath_model::{LoadOptions, ModelSource, Precision, SamplingConfig};

use crate::arguments::Sampling;
use crate::environment::Environment;
use crate::failure::Failure;

/// Opens the model of a checkpoint, a run folder or an adapter.
pub fn open(
    checkpoint: &Path,
    base: Option<&Path>,
    environment: &Environment,
) -> Result<ChatModel, Failure> {
    let folder = polymath_train::resolve_checkpoint(checkpoint)?;
    let base = polymath_train::resolve_base(&folder, base)?;
    let source = ModelSource {
        folder: &folder,
        base: base.as_deref(),
    };
    environment.say_what_is_left_out(source)?;
    let options = LoadOptions::frozen(&environment.device, environment.ops(Precision::F32));
    let model = ChatModel::open(source, &options)?;
    if !model.unread_settings().is_empty() {
        environment.say(&format!(
            "note: `generation_config.json` of `{}` has unsupported settings, which are ignored: {}",
            model.name(),
            model.unread_settings().join(", ")
        ));
    }
    Ok(model)
}

/// Returns the model's sampling settings, overridden by those of the command line.
pub fn sampling(model: &ChatModel, given: &Sampling) -> Result<SamplingConfig, Failure> {
    let defaults = model.default_sampling();
    let sampling = SamplingConfig {
        temperature: given.temperature.unwrap_or(defaults.temperature),
        top_k: given.top_k.or(defaults.top_k),
        top_p: given.top_p.unwrap_or(defaults.top_p),
        repetition_penalty: given
            .repetition_penalty
            .unwrap_or(defaults.repetition_penalty),
        seed: given.seed,
    };
    sampling.validate().map_err(Failure::usage)?;
    Ok(sampling)
}

/// Converts an error of generating an answer to a failure: wrong usage if the request caused it, otherwise failed
/// work.
pub fn failure(error: ChatError) -> Failure {
    match error.is_refusal() {
        true => Failure::usage(error),
        false => error.into(),
    }
}

/// Returns a sentence if the answer ended in a way that its text does not show, or `None` for an ordinary end.
pub fn remark(model: &ChatModel, answer: &Answer) -> Option<String> {
    match &answer.end {
        End::EndToken(token) if answer.tokens == 0 => Some(format!(
            "the model ended at once: `{}` was its first token",
            model.token_name(*token)
        )),
        End::Stop(stop) if answer.text.is_empty() => Some(format!(
            "the answer is empty: it begins with the stop text {stop:?}"
        )),
        End::ContextFull => Some(format!(
            "the context is full: {} of prompt and {} of answer; the model can read {}",
            counted(answer.prompt_tokens as u64, "token"),
            answer.tokens,
            model.context()
        )),
        End::MaxTokens => Some(format!(
            "the answer was cut after {} (`--max-tokens`)",
            counted(answer.tokens as u64, "token")
        )),
        End::EndToken(_) | End::Stop(_) | End::Interrupted => None,
    }
}

/// Returns a line about the speed of an answer.
pub fn speed(answer: &Answer) -> String {
    let read = answer.prompt_tokens - answer.reused_tokens;
    let reused = match answer.reused_tokens {
        0 => String::new(),
        count => format!(" ({count} more were in the cache)"),
    };
    let written = counted(answer.tokens as u64, "token");
    let speed = answer
        .tokens_per_second()
        .map_or_else(String::new, |speed| format!(", {speed:.1} tokens/s"));
    format!(
        "prompt: {} in {:.2} s{reused}; answer: {written}{speed}",
        counted(read as u64, "token"),
        answer.reading.as_secs_f64()
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Checks the line about the speed of an answer: cached tokens are not read, and the first token is not timed.
    #[test]
    fn the_speed_of_an_answer_is_told() {
        let mut answer = Answer {
            text: "abc".into(),
            end: End::MaxTokens,
            prompt_tokens: 12,
            reused_tokens: 5,
            tokens: 7,
            reading: Duration::from_millis(1250),
            writing: Duration::from_secs(2),
        };
        assert_eq!(
            speed(&answer),
            "prompt: 7 tokens in 1.25 s (5 more were in the cache); answer: 7 tokens, 3.0 tokens/s"
        );
        (answer.prompt_tokens, answer.reused_tokens, answer.tokens) = (1, 0, 1);
        assert_eq!(speed(&answer), "prompt: 1 token in 1.25 s; answer: 1 token");
    }
}
