//! Scoring of held-out documents in bits per byte, once or repeatedly during training.

mod sample;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use polymath_data::{
    Grouping, HeldoutSplit, NamedShard, ScoringBatches, ScoringOptions, TokenPlace, TokenShard,
};
use polymath_model::{ModelConfig, Transformer};
use serde::{Deserialize, Serialize};

use crate::EvalError;

pub use sample::{ScoredGroups, sample_windows, scored_groups, scored_tokens};

/// Maximum number of tokens per forward pass. More would not be faster and would take more memory.
pub(crate) const TOKENS_AT_ONCE: usize = 4096;
/// Seed of the evaluation sample during training. It is the same in every run, so that loss curves can be compared.
const SUBSAMPLE_SEED: u64 = 0;

/// Score of one document under a model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct DocumentScore {
    /// Negative log-likelihood, −ln p, summed over the document's scored tokens.
    pub nats: f64,
    /// Number of scored tokens, including the end token.
    pub tokens: u64,
    /// UTF-8 bytes of the scored text.
    pub bytes: u64,
}

/// Scores of the single tokens of a document.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TokenScores {
    /// Index of the document in its shard.
    pub document: u32,
    /// −ln p of each token; NaN if the token is not scored because it belongs to a prompt.
    pub nats: Vec<f32>,
}

/// Scores of a domain's held-out documents, in the order of the shard.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DomainScores {
    /// Score of each document.
    pub documents: Vec<DocumentScore>,
    /// Group of each document. Documents of one group are not independent. Empty if the dataset has no groups; each
    /// document is then its own group.
    pub groups: Vec<u64>,
    /// Kind of the groups; `None` if the dataset has no groups.
    pub grouping: Option<Grouping>,
    /// True if all held-out documents were scored because the domain has no documents in the requested split.
    pub whole: bool,
    /// Scores of single tokens, for the first documents up to the token limit of [`score_tokens`]. Documents whose
    /// retokenized tokens differ from the stored ones are left out.
    pub tokens_of: Vec<TokenScores>,
}

impl DomainScores {
    /// Returns the bits per byte, Σ −log₂ p over tokens / Σ UTF-8 bytes. Unlike the loss, they can be compared
    /// between tokenizers.
    pub fn bits_per_byte(&self) -> f64 {
        self.nats() / (std::f64::consts::LN_2 * self.bytes().max(1) as f64)
    }

    /// Returns the perplexity: exp of the mean −ln p per token.
    pub fn perplexity(&self) -> f64 {
        (self.nats() / self.tokens().max(1) as f64).exp()
    }

    /// Returns the number of scored tokens.
    pub fn tokens(&self) -> u64 {
        self.documents.iter().map(|document| document.tokens).sum()
    }

    /// Returns the number of UTF-8 bytes of the scored text.
    pub fn bytes(&self) -> u64 {
        self.documents.iter().map(|document| document.bytes).sum()
    }

    fn nats(&self) -> f64 {
        self.documents.iter().map(|document| document.nats).sum()
    }
}

/// Scores of each domain, by domain name.
pub type ScoresByDomain = BTreeMap<String, DomainScores>;

/// Scores of a checkpoint on the dev and test splits.
#[derive(Debug, Clone)]
pub struct SplitScores {
    /// Scores on the dev split, which checkpoints are chosen on.
    pub dev: ScoresByDomain,
    /// Scores on the test split, which results are reported on.
    pub test: ScoresByDomain,
}

/// Options for cutting documents into windows of the model's context.
#[derive(Debug, Clone, Copy, Default)]
pub struct WindowOptions {
    /// Context length in tokens; default: the model's.
    pub context: Option<usize>,
    /// Distance in tokens between the starts of two windows of a long document; default: the context length.
    pub stride: Option<usize>,
    /// Maximum number of scored tokens: documents are taken whole, in a seeded order, up to the first that does not
    /// fit, but at least one.
    pub max_tokens: Option<u64>,
    /// Split to score; `None` for all held-out documents.
    pub split: Option<HeldoutSplit>,
}

/// Return type of a progress callback: either `()`, or a [`ControlFlow`] that can stop scoring.
pub trait ProgressResult {
    /// Returns true if the scoring should stop.
    fn stops(&self) -> bool;
}

impl ProgressResult for () {
    fn stops(&self) -> bool {
        false
    }
}

impl ProgressResult for ControlFlow<()> {
    fn stops(&self) -> bool {
        self.is_break()
    }
}

/// Scores the documents of a shard, each token once. After each batch, calls `progress` with the number of tokens
/// scored so far and the total.
///
/// # Errors
/// Fails if the context is longer than the model's, if the shard is of another tokenizer or its file was truncated,
/// or with [`EvalError::Stopped`] if `progress` stops the scoring.
pub fn score_shard<A: ProgressResult>(
    model: &Transformer,
    shard: &TokenShard,
    windows: WindowOptions,
    progress: &mut dyn FnMut(u64, u64) -> A,
) -> Result<DomainScores, EvalError> {
    score_tokens(model, shard, windows, 0, progress)
}

/// Scores the documents like [`score_shard`], and keeps the scores of single tokens (four bytes each) of the first
/// documents, as long as they have at most `keep` stored tokens in total.
///
/// # Errors
/// Fails as [`score_shard`] does.
pub fn score_tokens<A: ProgressResult>(
    model: &Transformer,
    shard: &TokenShard,
    windows: WindowOptions,
    keep: u64,
    progress: &mut dyn FnMut(u64, u64) -> A,
) -> Result<DomainScores, EvalError> {
    shard.check_length()?;
    let batches = ScoringBatches::new(shard, scoring_options(model.config(), shard, windows)?);
    let mut documents: Vec<DocumentScore> = batches
        .documents()
        .iter()
        .map(|document| DocumentScore {
            bytes: shard.document(*document as usize).bytes,
            ..DocumentScore::default()
        })
        .collect();
    let mut tokens_of = room_for_tokens(shard, batches.documents(), keep);
    let all = batches.tokens();
    let mut done = 0;
    for batch in batches.iter() {
        let scores = model.score(&batch.batch)?;
        for (scored, nats) in batch.scored.iter().zip(&scores.nats) {
            let Some(TokenPlace { document, token }) = scored else {
                continue;
            };
            if let Some(Some(tokens)) = tokens_of.get_mut(*document as usize) {
                tokens.nats[*token as usize] = *nats;
            }
            let score = &mut documents[*document as usize];
            score.nats += f64::from(*nats);
            score.tokens += 1;
            done += 1;
        }
        if progress(done, all).stops() {
            return Err(EvalError::Stopped);
        }
        shard.check_length()?;
    }
    // The total includes prompts, which are not scored.
    progress(all, all);
    Ok(DomainScores {
        documents,
        groups: groups_of(shard, batches.documents()),
        grouping: shard.has_groups().then(|| shard.grouping()),
        whole: false,
        tokens_of: tokens_of.into_iter().flatten().collect(),
    })
}

/// Returns the group of each document; empty if the shard stores none.
fn groups_of(shard: &TokenShard, documents: &[u32]) -> Vec<u64> {
    let groups = documents
        .iter()
        .map(|document| shard.group_of(*document as usize));
    groups.collect::<Option<_>>().unwrap_or_default()
}

/// Returns the options for cutting documents into windows for a model.
pub(crate) fn scoring_options(
    model: &ModelConfig,
    shard: &TokenShard,
    windows: WindowOptions,
) -> Result<ScoringOptions, EvalError> {
    let longest = model.max_position_embeddings;
    let context = windows.context.unwrap_or(longest);
    if context == 0 || context > longest {
        return Err(EvalError::Scores(format!(
            "a context of {context} tokens: the model's `max_position_embeddings` is {longest}"
        )));
    }
    if let Some(stride) = windows.stride.filter(|stride| *stride > context) {
        return Err(EvalError::Scores(format!(
            "a stride of {stride} tokens: windows of {context} tokens would leave some out, expected at most the context"
        )));
    }
    // A row is padded to its full length, so it is made no longer than the longest document.
    let shard = shard.stored();
    let lengths = (0..shard.documents()).map(|document| shard.document(document).len());
    let length = context.min(lengths.max().unwrap_or(0).max(TOKENS_AT_ONCE));
    Ok(ScoringOptions {
        rows: (TOKENS_AT_ONCE / length).max(1),
        sequence_length: length,
        stride: windows.stride,
        bos_token_id: model.bos_token_id,
        max_tokens: windows.max_tokens,
        seed: SUBSAMPLE_SEED,
        split: windows.split,
    })
}

/// Returns a buffer for the token scores of each of the first `documents`, up to `most` tokens in total; `None` for a
/// document whose retokenized tokens differ from the stored ones.
fn room_for_tokens(shard: &TokenShard, documents: &[u32], most: u64) -> Vec<Option<TokenScores>> {
    let mut left = most;
    let mut kept = Vec::new();
    for document in documents {
        let index = *document as usize;
        let length = shard.stored().document(index).len();
        let Some(rest) = left.checked_sub(length as u64) else {
            break;
        };
        left = rest;
        kept.push(shard.has_stored_tokens(index).then(|| TokenScores {
            document: *document,
            nats: vec![f32::NAN; length],
        }));
    }
    kept
}

/// Evaluator that scores the same seeded sample of held-out documents repeatedly during training.
///
/// If a domain has no documents in the chosen split, all its held-out documents are scored; see
/// [`HeldoutEvaluator::warning`].
pub struct HeldoutEvaluator {
    shards: Vec<NamedShard>,
    windows: WindowOptions,
}

impl HeldoutEvaluator {
    /// Creates an evaluator for these domains.
    pub fn new(shards: Vec<NamedShard>, windows: WindowOptions) -> Self {
        Self { shards, windows }
    }

    /// Returns the split that the evaluator scores; `None` for all held-out documents.
    pub fn split(&self) -> Option<HeldoutSplit> {
        self.windows.split
    }

    /// Returns a warning that names the domains without documents in the split, if there are any.
    pub fn warning(&self) -> Option<String> {
        let split = self.split()?;
        let without: Vec<&str> = self
            .shards
            .iter()
            .filter(|domain| !has(&domain.shard, split))
            .map(|domain| domain.name.as_str())
            .collect();
        (!without.is_empty()).then(|| {
            format!(
                "`{}` has no held-out document in the {} split: all of its held-out text is scored during the run, so that none \
                is left for the final result; prepare it with more documents or a greater `heldout_fraction`",
                without.join("`, `"),
                split.name()
            )
        })
    }

    /// Returns the bits per byte of every domain. Calls `progress` after each batch with the number of tokens scored so
    /// far and the total.
    ///
    /// # Errors
    /// Fails as [`score_shard`] does.
    pub fn evaluate<A: ProgressResult>(
        &self,
        model: &Transformer,
        progress: &mut dyn FnMut(u64, u64) -> A,
    ) -> Result<BTreeMap<String, f64>, EvalError> {
        let sizes: Vec<u64> = self
            .shards
            .iter()
            .map(|domain| size(&domain.shard, self.of(&domain.shard)))
            .collect();
        let all = sizes.iter().sum();
        let mut before = 0;
        let mut found = BTreeMap::new();
        for (NamedShard { name, shard }, size) in self.shards.iter().zip(sizes) {
            let scores = score_shard(model, shard, self.of(shard), &mut |done, _| {
                progress(before + done, all)
            })?;
            before += size;
            found.insert(name.clone(), scores.bits_per_byte());
        }
        Ok(found)
    }

    /// Returns the window options for a shard. Removes the split from them if the shard has no documents in it.
    fn of(&self, shard: &TokenShard) -> WindowOptions {
        WindowOptions {
            split: self.split().filter(|split| has(shard, *split)),
            ..self.windows
        }
    }
}

fn has(shard: &TokenShard, split: HeldoutSplit) -> bool {
    (0..shard.documents()).any(|index| shard.split_of(index) == split)
}

/// Returns the maximum number of tokens that will be scored.
fn size(shard: &TokenShard, windows: WindowOptions) -> u64 {
    let is_wanted = |index: &usize| {
        windows
            .split
            .is_none_or(|split| shard.split_of(*index) == split)
    };
    let documents = (0..shard.documents()).filter(is_wanted);
    let tokens = documents.map(|index| shard.document(index).len() as u64);
    let all: u64 = tokens.sum();
    all.min(windows.max_tokens.unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
