//! Scores of tokens: loss and correctness.

/// Loss and correctness of each token; 0 and `false` if its target is [`crate::IGNORED`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores {
    /// −ln p(target).
    pub nats: Vec<f32>,
    /// True if the target is the most likely token; on a tie, the first token counts as the most likely.
    pub correct: Vec<bool>,
}
