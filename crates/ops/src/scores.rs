//! Scores of tokens.

/// Score of each token; 0 and `false` where the target is [`crate::IGNORED`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores {
    /// −ln p(target).
    pub nats: Vec<f32>,
    /// True if the likeliest token (the first, on a tie) is the target.
    pub correct: Vec<bool>,
}
