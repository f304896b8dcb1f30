//! Cutting of an example with prompts into pieces that fit into a row.
//!
//! An *answer* is a run of consecutive tokens in the loss mask, its *prompt* the run of tokens outside of the mask
//! before it. A prompt and its answer are an *exchange*.
//!
//! - An example that fits into a row stays whole.
//! - A longer one is cut between exchanges, with as many whole exchanges in a piece as fit. So every answer that fits
//!   into a row with its prompt keeps the prompt.
//! - An exchange that does not fit into a row has its answer cut. If the prompt alone fills a row, the beginning of
//!   the prompt is dropped. The later pieces of the answer begin with as much of the text before them as fits, as
//!   context without targets.
//! - Prompts after the last answer make no piece.

use crate::shards::shard::Document;

/// A piece of a document that is placed into one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Index of the document in its shard.
    pub document: u32,
    /// Index in the document of the piece's first token.
    pub from: u32,
    /// Index in the document of the first token with a target; the tokens before it are context, whose targets belong
    /// to an earlier piece.
    pub scored_from: u32,
    /// Index in the document after the piece's last token.
    pub to: u32,
}

impl Piece {
    /// Returns the number of tokens of the piece.
    pub fn len(self) -> usize {
        (self.to - self.from) as usize
    }
}

/// A prompt and its answer: the prompt is `prompt..answer`, the answer `answer..end` (token indices).
#[derive(Debug, Clone, Copy)]
struct Exchange {
    prompt: usize,
    answer: usize,
    end: usize,
}

impl Exchange {
    fn has_prompt(self) -> bool {
        self.prompt < self.answer
    }

    fn fits(self, length: usize) -> bool {
        self.end - self.prompt <= length
    }
}

/// Result of cutting a document into pieces for rows: how many tokens and answers it has, and which of them lose
/// their prompt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Number of tokens up to and including the document's last target; 0 if it has no target.
    pub needed: usize,
    /// True if the document stays whole, as one piece.
    pub whole: bool,
    /// Number of answers that have a prompt.
    pub answers: u64,
    /// Number of answers that do not fit into one row together with their whole prompt.
    pub lost_prompts: u64,
}

/// Counts the tokens of a document up to its last target; 0 if it has no target.
pub(crate) fn needed(document: Document<'_>) -> usize {
    let length = document.len();
    let last = |marks: &[u8]| marks.iter().rposition(|mark| *mark != 0);
    match document.marks(0..length) {
        Some(marks) => last(marks).map_or(0, |last| last + 1),
        None => length,
    }
}

/// Cuts a document for rows of `length` tokens and appends the pieces to `pieces`.
pub(crate) fn cut(
    document: Document<'_>,
    index: u32,
    length: usize,
    pieces: &mut Vec<Piece>,
) -> Cut {
    let exchanges = exchanges(document);
    let prompted = exchanges.iter().filter(|exchange| exchange.has_prompt());
    let mut found = Cut {
        needed: needed(document),
        answers: prompted.clone().count() as u64,
        lost_prompts: prompted.filter(|exchange| !exchange.fits(length)).count() as u64,
        whole: false,
    };
    let mut add = |from: usize, scored_from: usize, to: usize| {
        pieces.push(Piece {
            document: index,
            from: from as u32,
            scored_from: scored_from as u32,
            to: to as u32,
        });
    };
    if found.needed > 0 && found.needed <= length {
        found.whole = true;
        add(0, 0, document.len().min(length));
        return found;
    }
    let mut rest = &exchanges[..];
    while let Some(first) = rest.first() {
        let whole = |exchange: &&Exchange| exchange.end - first.prompt <= length;
        let fitting = rest.iter().take_while(whole).count();
        match rest[..fitting].last() {
            Some(last) => add(first.prompt, first.prompt, last.end),
            None => cut_answer(*first, length, &mut add),
        }
        rest = &rest[fitting.max(1)..];
    }
    found
}

/// Cuts an exchange that does not fit into one row. Calls `add(from, scored_from, to)` for each piece.
fn cut_answer(exchange: Exchange, length: usize, add: &mut impl FnMut(usize, usize, usize)) {
    let Exchange {
        prompt,
        answer,
        end,
    } = exchange;
    // If the prompt leaves no room for the answer, its beginning is dropped.
    let from = match answer - prompt < length {
        true => prompt,
        false => answer + (length / 2).clamp(1, end - answer) - length,
    };
    let mut next = from + length;
    add(from, from, next);
    while next < end {
        let to = end.min(next + length);
        // A short last piece is filled with context before it. Text without a prompt is cut without context.
        let from = match exchange.has_prompt() {
            true => to - length,
            false => next,
        };
        add(from, next, to);
        next = to;
    }
}

/// Returns the exchanges of a document in order. A document without a loss mask is one exchange without a prompt.
fn exchanges(document: Document<'_>) -> Vec<Exchange> {
    let length = document.len();
    let Some(marks) = document.marks(0..length) else {
        return vec![Exchange {
            prompt: 0,
            answer: 0,
            end: length,
        }];
    };
    let mut exchanges = Vec::new();
    let mut prompt = 0;
    while let Some(prompt_length) = marks[prompt..].iter().position(|mark| *mark != 0) {
        let answer = prompt + prompt_length;
        let scored = marks[answer..].iter().position(|mark| *mark == 0);
        let end = scored.map_or(length, |scored| answer + scored);
        exchanges.push(Exchange {
            prompt,
            answer,
            end,
        });
        prompt = end;
    }
    exchanges
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ShardWriter, TokenShard};

    /// Cuts a document of tokens that are targets where `marks` has a 1, for rows of `length` tokens. Returns its
    /// pieces as (from, scored_from, to), and the counts.
    fn cut_marked(marks: &str, length: usize) -> (Vec<(u32, u32, u32)>, Cut) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train.safetensors");
        let mut writer = ShardWriter::create(&path, 9).unwrap();
        let scored: Vec<bool> = marks.bytes().map(|mark| mark == b'1').collect();
        writer.push(&vec![1; marks.len()], &scored, 1).unwrap();
        writer.finish().unwrap();
        let shard = TokenShard::open(&path).unwrap();
        let mut pieces = Vec::new();
        let found = cut(shard.document(0), 7, length, &mut pieces);
        assert!(pieces.iter().all(|piece| piece.document == 7));
        let places = pieces
            .iter()
            .map(|piece| (piece.from, piece.scored_from, piece.to));
        (places.collect(), found)
    }

    /// Checks the pieces by hand of two exchanges, of 3 + 2 and 1 + 4 tokens: whole, each by itself, and with cut
    /// answers whose later pieces begin with the text before them.
    #[test]
    fn exchanges_are_cut_by_hand() {
        for (length, expected, lost) in [
            (10, vec![(0, 0, 10)], 0),
            (9, vec![(0, 0, 5), (5, 5, 10)], 0),
            (5, vec![(0, 0, 5), (5, 5, 10)], 0),
            (4, vec![(0, 0, 4), (1, 4, 5), (5, 5, 9), (6, 9, 10)], 2),
            (
                2,
                vec![(2, 2, 4), (3, 4, 5), (5, 5, 7), (7, 7, 9), (8, 9, 10)],
                2,
            ),
        ] {
            let (pieces, found) = cut_marked("0001101111", length);
            assert_eq!(pieces, expected, "{length}");
            let counts = (found.needed, found.whole, found.answers, found.lost_prompts);
            assert_eq!(counts, (10, length == 10, 2, lost), "{length}");
        }
    }

    /// Checks that a prompt after the last answer is not needed, that an answer without a prompt has no context, and
    /// that a document without a target has no piece.
    #[test]
    fn ends_and_beginnings_without_targets() {
        let (pieces, found) = cut_marked("0110", 3);
        assert_eq!(
            (pieces, found.needed, found.whole),
            (vec![(0, 0, 3)], 3, true)
        );
        let (pieces, found) = cut_marked("11101", 2);
        assert_eq!(pieces, [(0, 0, 2), (2, 2, 3), (3, 3, 5)]);
        assert_eq!((found.answers, found.lost_prompts), (1, 0));
        let (pieces, found) = cut_marked("000", 2);
        assert_eq!((pieces, found), (vec![], Cut::default()));
    }
}
