//! Cutting of an example with a prompt into pieces that fit a row.
//!
//! An *answer* is a stretch of tokens with a target, its *prompt* the stretch without before it; together they are an
//! exchange. An example that fits a row stays whole. A longer one is cut between exchanges, as many whole ones to a
//! piece as fit, so that every answer that fits a row with its prompt keeps it. An exchange that fits no row has its
//! answer cut instead, or its prompt where that alone fills a row; what is left of the answer then has as much as fits
//! of the text before it as context. What has no target (prompts without an answer) makes no piece.

use crate::shards::shard::Document;

/// A part of a document in one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Index of the document.
    pub document: u32,
    /// First token in the row.
    pub from: u32,
    /// Tokens before this are context: an earlier piece has their targets.
    pub scored_from: u32,
    /// Index after the last token in the row.
    pub to: u32,
}

impl Piece {
    /// Tokens that it takes of a row.
    pub fn len(self) -> usize {
        (self.to - self.from) as usize
    }
}

/// An answer and the prompt before it.
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

/// Result of cutting one document.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Tokens up to its last target; 0 where it has none.
    pub needed: usize,
    /// True if it is one piece.
    pub whole: bool,
    /// Answers with a prompt.
    pub answers: u64,
    /// Answers that no row has room for with all of their prompt.
    pub lost_prompts: u64,
}

/// Tokens of a document up to its last target; 0 where it has none.
pub(crate) fn needed(document: Document<'_>) -> usize {
    let length = document.len();
    let last = |marks: &[u8]| marks.iter().rposition(|mark| *mark != 0);
    match document.marks(0..length) {
        Some(marks) => last(marks).map_or(0, |last| last + 1),
        None => length,
    }
}

/// Appends the pieces of a document for rows of `length` tokens to `pieces`.
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

/// The pieces of an exchange that fits no row.
fn cut_answer(exchange: Exchange, length: usize, add: &mut impl FnMut(usize, usize, usize)) {
    let Exchange {
        prompt,
        answer,
        end,
    } = exchange;
    // A prompt that leaves no room for the answer loses its beginning.
    let from = match answer - prompt < length {
        true => prompt,
        false => answer + (length / 2).clamp(1, end - answer) - length,
    };
    let mut next = from + length;
    add(from, from, next);
    while next < end {
        let to = end.min(next + length);
        // The last piece may be short: it gets context, unless the text has no prompt and is cut as any text is.
        let from = match exchange.has_prompt() {
            true => to - length,
            false => next,
        };
        add(from, next, to);
        next = to;
    }
}

/// Answers with their prompts, in order.
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
