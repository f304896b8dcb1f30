//! What a model makes of held-out documents.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use polymath_data::{Batch, Grouping, HeldoutSplit, ScoringBatches, ScoringOptions, TokenShard};
use polymath_model::{TokenBatch, Transformer};
use serde::{Deserialize, Serialize};

use crate::EvalError;

/// Tokens that are scored at once; more gains no speed and costs memory.
pub(crate) const TOKENS_AT_ONCE: usize = 4096;
/// The in-training subsample is the same in every run, so that curves can be compared.
const SUBSAMPLE_SEED: u64 = 0;

/// The score of one document.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct DocumentScore {
    /// −ln p, summed over its scored tokens.
    pub nats: f64,
    /// Its scored tokens, the end-of-text token included.
    pub tokens: u64,
    /// UTF-8 bytes of its scored text.
    pub bytes: u64,
}

/// The scores of a document's single tokens.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TokenScores {
    /// The document's place in its shard.
    pub document: u32,
    /// −ln p of each of its tokens; NaN where it is not scored (a prompt).
    pub nats: Vec<f32>,
}

/// The scores of a domain's held-out documents, in the shard's order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DomainScores {
    /// One a document.
    pub documents: Vec<DocumentScore>,
    /// The group of each document: documents of one group are not independent of each other. Empty where the data set
    /// knows none; then each document is its own.
    pub groups: Vec<u64>,
    /// What a group is; none where the data set knows none.
    pub grouping: Option<Grouping>,
    /// Those of single tokens, of as many of the first documents as [`score_tokens`] was asked for; not of documents
    /// that the model reads in other tokens than the data set stores.
    pub tokens_of: Vec<TokenScores>,
}

impl DomainScores {
    /// Σ −log₂ p over tokens / Σ UTF-8 bytes. Two tokenizers can be compared by it, which they can't by loss.
    pub fn bits_per_byte(&self) -> f64 {
        self.nats() / (std::f64::consts::LN_2 * self.bytes().max(1) as f64)
    }

    /// exp of the mean −ln p of a token.
    pub fn perplexity(&self) -> f64 {
        (self.nats() / self.tokens().max(1) as f64).exp()
    }

    /// Scored tokens.
    pub fn tokens(&self) -> u64 {
        self.documents.iter().map(|document| document.tokens).sum()
    }

    /// UTF-8 bytes of the scored text.
    pub fn bytes(&self) -> u64 {
        self.documents.iter().map(|document| document.bytes).sum()
    }

    fn nats(&self) -> f64 {
        self.documents.iter().map(|document| document.nats).sum()
    }
}

/// Scores of every domain's documents, by the domain's name.
pub type ScoresByDomain = BTreeMap<String, DomainScores>;

/// Scores of a checkpoint on both splits of the held-out documents.
#[derive(Debug, Clone)]
pub struct SplitScores {
    /// To choose by.
    pub dev: ScoresByDomain,
    /// To report on.
    pub test: ScoresByDomain,
}

/// How documents are cut for a model's context.
#[derive(Debug, Clone, Copy, Default)]
pub struct WindowOptions {
    /// Tokens of context; default: the model's.
    pub context: Option<usize>,
    /// Tokens between two windows of a long document; default: the context.
    pub stride: Option<usize>,
    /// Score whole documents in a seeded order, up to the first that does not fit so many tokens; at least one.
    pub max_tokens: Option<u64>,
    /// Only the documents of this part.
    pub split: Option<HeldoutSplit>,
}

/// The answer of a callback that watches scoring: `()`, or a [`ControlFlow`] that can stop it.
pub trait Answer {
    /// Whether scoring is to stop.
    fn stops(&self) -> bool;
}

impl Answer for () {
    fn stops(&self) -> bool {
        false
    }
}

impl Answer for ControlFlow<()> {
    fn stops(&self) -> bool {
        self.is_break()
    }
}

/// Scores a shard's documents, every token once. `progress` takes the tokens done and in all after each batch.
///
/// # Errors
/// A context longer than the model's; a shard made with another tokenizer, or cut off meanwhile; [`EvalError::Stopped`]
/// where `progress` says so.
pub fn score_shard<A: Answer>(
    model: &Transformer,
    shard: &TokenShard,
    windows: WindowOptions,
    progress: &mut dyn FnMut(u64, u64) -> A,
) -> Result<DomainScores, EvalError> {
    score_tokens((model, shard), windows, 0, progress)
}

/// [`score_shard`], which also keeps the scores of single tokens: those of the first documents that have no more than
/// `keep` stored tokens together, four bytes each.
///
/// # Errors
/// As [`score_shard`].
pub fn score_tokens<A: Answer>(
    (model, shard): (&Transformer, &TokenShard),
    windows: WindowOptions,
    keep: u64,
    progress: &mut dyn FnMut(u64, u64) -> A,
) -> Result<DomainScores, EvalError> {
    shard.check_length()?;
    let batches = ScoringBatches::new(shard, scoring_options((model, shard), windows)?);
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
        let scores = model.score(&token_batch(batch.batch))?;
        let places = batch.document_of.iter().zip(&batch.token_of);
        for ((document, token), nats) in places.zip(&scores.nats) {
            if *document != u32::MAX {
                if let Some(Some(tokens)) = tokens_of.get_mut(*document as usize) {
                    tokens.nats[*token as usize] = *nats;
                }
                let score = &mut documents[*document as usize];
                score.nats += f64::from(*nats);
                score.tokens += 1;
                done += 1;
            }
        }
        if progress(done, all).stops() {
            return Err(EvalError::Stopped);
        }
        shard.check_length()?;
    }
    // Prompts count among all tokens, but are not scored.
    progress(all, all);
    Ok(DomainScores {
        documents,
        groups: groups_of(shard, batches.documents()),
        grouping: shard.has_groups().then(|| shard.grouping()),
        tokens_of: tokens_of.into_iter().flatten().collect(),
    })
}

/// The group of each document; empty where the shard stores none.
fn groups_of(shard: &TokenShard, documents: &[u32]) -> Vec<u64> {
    let groups = documents
        .iter()
        .map(|document| shard.group_of(*document as usize));
    groups.collect::<Option<_>>().unwrap_or_default()
}

/// Returns how many independent groups of documents [`score_shard`] scores with these windows.
///
/// # Errors
/// A context longer than the model's.
pub fn scored_groups(
    model: &Transformer,
    shard: &TokenShard,
    windows: WindowOptions,
) -> Result<usize, EvalError> {
    let batches = ScoringBatches::new(shard, scoring_options((model, shard), windows)?);
    let documents = batches.documents();
    Ok(match &groups_of(shard, documents)[..] {
        [] => documents.len(),
        groups => groups.iter().collect::<BTreeSet<_>>().len(),
    })
}

/// How documents are cut for a model.
pub(crate) fn scoring_options(
    (model, shard): (&Transformer, &TokenShard),
    windows: WindowOptions,
) -> Result<ScoringOptions, EvalError> {
    let longest = model.config().max_position_embeddings;
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
    // A row is padded to its length: one longer than every document would only hold padding.
    let shard = shard.stored();
    let lengths = (0..shard.documents()).map(|document| shard.document(document).len());
    let length = context.min(lengths.max().unwrap_or(0).max(TOKENS_AT_ONCE));
    Ok(ScoringOptions {
        rows: (TOKENS_AT_ONCE / length).max(1),
        sequence_length: length,
        stride: windows.stride,
        bos_token_id: model.config().bos_token_id,
        max_tokens: windows.max_tokens,
        seed: SUBSAMPLE_SEED,
        split: windows.split,
    })
}

/// Room for the tokens' scores of the first of `documents`, `most` tokens at most; none for those that have other
/// tokens than the data set's.
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

/// A data set's batch as the model takes it.
pub(crate) fn token_batch(batch: Batch) -> TokenBatch {
    TokenBatch {
        input_ids: batch.input_ids,
        targets: batch.targets,
        document_starts: batch.document_starts,
        rows: batch.rows,
    }
}

/// Scores the same seeded choice of held-out documents again and again during training.
///
/// A domain whose held-out documents are all in one split, and not in the one that is to be scored, is scored on what
/// it has: see [`HeldoutEvaluator::warning`].
pub struct HeldoutEvaluator {
    shards: Vec<(String, Arc<TokenShard>)>,
    windows: WindowOptions,
}

impl HeldoutEvaluator {
    /// Of these domains' shards.
    pub fn new(shards: Vec<(String, Arc<TokenShard>)>, windows: WindowOptions) -> Self {
        Self { shards, windows }
    }

    /// Returns the split of the held-out documents that is scored; `None` where it is all of them.
    pub fn split(&self) -> Option<HeldoutSplit> {
        self.windows.split
    }

    /// Names the domains that have no document in the split, and what is scored of them instead.
    pub fn warning(&self) -> Option<String> {
        let split = self.split()?;
        let without: Vec<&str> = self
            .shards
            .iter()
            .filter(|(_, shard)| !has(shard, split))
            .map(|(name, _)| name.as_str())
            .collect();
        (!without.is_empty()).then(|| {
            format!(
                "`{}` has no held-out document in the {} split: all of its held-out text is scored during the run, so that no \
                 other is left to judge by; prepare it with more documents or a greater `heldout_fraction`",
                without.join("`, `"),
                split.name()
            )
        })
    }

    /// Bits per byte of every domain.
    ///
    /// # Errors
    /// As [`score_shard`].
    pub fn evaluate<A: Answer>(
        &self,
        model: &Transformer,
        progress: &mut dyn FnMut(u64, u64) -> A,
    ) -> Result<BTreeMap<String, f64>, EvalError> {
        let sizes: Vec<u64> = self
            .shards
            .iter()
            .map(|(_, shard)| size(shard, self.of(shard)))
            .collect();
        let all = sizes.iter().sum();
        let mut before = 0;
        let mut found = BTreeMap::new();
        for ((name, shard), size) in self.shards.iter().zip(sizes) {
            let scores = score_shard(model, shard, self.of(shard), &mut |done, _| {
                progress(before + done, all)
            })?;
            before += size;
            found.insert(name.clone(), scores.bits_per_byte());
        }
        Ok(found)
    }

    /// The windows for a shard: of the split, where the shard has any document there.
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

/// Tokens that are scored at most.
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
