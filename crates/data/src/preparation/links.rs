//! Union-find that joins groups that are near-duplicates of each other into clusters.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Cluster of groups that are near-duplicates of each other, by their split hashes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cluster {
    /// Split hashes of the held-out groups in the cluster.
    pub(crate) heldout: BTreeSet<u64>,
    /// Split hashes of the training groups in the cluster.
    pub(crate) train: BTreeSet<u64>,
    /// True if `train` may lack some groups, because only a limited number of training groups is stored.
    pub(crate) is_open: bool,
}

/// The near-duplicate groups found so far, as a union-find by split hash.
#[derive(Debug, Default)]
pub(crate) struct Links {
    parents: HashMap<u64, u64>,
    open: HashSet<u64>,
}

impl Links {
    pub(crate) fn is_empty(&self) -> bool {
        self.parents.is_empty()
    }

    pub(crate) fn contains(&self, side: u64) -> bool {
        self.parents.contains_key(&side)
    }

    /// Adds clusters of near-duplicate groups; returns true if any pair of groups is new.
    pub(crate) fn add(&mut self, found: &[Cluster]) -> bool {
        let mut is_new = false;
        for cluster in found {
            let Some(first) = cluster.heldout.first() else {
                continue;
            };
            for side in cluster.heldout.iter().chain(&cluster.train) {
                is_new |= join(&mut self.parents, *first, *side);
            }
            if cluster.is_open {
                self.open.insert(*first);
            }
        }
        is_new
    }

    /// Returns the complete clusters (those without unknown training groups), sorted by their lowest hash.
    pub(crate) fn clusters(&self) -> Vec<BTreeSet<u64>> {
        let mut clusters: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
        for side in self.parents.keys() {
            let root = root(&self.parents, *side);
            clusters.entry(root).or_default().insert(*side);
        }
        let is_closed =
            |cluster: &BTreeSet<u64>| cluster.iter().all(|side| !self.open.contains(side));
        let mut clusters: Vec<BTreeSet<u64>> = clusters.into_values().filter(is_closed).collect();
        clusters.sort_by_key(|cluster| cluster.first().copied());
        clusters
    }
}

/// Returns the smallest hash in the set that contains `member`.
pub(crate) fn root(parents: &HashMap<u64, u64>, member: u64) -> u64 {
    let mut at = member;
    while let Some(parent) = parents.get(&at).filter(|parent| **parent != at) {
        at = *parent;
    }
    at
}

/// Joins the sets of `a` and `b`; returns true if that changed anything.
pub(crate) fn join(parents: &mut HashMap<u64, u64>, a: u64, b: u64) -> bool {
    let known = parents.contains_key(&a) && parents.contains_key(&b);
    let (a, b) = (root(parents, a), root(parents, b));
    let (least, other) = (a.min(b), a.max(b));
    parents.insert(least, least);
    parents.insert(other, least);
    !known || a != b
}
