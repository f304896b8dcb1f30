//! Greedy answers to many independent messages, generated in batches.

use polymath_model::GreedyContinuations;
use polymath_tokenizer::TextStream;

use crate::{ChatError, ChatMessage, ChatModel};

impl ChatModel {
    /// Returns the most likely answer to each message of a user, up to `max_tokens` tokens; the messages are answered
    /// in batches, independently of each other. Calls `progress` with the number of answers so far.
    ///
    /// # Errors
    /// Fails if there is no chat template or it rejects a message, or if a prompt leaves no room for an answer.
    pub fn answer_all(
        &self,
        messages: &[&str],
        max_tokens: usize,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<String>, ChatError> {
        let encode = |message: &&str| {
            let encoded = self.encode_messages(&[ChatMessage::new("user", *message)])?;
            Ok::<_, ChatError>(encoded.tokens)
        };
        let prompts = messages.iter().map(encode).collect::<Result<Vec<_>, _>>()?;
        let context = self.context();
        if let Some(prompt) = prompts
            .iter()
            .find(|prompt| prompt.len() + max_tokens > context)
        {
            return Err(ChatError::ContextFull {
                tokens: prompt.len(),
                context,
            });
        }
        let greedy = GreedyContinuations {
            max_tokens,
            ends: self.turn_ends.clone(),
        };
        let answers = greedy.of(&self.model, &prompts, progress)?;
        let decode = |tokens: Vec<u32>| {
            let mut stream = TextStream::new(&self.tokenizer);
            let mut text: String = tokens.into_iter().map(|token| stream.push(token)).collect();
            text += &stream.finish();
            match &self.turn_separator {
                Some(separator) => {
                    let answer = text.split(separator.as_str()).next().unwrap_or_default();
                    answer.trim().to_owned()
                }
                None => text,
            }
        };
        Ok(answers.into_iter().map(decode).collect())
    }
}
