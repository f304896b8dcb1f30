//! Forward passes: loss and hidden states in the graph; scores and logits outside it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use candle_core::Tensor;
use polymath_ops::Scores;

use super::Transformer;
use crate::initialize::mix;
use crate::kv_cache::Cache;
use crate::network::{Network, Pass};
use crate::network_input::NetworkInput;
use crate::{Batch, ModelError};

impl Transformer {
    /// Returns the sum of −ln p over the batch's targets, plus the z-loss if one is set: a scalar in the graph of the
    /// trainable parameters.
    ///
    /// # Errors
    /// Fails if the batch is longer than the context, or if a token is outside of the vocabulary.
    pub fn loss(&self, batch: &Batch) -> Result<Tensor, ModelError> {
        let hidden = self.hidden_states(batch)?; // (tokens, hidden)
        self.loss_of(&hidden, &batch.targets.as_slice().into())
    }

    /// Computes [`Self::loss`] for the positions of [`Self::hidden_states`] that have a target.
    ///
    /// # Shapes
    /// (tokens, hidden), `targets` tokens → ()
    ///
    /// # Errors
    /// Fails if the numbers of targets and positions differ, or if a target is outside of the vocabulary.
    pub fn loss_of(&self, hidden: &Tensor, targets: &Arc<[u32]>) -> Result<Tensor, ModelError> {
        let head = self.tracked.head();
        Ok(self.ops.cross_entropy(hidden, head, targets, self.z_loss)?)
    }

    /// Returns the output of the final norm at each position, in the graph of the trainable parameters. It is the
    /// input of the output projection ([`Self::head`]). With both, objectives other than [`Self::loss`] can be
    /// computed.
    ///
    /// # Shapes
    /// → (rows × sequence, hidden)
    ///
    /// # Errors
    /// Fails as [`Self::loss`] does.
    pub fn hidden_states(&self, batch: &Batch) -> Result<Tensor, ModelError> {
        self.check(batch)?;
        let input = NetworkInput::new(batch)?;
        let pass = Pass {
            noise: self.noise_for(batch),
            recompute: self.recompute,
            ..self.pass(&input)
        };
        let hidden = self.tracked.hidden(&pass, &input.input_ids, None)?; // (batch, sequence, hidden)
        Ok(hidden.flatten_to(1)?)
    }

    /// Returns the output projection in the graph of the trainable parameters: logits are `hidden · headᵀ`.
    ///
    /// # Shapes
    /// (vocabulary, hidden)
    pub fn head(&self) -> &Tensor {
        self.tracked.head()
    }

    /// Returns the weight of the z-loss, as set by [`Self::with_z_loss`].
    pub(crate) fn z_loss(&self) -> f64 {
        self.z_loss
    }

    /// Returns the output of the final norm at each position, `(tokens, hidden)`, outside of the graph.
    pub(crate) fn detached_states(&self, batch: &Batch) -> Result<Tensor, ModelError> {
        self.check(batch)?;
        let input = NetworkInput::new(batch)?;
        Ok(self.hidden(&self.detached, &input, None)?.flatten_to(1)?)
    }

    /// Returns the output projection, outside of the graph.
    pub(crate) fn detached_head(&self) -> &Tensor {
        self.detached.head()
    }

    /// Returns −ln p of every target, and whether it is the most likely token. Tracks no gradients.
    ///
    /// # Errors
    /// Fails as [`Self::loss`] does.
    pub fn score(&self, batch: &Batch) -> Result<Scores, ModelError> {
        self.check(batch)?;
        let input = NetworkInput::new(batch)?;
        let hidden = self.hidden(&self.detached, &input, None)?.flatten_to(1)?; // (tokens, hidden)
        Ok(self.ops.score(
            &hidden,
            self.detached.head(),
            &batch.targets.as_slice().into(),
        )?)
    }

    /// Returns the logits of every position: `(batch, sequence, vocabulary)`. For tests and small inputs only, since
    /// training and scoring never hold all logits in memory.
    ///
    /// # Errors
    /// Fails as [`Self::loss`] does.
    pub fn logits(&self, batch: &Batch) -> Result<Tensor, ModelError> {
        self.check(batch)?;
        let hidden = self.hidden(&self.detached, &NetworkInput::new(batch)?, None)?;
        Ok(self.ops.linear(&hidden, self.detached.head(), None)?)
    }

    /// Returns the logits `(vocabulary)` after the last token of `input`, whose tokens continue those in the
    /// cache.
    pub(crate) fn next_logits(
        &self,
        input: &NetworkInput,
        cache: &mut Cache,
    ) -> Result<Tensor, ModelError> {
        let hidden = self.hidden(&self.detached, input, Some(cache))?;
        let last = hidden.narrow(1, hidden.dim(1)? - 1, 1)?; // (1, 1, hidden)
        let logits = self.ops.linear(&last, self.detached.head(), None)?;
        Ok(logits.flatten_all()?)
    }

    fn hidden(
        &self,
        network: &Network,
        input: &NetworkInput,
        cache: Option<&mut Cache>,
    ) -> Result<Tensor, ModelError> {
        Ok(network.hidden(&self.pass(input), &input.input_ids, cache)?)
    }

    /// Creates a forward pass without dropout.
    fn pass<'a>(&'a self, input: &'a NetworkInput) -> Pass<'a> {
        Pass {
            ops: self.ops,
            rotary: self.rotary.as_ref(),
            positions: &input.positions,
            segments: &input.segments,
            windowed: match &self.config.sliding_window {
                Some(window) => input.segments.windowed(window.size),
                None => input.segments.clone(),
            },
            noise: None,
            recompute: false,
        }
    }

    /// Returns the dropout seeds of a batch's rows in this step.
    fn noise_for(&self, batch: &Batch) -> Option<Arc<[u64]>> {
        let (lora, _) = self.adapter.as_ref()?;
        if lora.dropout == 0.0 {
            return None;
        }
        let step = self.noise.load(Ordering::SeqCst);
        let first = self.first_row.load(Ordering::SeqCst);
        let rows = first..first + batch.rows as u64;
        Some(rows.map(|row| mix(step.wrapping_add(row))).collect())
    }

    fn check(&self, batch: &Batch) -> Result<(), ModelError> {
        let limit = self.config.max_position_embeddings;
        if batch.sequence_length() > limit {
            return Err(ModelError::Input(format!(
                "a sequence of {} tokens is longer than the model's context, `max_position_embeddings` = {limit}",
                batch.sequence_length()
            )));
        }
        let vocabulary = self.config.vocab_size as u32;
        let stranger = |token: &&u32| **token >= vocabulary;
        let targets = batch
            .targets
            .iter()
            .filter(|token| **token != crate::IGNORED);
        if let Some(token) = batch.input_ids.iter().chain(targets).find(stranger) {
            return Err(ModelError::Input(format!(
                "token {token} is outside the model's vocabulary of {vocabulary}: was the text prepared with another \
                 tokenizer?"
            )));
        }
        Ok(())
    }
}
