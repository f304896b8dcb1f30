//! Choice of the groups of a domain that are held out.

use std::collections::BTreeSet;

use crate::preparation::links::Links;
use crate::preparation::rule::Rule;
use crate::preparation::sides::Sides;
use crate::preparation::survey::{Content, Survey};

/// Upper limit of the minimum number of held-out groups: however many groups a domain has, its share sets a minimum of
/// at most this many.
pub(super) const ENOUGH: u64 = 32;
/// Minimum number of held-out groups in a domain of [`SOME`] groups or more; a smaller domain has a minimum of one.
const FEWEST: u64 = 2;
const SOME: u64 = 8;
/// Cap of the minimum size of the held-out split, in bytes. The minimum is half of the configured share of the
/// domain's bytes.
pub(super) const FEWEST_BYTES: u64 = 4096;
/// Predicate: true if the group with this hash may be held out.
type Eligible<'a> = &'a dyn Fn(&u64, &Content) -> bool;

/// Facts about a domain's groups that its documents alone do not tell.
pub(super) struct GroupFacts<'a> {
    pub(super) name: &'a str,
    /// Split of the earlier dataset in the same folder; `None` if there is none or its split followed another rule.
    pub(super) before: Option<&'a Sides>,
    /// Clusters of held-out groups and the training groups that are near-duplicates of them.
    pub(super) links: Links,
}

impl GroupFacts<'_> {
    pub(super) fn was_trained(&self, hash: &u64) -> bool {
        self.before
            .is_some_and(|sides| sides.trained.contains(hash))
    }
}

impl Rule {
    /// Returns the quota: the minimum number of groups to hold out of a domain with `groups` groups.
    fn quota(self, groups: u64) -> u64 {
        let share = (self.share * groups as f64).ceil() as u64;
        let fewest = if groups < SOME { 1 } else { FEWEST };
        let wanted = self.least_groups.min(groups / 2);
        share
            .clamp(fewest, ENOUGH)
            .max(wanted)
            .min(groups.saturating_sub(1))
    }

    /// Chooses the held-out groups by their hashes. Skips groups that were trained on before, that have
    /// near-duplicates in the training split, that hold more than half of the text, or that would leave too little to
    /// train on. Then fills up to the quota with the groups of the lowest hashes, relaxing these conditions one by
    /// one if nothing is held out otherwise.
    pub(super) fn choose(self, survey: &Survey, known: &GroupFacts<'_>) -> BTreeSet<u64> {
        let quota = self.quota(survey.groups);
        let most_groups = quota.max((self.share.max(0.5) * survey.groups as f64) as u64);
        let share = (self.share * survey.documents as f64).ceil() as u64;
        let most_documents = share
            .min(survey.documents.saturating_sub(1))
            .max(survey.documents / 2);
        let least_bytes = ((self.share * survey.bytes as f64 / 2.0) as u64).min(FEWEST_BYTES);
        let is_free = |hash: &u64| !known.was_trained(hash) && !known.links.contains(*hash);
        let mut chosen = Chosen::default();
        let room = |chosen: &Chosen, groups: u64, documents: u64| {
            chosen.groups() + groups <= most_groups
                && chosen.documents + documents <= most_documents
        };
        let fits = |content: &Content| content.bytes <= survey.bytes / 2;
        for (hash, content) in &survey.contents {
            let by_hash = self.holds_out(*hash) && is_free(hash) && fits(content);
            if by_hash && room(&chosen, 1, content.documents) {
                chosen.take(*hash, *content);
            }
        }
        let is_short = |chosen: &Chosen| {
            chosen.groups() < quota
                || chosen.bytes < least_bytes && chosen.groups() < survey.groups / 4
        };
        let fill = |chosen: &mut Chosen, may: Eligible<'_>| {
            for (hash, content) in &survey.contents {
                if !is_short(chosen) {
                    break;
                }
                let is_new = !chosen.hashes.contains(hash) && may(hash, content);
                if is_new && room(chosen, 1, content.documents) {
                    chosen.take(*hash, *content);
                }
            }
        };
        fill(&mut chosen, &|hash, content| is_free(hash) && fits(content));
        // Groups that are near-duplicates of each other are held out together.
        for cluster in known.links.clusters() {
            let contents: Vec<(u64, Content)> = cluster
                .iter()
                .filter_map(|hash| Some((*hash, *survey.contents.get(hash)?)))
                .collect();
            let documents = contents.iter().map(|(_, content)| content.documents).sum();
            let may = cluster.iter().all(|hash| !known.was_trained(hash));
            if is_short(&chosen) && may && room(&chosen, contents.len() as u64, documents) {
                contents
                    .into_iter()
                    .for_each(|(hash, content)| chosen.take(hash, content));
            }
        }
        if chosen.documents == 0 {
            fill(&mut chosen, &|hash, _| is_free(hash));
        }
        if chosen.documents == 0 {
            fill(&mut chosen, &|hash, _| !known.was_trained(hash));
        }
        if chosen.documents == 0 {
            fill(&mut chosen, &|_, _| true);
        }
        say_held_out_again(&chosen, known);
        chosen.hashes
    }
}

/// Warns about documents that the earlier dataset trained on and that are held out now.
fn say_held_out_again(chosen: &Chosen, known: &GroupFacts<'_>) {
    let again = chosen.hashes.iter().filter(|hash| known.was_trained(hash));
    let again = again.count();
    if again > 0 {
        tracing::warn!(
            "domain `{}`: {} of the dataset before's training text held out now, since it has no others: a model that was \
             trained on such text looks better on it than it is",
            known.name,
            polymath_base::counted(again as u64, "document")
        );
    }
}

/// Groups chosen to be held out, with the sums of their documents and bytes.
#[derive(Default)]
struct Chosen {
    hashes: BTreeSet<u64>,
    documents: u64,
    bytes: u64,
}

impl Chosen {
    fn take(&mut self, hash: u64, content: Content) {
        if self.hashes.insert(hash) {
            self.documents += content.documents;
            self.bytes += content.bytes;
        }
    }

    fn groups(&self) -> u64 {
        self.hashes.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the quota by hand: a twentieth, at least one group of up to seven and two of more, at most 32, and
    /// never all; `heldout_groups` raises it to half of the groups at most.
    #[test]
    fn a_quota_is_a_share_within_bounds() {
        let quota = |least_groups, groups| {
            let rule = Rule {
                share: 0.05,
                seed: 0,
                least_groups,
            };
            rule.quota(groups)
        };
        for (groups, expected) in [
            (0, 0),
            (1, 0),
            (2, 1),
            (7, 1),
            (8, 2),
            (40, 2),
            (41, 3),
            (640, 32),
            (10_000, 32),
        ] {
            assert_eq!(quota(0, groups), expected, "{groups}");
        }
        for (least, groups, expected) in [
            (3, 7, 3),
            (3, 5, 2),
            (40, 100, 40),
            (60, 100, 50),
            (1, 100, 5),
        ] {
            assert_eq!(quota(least, groups), expected, "{least} of {groups}");
        }
    }
    /// Checks that a share above half is held out as given, and that a smaller one never takes more than half.
    #[test]
    fn a_share_above_half_is_held_out_as_given() {
        let mut survey = Survey::default();
        for number in 0..200u64 {
            let content = Content {
                bytes: 500,
                documents: 1,
            };
            survey
                .contents
                .insert((((2 * number + 1) << 55) / 200) << 8, content);
            survey.groups += 1;
            survey.documents += 1;
            survey.bytes += 500;
        }
        let known = GroupFacts {
            name: "notes",
            before: None,
            links: Links::default(),
        };
        for (share, expected) in [(0.3, 60), (0.5, 100), (0.8, 160)] {
            let rule = Rule {
                share,
                seed: 0,
                least_groups: 0,
            };
            assert_eq!(rule.choose(&survey, &known).len(), expected, "{share}");
        }
    }
}
