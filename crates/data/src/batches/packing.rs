//! Statistics of packing a domain's examples with prompts into rows of a given length.

use std::fmt;

use polymath_base::counted;

use crate::TokenShard;
use crate::batches::cuts::{Cut, needed};
use crate::batches::packed::pack;

/// Chosen row lengths are multiples of this, in tokens.
const STEP: usize = 64;

/// Statistics of the examples with prompts of a domain, packed into rows of one length.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Packing {
    /// Number of tokens per row.
    pub sequence_length: usize,
    /// Number of stored examples.
    pub examples: u64,
    /// Number of examples that do not fit into a row and are cut into several pieces.
    pub cut: u64,
    /// Examples without a target (no token in the loss mask), which are left out.
    pub without_targets: u64,
    /// Number of tokens of the longest example, counted up to its last target.
    pub longest: u64,
    /// Number of answers that have a prompt.
    pub answers: u64,
    /// Number of answers that do not fit into one row together with their whole prompt, so that part of the prompt is
    /// lost.
    pub lost_prompts: u64,
    /// Number of rows per epoch.
    pub rows: u64,
    /// Number of tokens per epoch, without padding.
    pub tokens: u64,
}

impl Packing {
    /// Packs a shard into rows of `sequence_length` tokens and returns the statistics. Returns `None` for a shard
    /// without a loss mask, whose rows need no padding.
    pub fn of(shard: &TokenShard, sequence_length: usize) -> Option<Self> {
        let length = sequence_length.max(1);
        shard.has_loss_mask().then(|| pack(shard, length).1)
    }

    /// Returns the share of positions that are padding.
    pub fn padding(&self) -> f64 {
        let positions = self.rows * self.sequence_length as u64;
        1.0 - self.tokens as f64 / positions.max(1) as f64
    }

    /// Returns a message if no example has a target, so that nothing can be trained on.
    pub(crate) fn refusal(&self) -> Option<String> {
        (self.without_targets == self.examples).then(|| {
            format!(
                "no token to train on: none of its {} examples has an answer, all of their tokens are of prompts (see \
                 `prompt`, `response` and the roles of `messages` in the text that it was prepared from)",
                self.examples
            )
        })
    }

    pub(crate) fn add(&mut self, found: Cut) {
        self.examples += 1;
        self.answers += found.answers;
        self.lost_prompts += found.lost_prompts;
        self.longest = self.longest.max(found.needed as u64);
        if found.needed == 0 {
            self.without_targets += 1;
        } else if !found.whole {
            self.cut += 1;
        }
    }
}

/// Formats the packing statistics as one sentence.
impl fmt::Display for Packing {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let share = |part: u64, all: u64| part as f64 * 100.0 / all.max(1) as f64;
        write!(
            formatter,
            "{} with prompts, the longest of {}; ",
            counted(self.examples, "example"),
            counted(self.longest, "token")
        )?;
        if self.cut == 0 && self.lost_prompts == 0 {
            write!(formatter, "rows of {} cut none", self.sequence_length)?;
        } else {
            write!(
                formatter,
                "rows of {} cut {} of them ({:.1} %), and {} of {} answers lose some of their prompt",
                self.sequence_length,
                self.cut,
                share(self.cut, self.examples),
                self.lost_prompts,
                self.answers
            )?;
        }
        write!(
            formatter,
            "; {:.1} % of the positions are padding",
            self.padding() * 100.0
        )?;
        if self.without_targets > 0 {
            write!(
                formatter,
                "; left out: {} without an answer, all of whose tokens are of prompts",
                self.without_targets
            )?;
        }
        Ok(())
    }
}

/// Returns a row length that cuts no example of a shard with prompts: a multiple of 64, within `least..=most`. If the
/// longest example is more than twice as long as the 99th percentile, it returns the length for the 99th percentile
/// instead, so at most 1 % of the examples are cut.
pub fn fitting_length(shard: &TokenShard, least: usize, most: usize) -> usize {
    let mut needed: Vec<usize> = (0..shard.documents())
        .map(|index| needed(shard.document(index)))
        .filter(|needed| *needed > 0)
        .collect();
    needed.sort_unstable();
    let longest = needed.last().copied().unwrap_or(0);
    let usual = needed.get((needed.len() * 99).div_ceil(100).max(1) - 1);
    let usual = usual.copied().unwrap_or(0);
    // Otherwise one outlier would make every row as long as itself.
    let wanted = if longest > 2 * usual { usual } else { longest };
    wanted.next_multiple_of(STEP).max(least).min(most)
}
