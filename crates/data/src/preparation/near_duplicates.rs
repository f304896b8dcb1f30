//! Near-duplicates of held-out documents. They belong to one group, and must not be in the training split.
//!
//! Only the sketches of held-out documents are in memory, a limited number at a time, and the training split is
//! streamed past them. Two documents are near-duplicates if their sets of five-word sequences have a Jaccard
//! similarity of at least 0.7.
//!
//! - Two groups are joined if at least a quarter of the documents of one have near-duplicates in the other. So a
//!   license file that is in every project does not join all groups. With a smaller share, the documents themselves
//!   are left out instead.
//! - A held-out group with near-duplicates in the training split moves to the training split. A training group never
//!   becomes held-out because of a near-duplicate.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use rayon::prelude::*;

use crate::DataError;
use crate::preparation::collected::Collected;
use crate::preparation::links::{Cluster, join, root};
use crate::preparation::sketch::Sketch;
use crate::preparation::sketch_index::Index;
use crate::preparation::spool::{Entry, Spool, length};
use crate::sources::document::own_text;

/// Number of held-out documents whose sketches are in memory at once; each takes about a kilobyte, including its
/// index entries.
const AT_ONCE: usize = if cfg!(test) { 7 } else { 100_000 };
/// Bytes of text per batch: enough to keep all cores busy.
const BATCH_BYTES: u64 = 8 << 20;
/// Maximum number of training groups that are stored per held-out group.
const PARTNERS: usize = 4096;
/// Groups are joined if at least 1/`SHARE` of the documents are near-duplicates.
const SHARE: u64 = 4;

/// Treatment of near-duplicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Moves held-out groups to the training split, and leaves out single documents.
    Move,
    /// Joins held-out groups, and counts the documents with near-duplicates in the training split without moving them.
    /// This is used if the config names the held-out files.
    Count,
    /// Joins held-out groups; does not read the training split.
    Join,
}

/// Near-duplicates of a domain's held-out documents.
#[derive(Debug, Default)]
pub(crate) struct NearDuplicates {
    /// Groups to join; maps each group to the group that replaces it.
    joined: HashMap<u64, u64>,
    /// Clusters of held-out groups and the training groups that are near-duplicates of them, by split hash.
    pub(crate) in_train: Vec<Cluster>,
    /// Held-out documents to remove, each as its index in the spool and its size in bytes.
    left_out: Vec<(u64, u64)>,
    /// Number of held-out documents with near-duplicates in the training split.
    pub(crate) documents_in_train: u64,
}

/// Held-out document: its index in the spool, size in bytes, split hash (which decides its split) and group.
#[derive(Debug, Clone, Copy)]
struct Member {
    index: u64,
    bytes: u64,
    side: u64,
    group: u64,
}

/// Pairs of near-duplicate documents found so far.
#[derive(Default)]
struct Pairs {
    members: Vec<Member>,
    /// For each held-out document (an index into `members`): the other held-out groups with near-duplicates of it.
    heldout: BTreeMap<usize, BTreeSet<u64>>,
    /// Held-out documents with near-duplicates in the training split.
    in_train: HashSet<usize>,
    /// For each held-out group: the split hashes of the training groups with near-duplicates of it.
    partners: HashMap<u64, BTreeSet<u64>>,
}

/// Finds near-duplicates of a domain's held-out documents, in the held-out split and in the training split.
///
/// # Errors
/// Fails if a temporary file can't be read.
pub(crate) fn find(domain: &Collected, remedy: Remedy) -> Result<NearDuplicates, DataError> {
    let mut pairs = Pairs::default();
    domain.heldout.read_kept(&mut |entry| {
        pairs.members.push(Member {
            index: entry.index,
            bytes: length(&entry.parts),
            side: entry.tag.side,
            group: entry.tag.origin.group,
        });
        Ok(true)
    })?;
    for first in (0..pairs.members.len()).step_by(AT_ONCE) {
        let last = (first + AT_ONCE).min(pairs.members.len());
        let mut sketches = Vec::with_capacity(last - first);
        let mut number = 0;
        let of_entry = |entry: &Entry| match &entry.parts[..] {
            [part] if !part.from_template => Sketch::of(&part.text),
            parts => Sketch::of(&own_text(parts)),
        };
        batches(&domain.heldout, &of_entry, &mut |entry, sketch| {
            if (first..last).contains(&number) {
                sketches.push((entry.tag.origin.group, sketch));
            }
            number += 1;
        })?;
        let index = Index::new(sketches);
        let look = |entry: &Entry| of_entry(entry).map(|sketch| index.like(&sketch));
        let mut number = 0;
        batches(&domain.heldout, &look, &mut |entry, like| {
            for other in like.into_iter().flatten() {
                pairs.note(number, first + other as usize, entry.tag.origin.group);
            }
            number += 1;
        })?;
        if remedy != Remedy::Join {
            batches(&domain.train, &look, &mut |entry, like| {
                for other in like.into_iter().flatten() {
                    pairs.note_train(first + other as usize, entry.tag.side);
                }
            })?;
        }
    }
    Ok(pairs.judge(remedy))
}

/// Applies `work` to each document of a spool on all cores, and calls `take` with the results in order.
fn batches<T: Send>(
    spool: &Spool,
    work: &(dyn Fn(&Entry) -> T + Sync),
    take: &mut dyn FnMut(&Entry, T),
) -> Result<(), DataError> {
    let mut batch: Vec<Entry> = Vec::new();
    let mut bytes = 0;
    let mut flush = |batch: &mut Vec<Entry>| {
        let found: Vec<T> = batch.par_iter().map(work).collect();
        batch
            .drain(..)
            .zip(found)
            .for_each(|(entry, found)| take(&entry, found));
    };
    spool.read_kept(&mut |entry| {
        bytes += length(&entry.parts);
        batch.push(entry);
        if bytes >= BATCH_BYTES {
            flush(&mut batch);
            bytes = 0;
        }
        Ok(true)
    })?;
    flush(&mut batch);
    Ok(())
}

impl Pairs {
    /// Records that held-out document `number`, of `group`, is a near-duplicate of held-out document `other`.
    fn note(&mut self, number: usize, other: usize, group: u64) {
        let other_group = self.members[other].group;
        if other_group != group {
            self.heldout.entry(number).or_default().insert(other_group);
            self.heldout.entry(other).or_default().insert(group);
        }
    }

    /// Records that held-out document `number` is a near-duplicate of a training document with the split hash `side`.
    fn note_train(&mut self, number: usize, side: u64) {
        let member = self.members[number];
        self.in_train.insert(number);
        let partners = self.partners.entry(member.group).or_default();
        if partners.len() <= PARTNERS {
            partners.insert(side);
        }
    }

    fn judge(self, remedy: Remedy) -> NearDuplicates {
        let mut sizes: HashMap<u64, u64> = HashMap::new();
        for member in &self.members {
            *sizes.entry(member.group).or_default() += 1;
        }
        let mut shared: HashMap<(u64, u64), u64> = HashMap::new();
        for (number, others) in &self.heldout {
            let group = self.members[*number].group;
            for other in others {
                *shared.entry((group, *other)).or_default() += 1;
            }
        }
        let is_large =
            |count: u64, group: &u64| remedy != Remedy::Move || count * SHARE >= sizes[group];
        let mut parents = HashMap::new();
        for ((group, other), count) in &shared {
            if is_large(*count, group) {
                join(&mut parents, *group, *other);
            }
        }
        let mut in_train: HashMap<u64, u64> = HashMap::new();
        for number in &self.in_train {
            *in_train.entry(self.members[*number].group).or_default() += 1;
        }
        // Joined groups move together.
        let moved: HashSet<u64> = in_train
            .iter()
            .filter(|(group, count)| remedy == Remedy::Move && is_large(**count, group))
            .map(|(group, _)| root(&parents, *group))
            .collect();
        let clusters = self.clusters(&moved, &parents);
        let is_left_out = |(number, member): &(usize, &Member)| {
            let of = root(&parents, member.group);
            let mut others = self.heldout.get(number).into_iter().flatten();
            let repeats = self.in_train.contains(number)
                || others.any(|other| {
                    // If two documents are near-duplicates, the one in the group with the lower hash stays.
                    let root = root(&parents, *other);
                    root != of && (*other < member.group || moved.contains(&root))
                });
            !moved.contains(&of) && repeats
        };
        let left_out = self.members.iter().enumerate();
        let left_out = left_out
            .filter(|member| remedy == Remedy::Move && is_left_out(member))
            .map(|(_, member)| (member.index, member.bytes))
            .collect();
        let joined = parents.keys();
        NearDuplicates {
            joined: joined
                .map(|group| (*group, root(&parents, *group)))
                .collect(),
            in_train: clusters,
            left_out,
            documents_in_train: self.in_train.len() as u64,
        }
    }

    /// Returns the groups that move to the training split, with their near-duplicates there.
    fn clusters(&self, moved: &HashSet<u64>, parents: &HashMap<u64, u64>) -> Vec<Cluster> {
        let mut clusters: BTreeMap<u64, Cluster> = BTreeMap::new();
        for member in &self.members {
            let root = root(parents, member.group);
            if !moved.contains(&root) {
                continue;
            }
            let cluster = clusters.entry(root).or_default();
            cluster.heldout.insert(member.side);
            if let Some(partners) = self.partners.get(&member.group) {
                cluster.is_open |= partners.len() > PARTNERS;
                cluster.train.extend(partners);
            }
        }
        clusters.into_values().collect()
    }
}

impl NearDuplicates {
    /// Applies the findings to a domain: joins groups of the held-out split and removes the documents to leave out.
    ///
    /// # Errors
    /// Fails if a temporary file can't be read.
    pub(crate) fn keep(self, domain: &mut Collected) -> Result<(), DataError> {
        domain.manifest.near_duplicates_left_out += self.left_out.len() as u64;
        for (index, bytes) in self.left_out {
            domain.heldout.remove(index, bytes);
        }
        let mut groups = BTreeSet::new();
        if !self.joined.is_empty() {
            domain.heldout.read_kept(&mut |entry| {
                groups.insert(entry.tag.origin.group);
                Ok(true)
            })?;
        }
        let mut seen = BTreeSet::new();
        let joined = groups.iter().filter_map(|group| self.joined.get(group));
        domain.manifest.near_duplicates_joined =
            joined.filter(|root| !seen.insert(**root)).count() as u64;
        domain.joined = self.joined;
        Ok(())
    }

    /// Returns the split hashes of the held-out groups with near-duplicates in the training split.
    pub(crate) fn sides(&self) -> impl Iterator<Item = u64> + '_ {
        self.in_train
            .iter()
            .flat_map(|cluster| cluster.heldout.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Grouping;
    use crate::draw::bits;
    use crate::preparation::links::Links;
    use crate::shards::group::Tag;
    use crate::sources::document::Part;

    fn essay(number: u64) -> String {
        let word = |at| format!("w{} ", bits(number, 1, at) % 5000);
        (0..50).map(word).collect()
    }

    fn push(spool: &mut Spool, group: u64, text: &str) {
        let tag = Tag::of(&group.to_string(), 0);
        spool.push(&[Part::text(text, true)], tag, false).unwrap();
    }

    fn group(number: u64) -> u64 {
        Tag::of(&number.to_string(), 0).origin.group
    }

    fn side(number: u64) -> u64 {
        Tag::of(&number.to_string(), 0).side
    }

    /// Creates a domain of twenty held-out essays, more than one batch of sketches holds, with edited copies of some
    /// of them in both splits.
    fn domain(folder: &std::path::Path) -> Collected {
        let mut domain = Collected::create(folder, Grouping::default()).unwrap();
        for number in 0..20 {
            push(&mut domain.heldout, number, &essay(number));
            push(&mut domain.train, 100 + number, &essay(100 + number));
        }
        let edited = |number| essay(number).replacen('w', "W0", 1);
        push(&mut domain.heldout, 20, &edited(1));
        push(&mut domain.heldout, 21, &edited(18));
        push(&mut domain.train, 200, &edited(18));
        push(&mut domain.train, 201, &edited(5));
        domain
    }

    /// Checks that near-duplicates are found in every batch and join their groups, and that a group joined with one
    /// that moves to the training split moves too.
    #[test]
    fn near_duplicates_are_found_in_every_part() {
        let folder = tempfile::tempdir().unwrap();
        let mut domain = domain(folder.path());
        let found = find(&domain, Remedy::Move).unwrap();
        let root = |number| found.joined.get(&group(number)).copied();
        assert!(root(1).is_some() && root(1) == root(20));
        assert!(root(18).is_some() && root(18) == root(21));
        assert_eq!(found.joined.len(), 4);
        let sides: BTreeSet<u64> = found.sides().collect();
        assert_eq!(sides, BTreeSet::from([side(5), side(18), side(21)]));
        assert!(found.left_out.is_empty());
        let mut links = Links::default();
        assert!(links.add(&found.in_train) && !links.add(&found.in_train));
        let clusters: BTreeSet<BTreeSet<u64>> = links.clusters().into_iter().collect();
        let expected = [
            BTreeSet::from([side(5), side(201)]),
            BTreeSet::from([side(18), side(21), side(200)]),
        ];
        assert_eq!(clusters, BTreeSet::from(expected));
        found.keep(&mut domain).unwrap();
        assert_eq!(domain.manifest.near_duplicates_joined, 2);
    }

    /// Checks that a document that large groups have in common does not join them, but is left out of one of them.
    #[test]
    fn few_near_duplicates_do_not_join_groups() {
        let folder = tempfile::tempdir().unwrap();
        let mut domain = domain(folder.path());
        for number in 0..12 {
            push(&mut domain.heldout, 30 + number % 2, &essay(300 + number));
        }
        let licence = |number: u64| essay(999).replacen('w', &format!("w{number}"), 1);
        push(&mut domain.heldout, 30, &licence(0));
        push(&mut domain.heldout, 31, &licence(1));
        let found = find(&domain, Remedy::Move).unwrap();
        assert_eq!(found.joined.len(), 4);
        let mut left_out = Vec::new();
        domain
            .heldout
            .read_kept(&mut |entry| {
                let is_left_out = found
                    .left_out
                    .iter()
                    .any(|(index, _)| *index == entry.index);
                if is_left_out {
                    left_out.push(entry.tag.origin.group);
                }
                Ok(true)
            })
            .unwrap();
        assert_eq!(left_out, [group(30).max(group(31))]);
        // With a held-out split that the config names, the documents stay and the groups are joined.
        let found = find(&domain, Remedy::Count).unwrap();
        assert!(found.left_out.is_empty() && found.in_train.is_empty());
        assert_eq!((found.joined.len(), found.documents_in_train), (6, 3));
    }
}
