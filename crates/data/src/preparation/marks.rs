//! Scored parts of a document: the ends of its turns, and the marks of its tokens.

use crate::sources::document::Part;
use crate::tokenizer::special_tokens::SpecialToken;

/// End of a scored part of a conversation.
pub(super) struct Turn {
    /// End in the text.
    pub(super) end: usize,
    /// Scored bytes up to there.
    pub(super) bytes: u64,
    /// Scored parts up to there.
    pub(super) turns: u64,
}

/// Returns the ends of the scored parts of a document.
pub(super) fn turns(parts: &[Part]) -> Vec<Turn> {
    let mut ends = Vec::new();
    let (mut end, mut bytes, mut turns) = (0, 0, 0);
    for (number, part) in parts.iter().enumerate() {
        end += part.text.len();
        if part.scored && !part.from_template {
            bytes += part.text.len() as u64;
            turns += 1;
        }
        if part.scored && parts.get(number + 1).is_none_or(|next| !next.scored) {
            ends.push(Turn { end, bytes, turns });
        }
    }
    ends
}

/// Marks the scored tokens: those that overlap a scored part.
pub(super) fn marks(tokens: &[SpecialToken], parts: &[Part]) -> Vec<bool> {
    let mut ends = Vec::with_capacity(parts.len());
    let mut end = 0;
    for part in parts {
        end += part.text.len();
        ends.push(end);
    }
    let is_scored = |token: &SpecialToken| {
        let first = ends.partition_point(|end| *end <= token.from);
        // A token of no length stands before what follows it.
        let last = token.to.max(token.from + 1);
        let mut touched =
            (first..parts.len()).take_while(|&part| part == first || ends[part - 1] < last);
        touched.any(|part| parts[part].scored)
    };
    tokens.iter().map(is_scored).collect()
}
