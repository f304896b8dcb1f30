//! Skill accuracy: does the model, left to its likeliest tokens, give the exact answer?

use std::path::Path;

use polymath_data::Question;
use polymath_model::{IGNORED, TokenBatch, Transformer};
use tokenizers::Tokenizer;

use crate::EvalError;

const ROWS: usize = 16;

/// For each question, whether greedy decoding gives its answer and then ends the line.
///
/// Greedy decoding gives exactly these tokens if and only if each of them is the likeliest after those before it, so
/// one forward pass over prompt and answer decides it. An answer that the model would spell with other tokens than
/// the tokenizer does counts as wrong.
///
/// # Errors
/// A tokenizer that can't be read; a question longer than the model's context.
pub fn answer_questions(
    model: &Transformer,
    tokenizer: &Path,
    questions: &[Question],
) -> Result<Vec<bool>, EvalError> {
    let tokenizer = Tokenizer::from_file(tokenizer)
        .map_err(|error| EvalError::Tokenizer(format!("`{}`: {error}", tokenizer.display())))?;
    let rows = questions
        .iter()
        .map(|question| Row::new(model, &tokenizer, question))
        .collect::<Result<Vec<_>, _>>()?;
    // Rows of like length together, so that little is padded.
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|at| rows[*at].tokens.len());
    let mut right = vec![false; rows.len()];
    for chunk in order.chunks(ROWS) {
        let longest = chunk
            .iter()
            .map(|at| rows[*at].tokens.len())
            .max()
            .unwrap_or(1)
            - 1;
        let bos = model.config().bos_token_id;
        let mut batch = TokenBatch {
            input_ids: Vec::new(),
            targets: Vec::new(),
            document_starts: vec![0; chunk.len() * longest],
            rows: chunk.len(),
        };
        for at in chunk {
            let Row { tokens, prompt } = &rows[*at];
            let length = tokens.len() - 1;
            batch.input_ids.extend(&tokens[..length]);
            batch.input_ids.extend(vec![bos; longest - length]);
            batch.targets.extend(vec![IGNORED; prompt - 1]);
            batch.targets.extend(&tokens[*prompt..]);
            batch.targets.extend(vec![IGNORED; longest - length]);
        }
        let scores = model.score(&batch)?;
        for (row, at) in chunk.iter().enumerate() {
            let Row { tokens, prompt } = &rows[*at];
            let answer = row * longest + prompt - 1..row * longest + tokens.len() - 1;
            right[*at] = scores.correct[answer].iter().all(|correct| *correct);
        }
    }
    Ok(right)
}

/// A question as tokens.
struct Row {
    /// Beginning-of-text, prompt, answer, end of line.
    tokens: Vec<u32>,
    /// How many of them are given.
    prompt: usize,
}

impl Row {
    fn new(
        model: &Transformer,
        tokenizer: &Tokenizer,
        question: &Question,
    ) -> Result<Self, EvalError> {
        let encode = |text: String| -> Result<Vec<u32>, EvalError> {
            let encoding = tokenizer
                .encode_fast(text, false)
                .map_err(|error| EvalError::Tokenizer(error.to_string()))?;
            Ok(encoding.get_ids().to_vec())
        };
        let alone = encode(question.prompt.clone())?;
        let whole = encode(format!("{}{}\n", question.prompt, question.answer))?;
        // Where the last token of the prompt would grow into the answer, the answer begins one token earlier.
        let shared = alone.iter().zip(&whole).take_while(|(a, b)| a == b).count();
        let shared = shared.min(whole.len() - 1);
        let mut tokens = vec![model.config().bos_token_id];
        tokens.extend(whole);
        let longest = model.config().max_position_embeddings;
        // The last token is predicted, not read.
        if tokens.len() - 1 > longest {
            return Err(EvalError::Report(format!(
                "the question `{}` with its answer has {} tokens, but the model's context is {longest}: take it out, or \
                 pretrain with a longer `max_position_embeddings`",
                question.prompt,
                tokens.len() - 1
            )));
        }
        Ok(Self {
            tokens,
            prompt: shared + 1,
        })
    }
}
