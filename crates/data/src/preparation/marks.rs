//! Loss mask of a document, and the ends of its scored turns.

use crate::sources::document::Part;
use crate::tokenizer::special_tokens::SpecialToken;

/// End of a scored turn of a conversation, where the conversation may be cut.
pub(super) struct Turn {
    /// Byte offset of the turn's end in the document's text.
    pub(super) end: usize,
    /// Number of scored bytes from the beginning of the document to the end of this turn.
    pub(super) bytes: u64,
    /// Number of scored turns from the beginning of the document, including this one.
    pub(super) turns: u64,
}

/// Returns the ends of the scored turns of a document.
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

/// Returns the loss mask: true for each token that overlaps a scored part.
pub(super) fn marks(tokens: &[SpecialToken], parts: &[Part]) -> Vec<bool> {
    let mut ends = Vec::with_capacity(parts.len());
    let mut end = 0;
    for part in parts {
        end += part.text.len();
        ends.push(end);
    }
    let is_scored = |token: &SpecialToken| {
        let first = ends.partition_point(|end| *end <= token.from);
        // A token of zero length counts with the text that follows it.
        let last = token.to.max(token.from + 1);
        let mut touched =
            (first..parts.len()).take_while(|&part| part == first || ends[part - 1] < last);
        touched.any(|part| parts[part].scored)
    };
    tokens.iter().map(is_scored).collect()
}
