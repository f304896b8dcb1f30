//! Packing of a domain's examples with prompts into rows of a given length.

use std::fmt;

use crate::TokenShard;
use crate::batches::cuts::{Cut, needed};
use crate::batches::packed::pack;

/// A row is chosen in steps of so many tokens.
const STEP: usize = 64;

/// Examples of a domain with prompts, in rows of one length.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Packing {
    /// Tokens of a row.
    pub sequence_length: usize,
    /// Examples that are stored.
    pub examples: u64,
    /// Examples cut over several rows.
    pub cut: u64,
    /// Examples without a learned token, which are left out.
    pub without_targets: u64,
    /// Tokens of the longest, up to the last that is learned.
    pub longest: u64,
    /// Answers that have a prompt.
    pub answers: u64,
    /// Examples whose prompt does not fit a row in full.
    pub lost_prompts: u64,
    /// Rows of an epoch.
    pub rows: u64,
    /// Tokens of an epoch, padding not counted.
    pub tokens: u64,
}

impl Packing {
    /// Measures what rows of `sequence_length` tokens make of a shard; `None` of one without prompts, which is wrapped
    /// without padding.
    pub fn of(shard: &TokenShard, sequence_length: usize) -> Option<Self> {
        let length = sequence_length.max(1);
        shard.has_loss_mask().then(|| pack(shard, length).1)
    }

    /// The share of an epoch's positions that is padding.
    pub fn padding(&self) -> f64 {
        let positions = self.rows * self.sequence_length as u64;
        1.0 - self.tokens as f64 / positions.max(1) as f64
    }

    /// Why nothing can be learned, where no example has a target.
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

/// Describes the packing in a sentence for a person.
impl fmt::Display for Packing {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let share = |part: u64, all: u64| part as f64 * 100.0 / all.max(1) as f64;
        write!(
            formatter,
            "{} examples with prompts, the longest of {} tokens; rows of {} cut {} of them ({:.1} %), {} of {} answers lose \
             some of their prompt, padding {:.1} %",
            self.examples,
            self.longest,
            self.sequence_length,
            self.cut,
            share(self.cut, self.examples),
            self.lost_prompts,
            self.answers,
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

/// The length of a row that cuts no example of a shard with prompts: a multiple of 64 that is at least `least` and at
/// most `most`. Where a few examples are far longer than all others, it is one that cuts at most 1 % of them.
pub fn fitting_length(shard: &TokenShard, least: usize, most: usize) -> usize {
    let mut needed: Vec<usize> = (0..shard.documents())
        .map(|index| needed(shard.document(index)))
        .filter(|needed| *needed > 0)
        .collect();
    needed.sort_unstable();
    let longest = needed.last().copied().unwrap_or(0);
    let usual = needed.get((needed.len() * 99).div_ceil(100).max(1) - 1);
    let usual = usual.copied().unwrap_or(0);
    // An outlier would make every row as long as itself.
    let wanted = if longest > 2 * usual { usual } else { longest };
    wanted.next_multiple_of(STEP).max(least).min(most)
}
