//! Change by groups of tokens: by their frequency in the training text, and by their position in the document.

use polymath_data::Split;

use super::{Evidence, FrequencyGroup, PositionGroup, TokenPair};
use crate::ReportError;
use polymath_eval::statistics::{Change, PairedBootstrap};
use polymath_eval::{DocumentScore, DomainScores};

/// Maximum number of training tokens per domain that are counted for frequencies.
const COUNTED: u64 = 20_000_000;
/// Bootstrap resamples for the intervals of groups.
const RESAMPLES: usize = 1000;
/// Groups of tokens by frequency: minimum number of occurrences per million training tokens, and name of the group.
const FREQUENCIES: [(f64, &str); 5] = [
    (10_000.0, "over 10 000"),
    (1_000.0, "1 000 to 10 000"),
    (100.0, "100 to 1 000"),
    (10.0, "10 to 100"),
    (0.0, "under 10, or never"),
];
/// Groups of tokens by position in the document: index of the first token of each group, ascending.
const POSITIONS: [usize; 5] = [0, 16, 64, 256, 1024];

/// Measured change of one group of tokens.
struct GroupChange {
    /// Index of the group.
    group: usize,
    /// Number of held-out tokens in the group.
    tokens: u64,
    change: Change,
}

impl Evidence<'_> {
    /// Returns the mean change of each frequency group, with a paired bootstrap over document groups.
    pub(super) fn frequencies(
        &self,
        pairs: &[TokenPair],
    ) -> Result<Vec<FrequencyGroup>, ReportError> {
        let group_of = self.groups_of_tokens()?;
        let rarest = FREQUENCIES.len() - 1;
        let of_token = |token: u32, _| {
            let group = group_of.get(token as usize);
            Some(group.map_or(rarest, |group| usize::from(*group)))
        };
        let found = self.by_group(pairs, FREQUENCIES.len(), &of_token)?;
        let group = |found: GroupChange| FrequencyGroup {
            frequency: FREQUENCIES[found.group].1.to_owned(),
            tokens: found.tokens,
            change: found.change.value,
            interval: found.change.interval,
        };
        Ok(found.into_iter().map(group).collect())
    }

    /// Returns the mean change of each position group. Leaves out tokens beyond the context: their windows begin again
    /// in the middle of the document.
    pub(super) fn positions(&self, pairs: &[TokenPair]) -> Result<Vec<PositionGroup>, ReportError> {
        let of_place = |_, place: usize| {
            let group = POSITIONS.iter().rposition(|from| place >= *from);
            group.filter(|_| place < self.context)
        };
        let found = self.by_group(pairs, POSITIONS.len(), &of_place)?;
        let group = |found: GroupChange| {
            let next = POSITIONS.get(found.group + 1).copied();
            let last = next.filter(|next| *next <= self.context);
            PositionGroup {
                tokens_of_document: (
                    POSITIONS[found.group] as u64 + 1,
                    last.map(|last| last as u64),
                ),
                tokens: found.tokens,
                change: found.change.value,
                interval: found.change.interval,
            }
        };
        Ok(found.into_iter().map(group).collect())
    }

    /// Returns the mean change per token of each of `count` groups that has tokens. `group_of` maps a token and its
    /// index in the document to its group.
    fn by_group(
        &self,
        pairs: &[TokenPair],
        count: usize,
        group_of: &dyn Fn(u32, usize) -> Option<usize>,
    ) -> Result<Vec<GroupChange>, ReportError> {
        let shard = self.dataset.shard(self.domain, Split::Heldout)?;
        // Sums of each document by group. `bytes` counts tokens here.
        let mut of_base = vec![DomainScores::default(); count];
        let mut of_tuned = of_base.clone();
        let mut tokens = Vec::new();
        for (base, tuned) in pairs {
            let document = shard.document(base.document as usize);
            tokens.clear();
            document.copy_tokens(0..document.len(), &mut tokens);
            let work = shard.group_of(base.document as usize);
            let mut sums = vec![(DocumentScore::default(), DocumentScore::default()); count];
            let scores = base.nats.iter().zip(&tuned.nats);
            for (place, (token, (before, after))) in tokens.iter().zip(scores).enumerate() {
                let Some(group) = group_of(*token, place).filter(|_| !before.is_nan()) else {
                    continue;
                };
                let (base, tuned) = &mut sums[group];
                for (sum, nats) in [(base, before), (tuned, after)] {
                    sum.nats += f64::from(*nats);
                    sum.bytes += 1;
                }
            }
            for (group, (base, tuned)) in sums.into_iter().enumerate() {
                if base.bytes > 0 {
                    of_base[group].documents.push(base);
                    of_tuned[group].documents.push(tuned);
                    of_base[group].groups.extend(work);
                }
            }
        }
        let mut found = Vec::new();
        for (group, (base, tuned)) in of_base.iter().zip(&of_tuned).enumerate() {
            if base.bytes() > 0 {
                found.push(GroupChange {
                    group,
                    tokens: base.bytes(),
                    change: PairedBootstrap::new(base, tuned, RESAMPLES, self.seed)?.change(),
                });
            }
        }
        Ok(found)
    }

    /// Returns the frequency group of each token by its count in the domain's training text.
    fn groups_of_tokens(&self) -> Result<Vec<u8>, ReportError> {
        let shard = self.dataset.shard(self.domain, Split::Train)?;
        let mut counts: Vec<u64> = vec![0; self.dataset.manifest().tokenizer.vocab_size];
        let mut all = 0;
        let mut tokens = Vec::new();
        for index in 0..shard.documents() {
            let document = shard.document(index);
            tokens.clear();
            document.copy_tokens(0..document.len(), &mut tokens);
            for token in &tokens {
                if let Some(count) = counts.get_mut(*token as usize) {
                    *count += 1;
                }
            }
            all += tokens.len() as u64;
            if all >= COUNTED {
                break;
            }
        }
        let group = |count: &u64| {
            let frequency = *count as f64 * 1e6 / all.max(1) as f64;
            let found = FREQUENCIES.iter().position(|(from, _)| frequency >= *from);
            found.unwrap_or(FREQUENCIES.len() - 1) as u8
        };
        Ok(counts.iter().map(group).collect())
    }
}
