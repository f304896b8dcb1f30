//! Properties of the base and of the niche on which the defaults of a fine-tuning depend.

use polymath_train::OptimizerChoice;

/// Properties of the base and of the niche's data that determine the defaults.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BaseFacts {
    /// Maximum context of the base in tokens.
    pub context: usize,
    /// Number of parameters of the base.
    pub parameters: u64,
    /// Optimizer that the base was trained with, if known.
    pub optimizer: Option<OptimizerChoice>,
    /// Row length in tokens that fits the niche's examples, if these have prompts.
    pub fitting: Option<usize>,
    /// Number of training tokens in the niche.
    pub epoch_tokens: u64,
    /// Number of held-out tokens that an evaluation scores, by the config.
    pub scored_tokens: u64,
    /// Share of padding among the positions of a batch.
    pub padding: f64,
}
