//! Near-duplicates of the held-out documents: they belong to one group, and have no business in the training text.
//!
//! Only the sketches of held-out documents are kept, so many at a time, and the training split streams by. Two
//! documents are near-duplicates if 0.7 of their five-word sequences are common. Then their groups are one, if that is
//! so of a quarter of a group's documents: a license that stands in every project does not make one group of all. Where
//! it is of fewer, the documents themselves are left out. A held-out group with near-duplicates in the training text
//! becomes training text; what is trained on never becomes held-out because of one.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use rayon::prelude::*;

use crate::DataError;
use crate::preparation::collected::Collected;
use crate::preparation::links::{Cluster, join, root};
use crate::preparation::sketch::Sketch;
use crate::preparation::sketch_index::Index;
use crate::preparation::spool::{Entry, Spool, length};
use crate::sources::document::own_text;

/// Held-out documents whose sketches are in memory at once: about a kilobyte each.
const AT_ONCE: usize = if cfg!(test) { 7 } else { 100_000 };
/// Text that is sketched at once: enough for all cores.
const BATCH_BYTES: u64 = 8 << 20;
/// Groups of the training text that are remembered for one held-out group.
const PARTNERS: usize = 4096;
/// Groups are one from this share of their documents on, as a divisor.
const SHARE: u64 = 4;

/// Treatment of near-duplicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Groups become training text, documents are left out.
    Move,
    /// Groups are joined, and what stands in the training text too is counted: the config says what is held out.
    Count,
    /// Groups are joined; the training text is not looked at.
    Join,
}

/// Near-duplicates of a domain.
#[derive(Debug, Default)]
pub(crate) struct NearDuplicates {
    /// The groups that are one, each with the one that all of them become.
    joined: HashMap<u64, u64>,
    /// The sides of groups that have near-duplicates in the training text, with the sides of those.
    pub(crate) in_train: Vec<Cluster>,
    /// Documents that are to be left out: index and bytes.
    left_out: Vec<(u64, u64)>,
    /// Held-out documents with near-duplicates in the training text.
    pub(crate) documents_in_train: u64,
}

/// A held-out document.
#[derive(Debug, Clone, Copy)]
struct Member {
    index: u64,
    bytes: u64,
    side: u64,
    group: u64,
}

/// Pairs of near-duplicates.
#[derive(Default)]
struct Pairs {
    members: Vec<Member>,
    /// Groups that held-out documents are like, by the document's number.
    heldout: BTreeMap<usize, BTreeSet<u64>>,
    /// Held-out documents that are like some of the training text.
    in_train: HashSet<usize>,
    /// Sides of the training groups that held-out groups are like.
    partners: HashMap<u64, BTreeSet<u64>>,
}

/// Looks for near-duplicates of the held-out documents on both sides of a domain.
///
/// # Errors
/// The disk's.
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

/// Calls `take` with what `work`, on all cores, makes of each document of a spool, in order.
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
    /// Two held-out documents, the first of `group`, are alike.
    fn note(&mut self, number: usize, other: usize, group: u64) {
        let other_group = self.members[other].group;
        if other_group != group {
            self.heldout.entry(number).or_default().insert(other_group);
            self.heldout.entry(other).or_default().insert(group);
        }
    }

    /// A held-out document is like one of the training text.
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
        // Groups that are one are so on either side.
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
                    // The one of the lesser group stays of two documents that are alike.
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

    /// The groups that go to the training text, with what they are like there.
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
    /// Joins the groups of the held-out split, and leaves out what is to be.
    ///
    /// # Errors
    /// The disk's.
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

    /// The sides of held-out groups with near-duplicates in the training text.
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

    /// Twenty held-out essays, more than are looked at together; edited copies of some on either side.
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

    /// Near-duplicates are found wherever they stand, and join their groups; what joins one that is in the training
    /// text goes there with it.
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

    /// A document that a large group has in common with others is left out of it, on one side of a pair.
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
        // Documents that the config names stay, and are joined instead.
        let found = find(&domain, Remedy::Count).unwrap();
        assert!(found.left_out.is_empty() && found.in_train.is_empty());
        assert_eq!((found.joined.len(), found.documents_in_train), (6, 3));
    }
}
