//! Final split of a domain into training and held-out documents.
//!
//! - A group is held out if the hash of its content, or of the field that names it, is below the share.
//! - In a small domain, chance can leave the held-out split too small: a quota then adds the groups with the lowest
//!   hashes.
//! - If a domain has one document only, that is cut and its end held out.
//! - A group with a near-duplicate in the training split is not held out.
//! - A group that an earlier dataset in the same folder was trained on is not held out unless the domain has no other
//!   groups; `sides.json` stores these groups.

use std::collections::BTreeSet;

use polymath_base::counted;

use crate::preparation::choice::{ENOUGH, FEWEST_BYTES, GroupFacts};
use crate::preparation::collected::Collected;
use crate::preparation::links::Links;
use crate::preparation::near_duplicates::{self, NearDuplicates, Remedy};
use crate::preparation::rule::Rule;
use crate::preparation::sides::Sides;
use crate::preparation::survey::{Survey, groups_of};
use crate::preparation::tail;
use crate::{DataError, Split};

/// Maximum number of rounds that refill the held-out split after near-duplicates in the training split were found.
const ROUNDS: usize = 16;

impl Rule {
    /// Finishes the split of a domain: fills up a held-out split that is too small, and moves groups with
    /// near-duplicates in the training split there. `earlier` is the split of the domain in the earlier dataset.
    ///
    /// # Errors
    /// Fails if a temporary file can't be read or written.
    pub(crate) fn settle(
        self,
        name: &str,
        domain: &mut Collected,
        earlier: Option<&Sides>,
    ) -> Result<(), DataError> {
        let field = domain.field.clone();
        // Another seed, share or field gives another split.
        let same = |sides: &&Sides| {
            (sides.seed, sides.share, &sides.field) == (self.seed, self.share, &field)
        };
        let before = earlier.filter(same);
        if earlier.is_some() && before.is_none() {
            tracing::warn!(
                "domain `{name}`: `seed`, `heldout_fraction` or `group_field` is not that of the dataset before, so documents changed \
                 sides: some that a model was trained on may be held out now"
            );
        }
        let mut known = GroupFacts {
            name,
            before,
            links: Links::default(),
        };
        let mut found = NearDuplicates::default();
        for round in 0..ROUNDS {
            let added = self.fill(domain, &known)?;
            // If no document was added to the held-out split, the earlier search for near-duplicates still holds.
            if domain.manifest.tail_held_out || round > 0 && added == 0 {
                break;
            }
            found = near_duplicates::find(domain, Remedy::Move)?;
            if !known.links.add(&found.in_train) {
                break;
            }
        }
        say_left(&known, domain, &found);
        found.keep(domain)?;
        if let (Some(before), Some(now)) = (known.before, &domain.sides) {
            say_changes(name, before, now);
        }
        Ok(())
    }

    /// Fills up the held-out split if it is too small; returns the number of documents added.
    fn fill(self, domain: &mut Collected, known: &GroupFacts<'_>) -> Result<u64, DataError> {
        let enough = ENOUGH.max(self.least_groups);
        let bytes = (domain.heldout.bytes + domain.train.bytes) as f64;
        // Maximum share of a balanced held-out split. A single group with more than half of the text exceeds it.
        let is_even = domain.heldout.bytes as f64 <= f64::midpoint(1.0, self.share) * bytes;
        let plenty = is_even
            && domain.train.documents > 0
            && groups_of(&domain.heldout, enough as usize)? >= enough;
        if plenty && known.before.is_none() && known.links.is_empty() {
            return Ok(0);
        }
        let watched = |hash: &u64| known.was_trained(hash) || known.links.contains(*hash);
        let mut survey = Survey::of(domain, &watched)?;
        let mut lone = None;
        if survey.groups == 1 && (survey.documents > 1 || domain.field.is_some()) {
            // There is one group only, so each of its documents becomes a group.
            lone = survey.contents.first_key_value().map(|(hash, _)| *hash);
            tail::regroup(domain, self)?;
            survey = Survey::of(domain, &watched)?;
        }
        let mut added = 0;
        let heldout = if survey.documents == 1 {
            let least = FEWEST_BYTES.max(self.least_groups * tail::SHORTEST_PIECE);
            tail::hold_out(domain, self.share, least)?;
            BTreeSet::new()
        } else {
            let heldout = self.choose(&survey, known);
            added = move_documents(domain, &|hash| {
                survey.lists(hash).then(|| heldout.contains(&hash))
            })?;
            let by_quota = survey
                .contents
                .iter()
                .filter(|(hash, _)| heldout.contains(hash) && !self.holds_out(**hash));
            domain.manifest.heldout_by_quota = by_quota.map(|(_, content)| content.documents).sum();
            let to_train = survey.contents.iter().filter(|(hash, _)| {
                known.links.contains(**hash) && self.holds_out(**hash) && !heldout.contains(hash)
            });
            domain.manifest.near_duplicates_to_train =
                to_train.map(|(_, content)| content.documents).sum();
            heldout
        };
        let mut trained: BTreeSet<u64> = survey
            .contents
            .keys()
            .copied()
            .filter(|hash| !heldout.contains(hash))
            .collect();
        trained.extend(lone);
        domain.sides = Some(Sides {
            seed: self.seed,
            share: self.share,
            field: domain.field.clone(),
            trained,
            heldout,
        });
        Ok(added)
    }
}

/// Moves documents to the split that `is_heldout` returns for their group (`None`: no move); returns the number of
/// documents moved to the held-out split.
fn move_documents(
    domain: &mut Collected,
    is_heldout: &dyn Fn(u64) -> Option<bool>,
) -> Result<u64, DataError> {
    let mut added = 0;
    for split in [Split::Train, Split::Heldout] {
        let (from, to) = match split {
            Split::Train => (&mut domain.train, &mut domain.heldout),
            Split::Heldout => (&mut domain.heldout, &mut domain.train),
        };
        let is_wrong = |hash| is_heldout(hash) == Some(split == Split::Train);
        let mut moved = Vec::new();
        let mut last = None;
        from.read_entries(&mut |entry| {
            let hash = entry.tag.side;
            if !entry.dropped && is_wrong(hash) {
                let bytes = crate::preparation::spool::length(&entry.parts);
                let continues = entry.continues && last == Some(hash);
                to.push(&entry.parts, entry.tag, continues)?;
                moved.push((entry.index, bytes));
                last = Some(hash);
            } else if !entry.continues {
                last = None;
            }
            Ok(())
        })?;
        if split == Split::Train {
            added = moved.len() as u64;
        }
        for (index, bytes) in moved {
            from.remove(index, bytes);
        }
    }
    Ok(added)
}

/// Warns about held-out groups that keep near-duplicates in the training split.
fn say_left(known: &GroupFacts<'_>, domain: &mut Collected, found: &NearDuplicates) {
    let heldout = domain.sides.as_ref().map(|sides| &sides.heldout);
    let is_left = |side: &u64| heldout.is_some_and(|heldout| heldout.contains(side));
    let left = found.sides().filter(is_left).count() as u64;
    domain.manifest.near_duplicates_left = left;
    if left > 0 {
        tracing::warn!(
            "domain `{}`: {} held out with near-duplicates in the training text, since there are no others: scores on such text \
             say little of new text",
            known.name,
            counted(left, "group")
        );
    }
}

/// Warns about groups that are in another split than in the earlier dataset.
fn say_changes(name: &str, before: &Sides, now: &Sides) {
    let released = before.heldout.intersection(&now.trained).count();
    if released > 0 {
        tracing::warn!(
            "domain `{name}`: {} of documents that the dataset before held out moved to the training text, since others are \
             held out instead; none that was trained on is held out, so scores of the two datasets are of other documents",
            counted(released as u64, "group")
        );
    }
    let taken = before.trained.intersection(&now.heldout).count();
    if taken > 0 {
        tracing::warn!(
            "domain `{name}`: {} of documents from the training text held out now",
            counted(taken as u64, "group")
        );
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::preparation::spool::Spool;
    use crate::shards::group::Tag;
    use crate::sources::document::Part;
    use crate::sources::normalize::normalize;

    const RULE: Rule = Rule {
        seed: 3,
        share: 0.2,
        least_groups: 0,
    };

    fn tag(text: &str) -> Tag {
        let mut folded = String::new();
        normalize(text, &mut folded);
        Tag::of(&folded, RULE.seed)
    }

    fn hash(text: &str) -> u64 {
        tag(text).side
    }

    /// Creates a domain of these texts, each in the split that the rule gives it.
    fn collected(texts: &[String], folder: &Path) -> Collected {
        let mut domain = Collected::create(folder, crate::Grouping::default()).unwrap();
        for text in texts {
            let spool = match RULE.holds_out(hash(text)) {
                true => &mut domain.heldout,
                false => &mut domain.train,
            };
            spool
                .push(&[Part::text(text.as_str(), true)], tag(text), false)
                .unwrap();
        }
        domain
    }

    fn hashes(spool: &Spool) -> BTreeSet<u64> {
        let mut found = BTreeSet::new();
        spool
            .read(&mut |parts| {
                found.insert(hash(&parts[0].text));
                Ok(())
            })
            .unwrap();
        found
    }

    /// Checks that groups that were trained on before stay in the training split, and that the rule decides all
    /// others, for a domain of any size.
    #[test]
    fn trained_documents_stay_while_the_rule_decides_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let text = |number: usize| format!("Text {number} is as long as the others.");
        // The rule alone would hold this text out, but it was trained on before.
        let lone = (0..)
            .find(|number| RULE.holds_out(hash(&text(*number))))
            .unwrap();
        let long = text(lone);
        let mut sides = Sides {
            seed: RULE.seed,
            share: RULE.share,
            trained: BTreeSet::from([hash(&long)]),
            ..Sides::default()
        };
        for count in [2, 5, 40, 700] {
            let texts: Vec<String> = (lone..lone + count).map(text).collect();
            let mut domain = collected(&texts, folder.path());
            RULE.settle("texts", &mut domain, Some(&sides)).unwrap();
            let (train, heldout) = (hashes(&domain.train), hashes(&domain.heldout));
            assert_eq!(train.len() + heldout.len(), count);
            assert!(heldout.is_disjoint(&sides.trained), "{count}");
            if count == 700 {
                let by_rule: BTreeSet<u64> = texts
                    .iter()
                    .map(|text| hash(text))
                    .filter(|hash| RULE.holds_out(*hash) && !sides.trained.contains(hash))
                    .collect();
                assert_eq!(heldout, by_rule);
            }
            sides = domain.sides.unwrap();
        }
    }

    /// Checks that copies that differ in letter case, and the pieces of one document, move to the other split
    /// together.
    #[test]
    fn copies_and_pieces_stay_together() {
        let folder = tempfile::tempdir().unwrap();
        let mut domain = collected(&[], folder.path());
        for number in 0..6 {
            for text in [
                format!("Text {number} is short."),
                format!("TEXT {number} is short."),
            ] {
                let tag = tag(&text);
                let mut push = |text: String, continues| {
                    let parts = [Part::text(text, true)];
                    domain.train.push(&parts, tag, continues).unwrap();
                };
                push(text, false);
                push(format!("A piece of {number}."), true);
            }
        }
        RULE.settle("texts", &mut domain, None).unwrap();
        let mut texts = Vec::new();
        domain
            .heldout
            .read_entries(&mut |entry| {
                texts.push((entry.parts[0].text.to_lowercase(), entry.continues));
                Ok(())
            })
            .unwrap();
        assert!(!texts.is_empty() && texts.len() % 4 == 0 && texts.len() < 24);
        for copies in texts.chunks(4) {
            assert_eq!(copies[..2], copies[2..]);
            assert_eq!((copies[0].1, copies[1].1), (false, true));
        }
    }
}
