//! Evidence of forgetting: the documents and tokens with the largest loss, the loss by token frequency and by position
//! in the document, and questions that only the base answers.

mod groups;

use std::collections::{BTreeMap, HashMap};

use polymath_data::{Dataset, Split, TokenBytes};
use serde::{Deserialize, Serialize};

use crate::ReportError;
use polymath_eval::{DomainScores, TokenScores};

/// Maximum number of documents shown for each domain.
const DOCUMENTS: usize = 3;
/// Maximum number of tokens shown for each document.
pub(crate) const WINDOW: usize = 120;
/// Minimum size of a shown document in bytes, since the loss per byte of shorter ones is mostly noise.
const SHORTEST: u64 = 200;
/// Maximum number of questions listed per domain.
const QUESTIONS: usize = 20;

/// Evidence of forgetting in one domain by one run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DomainEvidence {
    /// Documents with the largest loss per byte, the worst first.
    pub documents: Vec<WorstDocument>,
    /// Loss by token frequency, from frequent to rare tokens.
    pub frequencies: Vec<FrequencyGroup>,
    /// Loss by position in the document, from its start on; only positions with the whole text before them as context.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub positions: Vec<PositionGroup>,
    /// Number of questions that the base answers correctly and the tuned model does not.
    pub questions_lost: usize,
    /// Some of the questions that only the base answers correctly. Those with a generated answer are first.
    pub questions: Vec<LostQuestion>,
}

/// Question that the base answers correctly and the tuned model does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostQuestion {
    /// Prompt with the question.
    pub prompt: String,
    /// Correct answer, which is the base's.
    pub answer: String,
    /// Answer that the tuned model generates by greedy decoding; `None` if it was not generated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generated: Option<String>,
}

/// Document with a large loss, and its worst section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorstDocument {
    /// Index among the domain's held-out documents, from 0.
    pub document: u32,
    /// Source file and position in it (line, row or text); `None` if the dataset does not store the source.
    #[serde(default)]
    pub source: Option<String>,
    /// Size of the scored text in UTF-8 bytes.
    pub bytes: u64,
    /// Change in bits per byte.
    pub change: f64,
    /// Index of the first token shown.
    pub from: usize,
    /// Number of tokens in the document.
    pub tokens: usize,
    /// Section with the largest loss. A piece is one token, or the few tokens that together form one character.
    pub pieces: Vec<Piece>,
}

/// Piece of text with its change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Piece {
    /// Text of the piece.
    pub text: String,
    /// Increase of −log₂ p in bits; `None` for a token that is not scored, such as one of a prompt.
    pub change: Option<f64>,
}

/// Tokens of similar frequency in the domain's training text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FrequencyGroup {
    /// Range of occurrences per million training tokens, as text.
    pub frequency: String,
    /// Number of held-out tokens in the group.
    pub tokens: u64,
    /// Mean change in bits per token.
    pub change: f64,
    /// 95 % confidence interval of the mean change; `None` if too few documents have tokens of this group.
    pub interval: Option<[f64; 2]>,
}

/// Tokens at similar positions in their documents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PositionGroup {
    /// First and last position, counted from 1; the last is `None` if there is no end.
    pub tokens_of_document: (u64, Option<u64>),
    /// Number of held-out tokens in the group.
    pub tokens: u64,
    /// Mean change in bits per token.
    pub change: f64,
    /// 95 % confidence interval of the mean change; `None` if too few documents have tokens of this group.
    pub interval: Option<[f64; 2]>,
}

/// Inputs of the evidence of one domain: scores of base and tuned model, answers, and the domain's dataset.
pub struct Evidence<'a> {
    /// Dataset of the domain.
    pub dataset: &'a Dataset,
    /// Name of the domain.
    pub domain: &'a str,
    /// Scores of the base, including those of single tokens.
    pub base: &'a DomainScores,
    /// Scores of the tuned model, including those of single tokens.
    pub tuned: &'a DomainScores,
    /// For each question, two flags: whether the base and the tuned model answer it correctly.
    pub answers: (&'a [bool], &'a [bool]),
    /// Generated answers of the tuned model to a few of the questions that only the base answers, by the question's
    /// index.
    pub generated: &'a BTreeMap<usize, String>,
    /// Context length in tokens with which both models were scored. Tokens later in a document do not have the whole
    /// text before them as context.
    pub context: usize,
    /// Random seed of the bootstrap.
    pub seed: u64,
}

/// Token scores of a document by the base and by the tuned model.
type TokenPair<'a> = (&'a TokenScores, &'a TokenScores);

impl Evidence<'_> {
    /// Gathers the evidence from the documents whose token scores are stored for both models.
    ///
    /// # Errors
    /// Fails if the dataset can't be read, or if the models were scored on different documents.
    pub fn gather(&self) -> Result<DomainEvidence, ReportError> {
        // With another tokenizer, the tuned model may have stored the token scores of other documents.
        let of_tuned: HashMap<u32, &TokenScores> = self
            .tuned
            .tokens_of
            .iter()
            .map(|scores| (scores.document, scores))
            .collect();
        let pairs: Vec<TokenPair> = self
            .base
            .tokens_of
            .iter()
            .filter_map(|base| Some((base, *of_tuned.get(&base.document)?)))
            .collect();
        let same = |(base, tuned): &TokenPair| base.nats.len() == tuned.nats.len();
        if !pairs.iter().all(same) {
            return Err(ReportError::Report(format!(
                "base and tuned model were scored on different documents of `{}`: score both with the same dataset",
                self.domain
            )));
        }
        let mut questions = self.lost_questions()?;
        let questions_lost = questions.len();
        questions.truncate(QUESTIONS);
        Ok(DomainEvidence {
            frequencies: self.frequencies(&pairs)?,
            positions: self.positions(&pairs)?,
            documents: self.worst_documents(pairs)?,
            questions_lost,
            questions,
        })
    }

    /// Returns the questions that the base answers correctly and the tuned model does not.
    fn lost_questions(&self) -> Result<Vec<LostQuestion>, ReportError> {
        let asked = self.dataset.questions(self.domain)?;
        let (before, after) = self.answers;
        let mut lost: Vec<LostQuestion> = asked
            .into_iter()
            .zip(before.iter().zip(after))
            .enumerate()
            .filter(|(_, (_, (before, after)))| **before && !**after)
            .map(|(at, (question, _))| LostQuestion {
                prompt: question.prompt,
                answer: question.answer,
                generated: self.generated.get(&at).cloned(),
            })
            .collect();
        lost.sort_by_key(|question| question.generated.is_none());
        Ok(lost)
    }

    /// Returns the documents with the largest loss per byte, each with its worst section.
    fn worst_documents(
        &self,
        mut pairs: Vec<TokenPair>,
    ) -> Result<Vec<WorstDocument>, ReportError> {
        let token_bytes = self.dataset.token_bytes()?;
        let sources = self.dataset.sources(self.domain)?;
        let shard = self.dataset.shard(self.domain, Split::Heldout)?;
        let bytes = |pair: &TokenPair| shard.document(pair.0.document as usize).bytes;
        if pairs.iter().any(|pair| bytes(pair) >= SHORTEST) {
            pairs.retain(|pair| bytes(pair) >= SHORTEST);
        }
        let lost = |(base, tuned): &TokenPair| changes(base, tuned).flatten().sum::<f64>();
        let mut worst: Vec<(f64, TokenPair)> = pairs
            .into_iter()
            .map(|pair| (lost(&pair) / bytes(&pair).max(1) as f64, pair))
            .filter(|(change, _)| *change > 0.0)
            .collect();
        worst.sort_by(|a, b| b.0.total_cmp(&a.0));
        let shown = worst.into_iter().take(DOCUMENTS);
        let document = |(change, (base, tuned)): (f64, TokenPair)| {
            let document = shard.document(base.document as usize);
            let mut tokens = Vec::new();
            // The end token at the end of a document has no text.
            document.copy_tokens(0..document.len() - 1, &mut tokens);
            let changes: Vec<Option<f64>> = changes(base, tuned).take(tokens.len()).collect();
            let from = worst_section(&changes);
            let shown = from..(from + WINDOW).min(tokens.len());
            WorstDocument {
                document: base.document,
                source: sources
                    .source_of(&shard, base.document as usize)
                    .map(|source| source.to_string()),
                bytes: document.bytes,
                change,
                from,
                tokens: tokens.len(),
                pieces: pieces(&token_bytes, &tokens[shown.clone()], &changes[shown]),
            }
        };
        Ok(shown.map(document).collect())
    }
}

/// Returns the increase of −log₂ p of each token in bits, or `None` for a token that is not scored.
fn changes(base: &TokenScores, tuned: &TokenScores) -> impl Iterator<Item = Option<f64>> {
    base.nats.iter().zip(&tuned.nats).map(|(before, after)| {
        let change = (f64::from(*after) - f64::from(*before)) / std::f64::consts::LN_2;
        change.is_finite().then_some(change)
    })
}

/// Returns the index of the first of the [`WINDOW`] tokens with the largest total loss.
fn worst_section(changes: &[Option<f64>]) -> usize {
    let last = changes.len().saturating_sub(WINDOW);
    let value = |at: usize| changes[at].unwrap_or(0.0);
    let mut sum: f64 = (0..changes.len().min(WINDOW)).map(value).sum();
    let mut best = (sum, 0);
    for from in 1..=last {
        sum += value(from + WINDOW - 1) - value(from - 1);
        if sum > best.0 {
            best = (sum, from);
        }
    }
    best.1
}

/// Decodes tokens to pieces of text. Tokens that together form one character are joined, and their changes are added.
/// A character that is cut off at an end of the section is shown as �.
fn pieces(token_bytes: &TokenBytes, tokens: &[u32], changes: &[Option<f64>]) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut bytes: Vec<u8> = Vec::new();
    let mut lost: Option<f64> = None;
    for (at, (token, change)) in tokens.iter().zip(changes).enumerate() {
        bytes.extend(token_bytes.bytes(*token));
        lost = match (lost, *change) {
            (Some(lost), Some(change)) => Some(lost + change),
            (lost, change) => lost.or(change),
        };
        if at + 1 == tokens.len() || !is_cut(&bytes) {
            pieces.push(Piece {
                text: String::from_utf8_lossy(&bytes).into_owned(),
                // Three decimals are enough for the page and keep the report file small.
                change: lost.take().map(|lost| (lost * 1000.0).round() / 1000.0),
            });
            bytes.clear();
        }
    }
    pieces
}

/// Returns true if the last character of the bytes is incomplete in UTF-8.
fn is_cut(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests;
