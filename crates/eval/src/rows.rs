//! Scoring of continuations: each row is a prompt, which is given, and a continuation, which is scored.

use polymath_model::{Batch, IGNORED, Transformer};

use crate::EvalError;
use crate::scoring::TOKENS_AT_ONCE;

/// A prompt and its continuation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row {
    /// Tokens of the prompt, followed by those of the continuation.
    pub tokens: Vec<u32>,
    /// Number of prompt tokens: at least one, and fewer than all.
    pub prompt: usize,
}

/// Score of a continuation, given its prompt.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct RowScore {
    /// Negative log-likelihood, −ln p, summed over the continuation's tokens.
    pub nats: f64,
    /// Index in the row of the first continuation token that is not the most likely one; `None` if all are.
    pub first_wrong: Option<usize>,
}

impl Row {
    /// Returns the number of input tokens, which is one less than all: the last token is only predicted.
    pub fn inputs(&self) -> usize {
        self.tokens.len() - 1
    }
}

/// Scores every row once. Calls `progress` with the number of rows scored so far.
///
/// # Errors
/// Fails if the model fails, for example because a row is longer than its context.
pub(crate) fn score_rows(
    model: &Transformer,
    rows: &[&Row],
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<RowScore>, EvalError> {
    // Rows of similar length are batched together to reduce padding.
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|at| rows[*at].inputs());
    let mut scores = vec![RowScore::default(); rows.len()];
    let mut left = order.as_slice();
    while !left.is_empty() {
        let fits =
            |(count, at): (usize, &usize)| (count + 1) * rows[*at].inputs() <= TOKENS_AT_ONCE;
        let together = (0..).zip(left).take_while(|pair| fits(*pair)).count();
        let (chunk, rest) = left.split_at(together.max(1));
        let chunk_rows: Vec<&Row> = chunk.iter().map(|at| rows[*at]).collect();
        for (at, score) in chunk.iter().zip(score_chunk(model, &chunk_rows)?) {
            scores[*at] = score;
        }
        left = rest;
        progress(rows.len() - left.len());
    }
    Ok(scores)
}

/// Scores rows in one batch, padded to the longest row.
fn score_chunk(model: &Transformer, rows: &[&Row]) -> Result<Vec<RowScore>, EvalError> {
    let longest = rows.iter().map(|row| row.inputs()).max().unwrap_or(0);
    let bos = model.config().bos_token_id;
    let mut batch = Batch {
        input_ids: Vec::new(),
        targets: Vec::new(),
        document_starts: vec![0; rows.len() * longest],
        rows: rows.len(),
        domains: vec![0; rows.len()],
    };
    for row in rows {
        let padding = longest - row.inputs();
        batch.input_ids.extend(&row.tokens[..row.inputs()]);
        batch.input_ids.extend(vec![bos; padding]);
        batch.targets.extend(vec![IGNORED; row.prompt - 1]);
        batch.targets.extend(&row.tokens[row.prompt..]);
        batch.targets.extend(vec![IGNORED; padding]);
    }
    let scores = model.score(&batch)?;
    let of_row = |(number, row): (usize, &&Row)| {
        // The prediction of a token is at the position before it.
        let places = || (row.prompt..row.tokens.len()).map(|at| (at, number * longest + at - 1));
        RowScore {
            nats: places()
                .map(|(_, target)| f64::from(scores.nats[target]))
                .sum(),
            first_wrong: places()
                .find(|(_, target)| !scores.correct[*target])
                .map(|(at, _)| at),
        }
    };
    Ok(rows.iter().enumerate().map(of_row).collect())
}
