//! Assignment of held-out documents to `dev`, `test` and `audit`, by group.

use std::collections::HashMap;

use xxhash_rust::xxh3::xxh3_64;

use crate::{DataError, HeldoutSplit, TokenShard};
use polymath_base::mix;

/// Minimum number of groups each in `dev` and `test`, if there are twice as many. With fewer than 15 groups, a domain
/// can't get the verdict “kept”.
const FEWEST: usize = 16;
/// Minimum number of groups in `audit`, if there is an `audit` split.
const FEWEST_AUDIT: usize = 8;
/// Minimum number of held-out groups for an `audit` split; `dev` and `test` then keep about twenty each.
const AUDITED: usize = 50;
/// Salt, so that the assignment to `dev`, `test` and `audit` is independent of the assignment to the held-out split.
const SALT: u64 = 0x7061_7274_7321; // "parts!"
/// Like [`FEWEST`], in documents, for a shard that stores no groups.
const FEWEST_DOCUMENTS: usize = 8;

impl HeldoutSplit {
    /// Checks that some of a domain's held-out documents are in this split.
    ///
    /// # Errors
    /// Fails if there are none.
    pub fn check(self, domain: &str, heldout: &TokenShard) -> Result<(), DataError> {
        if (0..heldout.documents()).any(|index| heldout.split_of(index) == self) {
            return Ok(());
        }
        let (documents, name) = (heldout.documents(), self.name());
        let message = match self {
            Self::Audit => format!(
                "none of its {documents} held-out documents is in `{name}`, which is made from {AUDITED} held-out groups on, in \
                 datasets that store groups: prepare it again with `heldout_groups = {AUDITED}`, a greater `heldout_fraction` \
                 or more documents, or ask for another part"
            ),
            _ => format!(
                "none of its {documents} held-out documents is in `{name}`: prepare it with a greater `heldout_fraction`, \
                 `heldout_paths` or more documents, or score all of them"
            ),
        };
        Err(DataError::domain(domain, message))
    }
}

impl TokenShard {
    /// Returns the groups of the documents, each once, ascending; `None` if the shard stores no groups.
    pub fn groups(&self) -> Option<Vec<u64>> {
        let mut groups: Vec<u64> = (0..self.documents())
            .map(|index| self.group_of(index))
            .collect::<Option<_>>()?;
        groups.sort_unstable();
        groups.dedup();
        Some(groups)
    }

    /// Returns the group number of each document. Groups are numbered from 0 in the order of the documents. If the
    /// shard stores no groups, each document is a group.
    pub fn group_numbers(&self) -> Vec<usize> {
        let mut numbers = HashMap::new();
        (0..self.documents())
            .map(|index| match self.group_of(index) {
                Some(group) => {
                    let next = numbers.len();
                    *numbers.entry(group).or_insert(next)
                }
                None => index,
            })
            .collect()
    }

    /// Returns the split of the `index`-th document, which the hash of its group decides.
    ///
    /// - Of 50 or more groups, two in five are in `dev`, two in `test` and one in `audit`. With fewer groups there is
    ///   no `audit`, and half are in `dev`, half in `test`.
    /// - If chance leaves a split too small, the groups with the lowest hashes move to it from the largest split, so
    ///   that `dev` and `test` have at least 16 groups each, or half of all.
    /// - For a retokenized shard, the groups of the stored shard count.
    /// - If the shard stores no groups, each document is a group. It is in `dev` if the lowest bit of the XXH3 hash
    ///   of its tokens (each as four little-endian bytes) is 0, else in `test`, with at least eight in each.
    ///
    /// # Panics
    /// Panics if `index` is not below [`TokenShard::documents`].
    pub fn split_of(&self, index: usize) -> HeldoutSplit {
        let stored = self.stored();
        stored.splits.get_or_init(|| stored.splits_of_all())[index]
    }

    fn splits_of_all(&self) -> Vec<HeldoutSplit> {
        let Some(groups) = self.groups() else {
            let hashes = (0..self.documents()).map(|index| self.hash_of(index));
            return of_documents(&hashes.collect::<Vec<u64>>());
        };
        let splits = of_groups(&groups);
        (0..self.documents())
            .filter_map(|index| self.group_of(index))
            .filter_map(|group| groups.binary_search(&group).ok())
            .map(|number| splits[number])
            .collect()
    }

    fn hash_of(&self, index: usize) -> u64 {
        let document = self.document(index);
        let mut tokens = Vec::with_capacity(document.len());
        document.copy_tokens(0..document.len(), &mut tokens);
        let bytes: Vec<u8> = tokens
            .iter()
            .flat_map(|token| token.to_le_bytes())
            .collect();
        xxh3_64(&bytes)
    }
}

/// Returns `dev`, `test` or `audit` for each group.
fn of_groups(groups: &[u64]) -> Vec<HeldoutSplit> {
    let hashes: Vec<u64> = groups.iter().map(|group| mix(group ^ SALT)).collect();
    let has_audit = groups.len() >= AUDITED;
    // The bit for `dev` or `test` does not depend on `audit`: the other groups keep their split when `audit` comes
    // into being.
    let by_hash = |hash: &u64| match (has_audit && (hash >> 32) % 5 == 4, hash & 1) {
        (true, _) => HeldoutSplit::Audit,
        (false, 0) => HeldoutSplit::Dev,
        (false, _) => HeldoutSplit::Test,
    };
    let mut splits: Vec<HeldoutSplit> = hashes.iter().map(by_hash).collect();
    let fewest = FEWEST.min(groups.len() / 2);
    fill(HeldoutSplit::Dev, fewest, &hashes, &mut splits);
    fill(HeldoutSplit::Test, fewest, &hashes, &mut splits);
    if has_audit {
        fill(HeldoutSplit::Audit, FEWEST_AUDIT, &hashes, &mut splits);
    }
    splits
}

/// Moves the groups with the lowest hashes from the largest other split to `split`, until `split` has `fewest` groups.
fn fill(split: HeldoutSplit, fewest: usize, hashes: &[u64], splits: &mut [HeldoutSplit]) {
    let count = |splits: &[HeldoutSplit], part| splits.iter().filter(|of| **of == part).count();
    while count(splits, split) < fewest {
        let others = HeldoutSplit::ALL.into_iter().filter(|part| *part != split);
        let Some(largest) = others.max_by_key(|part| count(splits, *part)) else {
            return;
        };
        let members = (0..splits.len()).filter(|at| splits[*at] == largest);
        match members.min_by_key(|at| hashes[*at]) {
            Some(at) => splits[at] = split,
            None => return,
        }
    }
}

/// Returns the split of each document of a shard that stores no groups, given the hashes of all. This is the rule of
/// earlier versions, so that their results stay comparable.
fn of_documents(hashes: &[u64]) -> Vec<HeldoutSplit> {
    let by_bit = |hash: &u64| match hash & 1 {
        0 => HeldoutSplit::Dev,
        _ => HeldoutSplit::Test,
    };
    let mut splits: Vec<HeldoutSplit> = hashes.iter().map(by_bit).collect();
    let fewest = FEWEST_DOCUMENTS.min(splits.len() / 2);
    fill(HeldoutSplit::Dev, fewest, hashes, &mut splits);
    fill(HeldoutSplit::Test, fewest, hashes, &mut splits);
    splits
}

#[cfg(test)]
mod tests {
    use super::*;

    use HeldoutSplit::{Audit, Dev, Test};

    fn count(splits: &[HeldoutSplit], part: HeldoutSplit) -> usize {
        splits.iter().filter(|of| **of == part).count()
    }

    /// Checks the rule for documents without groups: the lowest bit of the hash decides; with few documents, those
    /// with the lowest hashes move to the smaller split.
    #[test]
    fn documents_without_groups_keep_their_split() {
        assert_eq!(of_documents(&[4, 7, 2, 9]), [Dev, Test, Dev, Test]);
        assert_eq!(of_documents(&[8, 2, 6]), [Dev, Test, Dev]);
        assert_eq!(of_documents(&[9, 3]), [Test, Dev]);
        assert_eq!(of_documents(&[5]), [Test]);
        for documents in 2..60 {
            let hashes: Vec<u64> = (0..documents).map(|at| at * 2).collect();
            let even = of_documents(&hashes);
            assert_eq!(count(&even, Test), FEWEST_DOCUMENTS.min(hashes.len() / 2));
        }
        let plenty: Vec<u64> = (0..100).map(|at| at * 7 + 3).collect();
        let by_bit: Vec<bool> = plenty.iter().map(|hash| hash & 1 == 1).collect();
        let is_test: Vec<bool> = of_documents(&plenty).iter().map(|of| *of == Test).collect();
        assert_eq!(is_test, by_bit);
        assert_eq!(count(&of_documents(&plenty), Audit), 0);
    }

    /// Checks that `dev` and `test` get their share of any number of groups, and that `audit` exists from 50 groups
    /// on and gets a fifth.
    #[test]
    fn every_split_has_groups() {
        for groups in [0, 1, 2, 3, 9, 20, 31, 32, 49, 50, 64, 200] {
            for start in 0..40 {
                let groups: Vec<u64> = (0..groups).map(|at| start * 1000 + at).collect();
                let splits = of_groups(&groups);
                let fewest = FEWEST.min(groups.len() / 2);
                let [dev, test, audit] = HeldoutSplit::ALL.map(|part| count(&splits, part));
                assert!(dev >= fewest && test >= fewest, "{dev} {test} {audit}");
                assert_eq!(audit > 0, groups.len() >= AUDITED);
                assert!(audit == 0 || audit >= FEWEST_AUDIT);
            }
        }
        let many: Vec<u64> = (0..20_000).collect();
        let splits = of_groups(&many);
        for (part, share) in [(Dev, 0.4), (Test, 0.4), (Audit, 0.2)] {
            let found = count(&splits, part) as f64 / many.len() as f64;
            assert!((found - share).abs() < 0.015, "{part:?} {found}");
        }
    }

    /// Checks that adding or removing other groups does not move a group between `dev` and `test` once each has
    /// enough groups, and that no group leaves `audit`.
    #[test]
    fn a_group_stays_in_its_split() {
        let all: Vec<u64> = (0..3000).map(|at| mix(at * 77)).collect();
        let of_all = of_groups(&all);
        for few in [120, 400, 1000] {
            assert_eq!(of_groups(&all[..few]), of_all[..few]);
        }
        // Below 50 groups, the groups of `audit` are in the other two splits.
        let some = of_groups(&all[..45]);
        for (now, later) in some.iter().zip(&of_all) {
            assert!(now == later || *later == Audit);
        }
    }

    /// Checks that the split names of earlier versions can still be read.
    #[test]
    fn split_names_of_earlier_versions_are_read() {
        let read = |word: &str| serde_json::from_str::<HeldoutSplit>(word).unwrap();
        assert_eq!(read("\"development\""), Dev);
        assert_eq!(
            HeldoutSplit::ALL.map(|part| read(&format!("\"{}\"", part.name()))),
            HeldoutSplit::ALL
        );
    }
}
