//! Accuracy on questions with exact answers, by greedy decoding.

use std::path::Path;

use polymath_data::Question;
use polymath_model::{Generation, ModelConfig, SamplingConfig, Transformer};
use polymath_tokenizer::{Continuation, TextStream};
use tokenizers::Tokenizer;

use crate::EvalError;
use crate::rows::{Row, score_rows};

/// Text or token that may end an answer.
#[derive(Clone, Copy)]
enum Ending {
    Text(&'static str),
    Token(u32),
}

impl Ending {
    /// Returns the endings of an answer, the most likely first: line breaks, and each token that ends a generated text.
    fn all(config: &ModelConfig) -> Vec<Self> {
        // Some tokenizers have a single token for a line break followed by an empty line.
        let texts = ["\n", "\n\n"].map(Self::Text);
        let tokens = config.all_ends().map(Self::Token);
        texts.into_iter().chain(tokens).collect()
    }
}

/// Checks that every question fits the context of a model with this configuration, together with its answer. Call
/// this before the model is loaded, since other scores of it may take hours.
///
/// # Errors
/// Fails if the tokenizer can't be read, or if questions are too long; the error quotes the first one.
pub fn check_questions(
    config: &ModelConfig,
    tokenizer: &Path,
    questions: &[Question],
) -> Result<(), EvalError> {
    if questions.is_empty() {
        return Ok(());
    }
    let tokenizer = polymath_tokenizer::open(tokenizer)?;
    let mut long = Vec::new();
    for (at, question) in questions.iter().enumerate() {
        let row = row(config, &tokenizer, question, Ending::Text("\n"))?;
        if row.inputs() > config.max_position_embeddings {
            long.push((at, row.inputs()));
        }
    }
    match long.first() {
        None => Ok(()),
        Some((first, tokens)) => Err(EvalError::Scores(format!(
            "{} of {} questions too long for the model's context of {} tokens; the first is number {}, of {tokens} tokens \
             with its answer: `{}`; remove them",
            long.len(),
            questions.len(),
            config.max_position_embeddings,
            first + 1,
            beginning(&questions[*first].prompt)
        ))),
    }
}

/// Returns the beginning of a prompt, for an error message.
fn beginning(prompt: &str) -> String {
    const SHOWN: usize = 60;
    let mut text: String = prompt.chars().take(SHOWN).collect();
    if text.len() < prompt.len() {
        text.push('…');
    }
    text
}

/// Returns for each question whether greedy decoding generates exactly its answer, followed by the end of the line or
/// of the text.
///
/// Greedy decoding generates these tokens if and only if each is the most likely one after the tokens before it. So
/// one forward pass over prompt and answer is enough. The right text in other tokens than the tokenizer gives counts
/// as wrong.
///
/// # Errors
/// Fails if the tokenizer can't be read, or if a question is longer than the model's context.
pub fn answer_questions(
    model: &Transformer,
    tokenizer: &Path,
    questions: &[Question],
) -> Result<Vec<bool>, EvalError> {
    check_questions(model.config(), tokenizer, questions)?;
    let tokenizer = polymath_tokenizer::open(tokenizer)?;
    let mut right = vec![false; questions.len()];
    // Wrong rows of each question, cut after the first wrong token. Any row with the same beginning is wrong too.
    let mut wrong: Vec<Vec<Vec<u32>>> = vec![Vec::new(); questions.len()];
    for ending in Ending::all(model.config()) {
        let mut asked = Vec::new();
        for (at, question) in questions.iter().enumerate().filter(|(at, _)| !right[*at]) {
            let row = row(model.config(), &tokenizer, question, ending)?;
            let known = wrong[at].iter().any(|begin| row.tokens.starts_with(begin));
            // A longer ending may not fit.
            let fits = row.inputs() <= model.config().max_position_embeddings;
            if fits && !known {
                asked.push((at, row));
            }
        }
        let rows: Vec<&Row> = asked.iter().map(|(_, row)| row).collect();
        for ((at, row), score) in asked.iter().zip(score_rows(model, &rows, &mut |_| {})?) {
            match score.first_wrong {
                None => right[*at] = true,
                Some(first) => wrong[*at].push(row.tokens[..=first].to_vec()),
            }
        }
    }
    Ok(right)
}

/// Maximum number of tokens of a generated answer.
const ANSWER_TOKENS: usize = 24;

/// Returns the answer that greedy decoding generates to each question, up to the end of its first line and
/// 24 tokens, without white space around it.
///
/// # Errors
/// Fails if the tokenizer can't be read, or if a prompt fills the model's context.
pub fn generate_answers(
    model: &Transformer,
    tokenizer: &Path,
    questions: &[Question],
) -> Result<Vec<String>, EvalError> {
    if questions.is_empty() {
        return Ok(Vec::new());
    }
    let tokenizer = polymath_tokenizer::open(tokenizer)?;
    let greedy = SamplingConfig {
        temperature: 0.0,
        ..SamplingConfig::default()
    };
    questions
        .iter()
        .map(|question| {
            let row = row(model.config(), &tokenizer, question, Ending::Text(""))?;
            let prompt = &row.tokens[..row.prompt];
            let (mut stream, mut text) = (TextStream::new(&tokenizer), String::new());
            for token in Generation::new(model, prompt, greedy)?.take(ANSWER_TOKENS) {
                text += &stream.push(token?);
                if text.trim_start().contains('\n') {
                    break;
                }
            }
            text += &stream.finish();
            Ok(text
                .trim_start()
                .lines()
                .next()
                .unwrap_or("")
                .trim_end()
                .to_owned())
        })
        .collect()
}

/// Encodes a question as one row: begin token, prompt, answer and ending.
fn row(
    config: &ModelConfig,
    tokenizer: &Tokenizer,
    question: &Question,
    ending: Ending,
) -> Result<Row, EvalError> {
    let after = match ending {
        Ending::Text(text) => text,
        Ending::Token(_) => "",
    };
    let answer = format!("{}{after}", question.answer);
    // A token across the boundary between prompt and answer belongs to the answer.
    let mut whole =
        Continuation::encode(tokenizer, config.bos_token_id, &question.prompt, &answer)?;
    if let Ending::Token(end) = ending {
        whole.tokens.push(end);
    }
    Ok(Row {
        tokens: whole.tokens,
        prompt: whole.given,
    })
}
