//! The split: which documents are held out.
//!
//! A document is held out if the hash of its content lies below the share. In a small domain chance can leave the held-out
//! side short: a quota then adds the documents of lowest hash. A lone document is cut, and its tail held out. What an
//! earlier data set in the same folder was trained on is never held out; `sides.json` remembers it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::collect::Collected;
use crate::normalise::normalise;
use crate::pieces::{cut, cut_near};
use crate::source::Part;
use crate::spool::{Spool, length};
use crate::{DataError, Split};

/// The quota ends here: from so many held-out documents on, the hash alone decides.
const ENOUGH: u64 = 32;
/// The quota where there are [`SOME`] documents; below, one.
const FEWEST: u64 = 2;
const SOME: u64 = 8;
/// The held-out side has the share of the bytes too, up to half of it and to so many.
const FEWEST_BYTES: u64 = 4096;
/// A lone document of fewer bytes is not cut.
const SHORTEST_LONE: u64 = 512;
/// A held-out side of fewer documents has its long ones cut, into about so many pieces.
const PIECES: u64 = 16;
/// The least length of such a piece: shorter ones would hardly be read in context.
const SHORTEST_PIECE: u64 = 512;
/// Contents that are listed at most, the lowest hashes: the quota takes no others.
const LISTED: usize = if cfg!(test) { 64 } else { 4096 };
/// Beside the shards of a domain.
pub(crate) const FILE: &str = "sides.json";

/// The hash that decides the side of a text. Copies that differ in letter case and white space have the same.
pub(crate) fn content_hash(text: &str, seed: u64, folded: &mut String) -> u64 {
    normalise(text, folded);
    xxh3_64_with_seed(folded.as_bytes(), seed)
}

/// The sides of a small domain, as `sides.json` keeps them.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sides {
    /// Seed of the hashes.
    pub(crate) seed: u64,
    /// The share that was held out.
    pub(crate) share: f64,
    /// Hashes of the contents that are trained on, the lowest ones.
    pub(crate) trained: BTreeSet<u64>,
    /// Hashes of the contents that are held out, the lowest ones.
    pub(crate) heldout: BTreeSet<u64>,
}

impl Sides {
    /// Reads the sides that a domain had in the data set in `folder`, if there are any.
    ///
    /// # Errors
    /// A file that is there and can't be read.
    pub(crate) fn read(folder: &Path, domain: &str) -> Result<Option<Self>, DataError> {
        let path = folder.join(domain).join(FILE);
        match polymath_files::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(DataError::file("read", &path)(error)),
            Ok(json) => serde_json::from_slice(&json).map(Some).map_err(|error| {
                let message = format!(
                    "does not say which documents were trained on ({error}): remove it, and the split is made anew"
                );
                DataError::content(&path, message)
            }),
        }
    }
}

/// Decides the sides of domains.
#[derive(Clone, Copy)]
pub(crate) struct Rule {
    pub(crate) seed: u64,
    pub(crate) share: f64,
}

/// The documents of one content.
#[derive(Debug, Clone, Copy, Default)]
struct Content {
    bytes: u64,
    documents: u64,
}

/// What the domain holds, by content.
#[derive(Debug, Default)]
struct Survey {
    /// The contents of lowest hash, and all that were trained on before.
    contents: BTreeMap<u64, Content>,
    /// Contents of a greater hash are not listed.
    listed_to: u64,
    /// Of all contents.
    documents: u64,
    bytes: u64,
}

/// Whether a content, by its hash, may be held out.
type May<'a> = &'a dyn Fn(&u64, &Content) -> bool;

impl Rule {
    /// Whether a document of this hash is held out.
    pub(crate) fn holds_out(self, hash: u64) -> bool {
        let unit = (hash >> 11) as f64 / (1u64 << 53) as f64;
        unit < self.share
    }

    /// Gives the held-out side of a domain what chance has left it short of; `earlier` are the sides that the domain had
    /// before.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn settle(
        self,
        name: &str,
        domain: &mut Collected,
        earlier: Option<&Sides>,
    ) -> Result<(), DataError> {
        // Another seed or share is another split.
        let same = |sides: &&Sides| (sides.seed, sides.share) == (self.seed, self.share);
        let known = earlier.filter(same);
        if earlier.is_some() && known.is_none() {
            tracing::warn!(
                "domain `{name}`: `seed` or `heldout_fraction` is not that of the data set before, so documents changed sides: \
                 some that a model was trained on may be held out now"
            );
        }
        let plenty = domain.heldout.documents >= ENOUGH && domain.train.documents > 0;
        if plenty && known.is_none() {
            return Ok(());
        }
        let trained = known.map(|sides| &sides.trained);
        let survey = self.survey(domain, trained)?;
        let heldout = if survey.documents == 1 {
            self.hold_out_tail(domain)?;
            BTreeSet::new()
        } else {
            let heldout = self.choose(name, &survey, trained);
            let before = domain.heldout.documents;
            let is_listed = |hash| hash <= survey.listed_to || survey.contents.contains_key(&hash);
            self.move_documents(domain, &|hash| {
                is_listed(hash).then(|| heldout.contains(&hash))
            })?;
            let added = domain.heldout.documents.saturating_sub(before);
            domain.manifest.heldout_by_quota = added;
            heldout
        };
        let trained: BTreeSet<u64> = survey
            .contents
            .keys()
            .copied()
            .filter(|hash| !heldout.contains(hash))
            .collect();
        if let Some(known) = known {
            say_changes(name, known, (&heldout, &trained));
        }
        domain.sides = Some(Sides {
            seed: self.seed,
            share: self.share,
            trained,
            heldout,
        });
        Ok(())
    }

    /// Reads what is kept of both sides; `trained` was trained on before.
    fn survey(
        self,
        domain: &Collected,
        trained: Option<&BTreeSet<u64>>,
    ) -> Result<Survey, DataError> {
        let mut survey = Survey {
            listed_to: u64::MAX,
            ..Survey::default()
        };
        let mut besides = BTreeMap::new();
        for spool in [&domain.train, &domain.heldout] {
            let mut counted = false;
            self.read(spool, &mut |hash, entry| {
                counted &= entry.continues;
                if entry.dropped {
                    return Ok(());
                }
                let bytes = length(&entry.parts);
                survey.bytes += bytes;
                survey.documents += u64::from(!counted);
                let content = survey.contents.entry(hash).or_default();
                content.bytes += bytes;
                content.documents += u64::from(!counted);
                counted = true;
                if survey.contents.len() > LISTED
                    && let Some((hash, content)) = survey.contents.pop_last()
                {
                    survey.listed_to = survey.listed_to.min(hash - 1);
                    if trained.is_some_and(|trained| trained.contains(&hash)) {
                        besides.insert(hash, content);
                    }
                }
                Ok(())
            })?;
        }
        survey.contents.extend(besides);
        Ok(survey)
    }

    /// Calls `each` with the entries of a spool, and the hash of the document that each is of.
    fn read(
        self,
        spool: &Spool,
        each: &mut dyn FnMut(u64, crate::spool::Entry) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        let (mut hash, mut folded) = (0, String::new());
        spool.read_entries(&mut |entry| {
            if !entry.continues {
                let text: String = entry.parts.iter().map(|part| part.text.as_str()).collect();
                hash = content_hash(&text, self.seed, &mut folded);
            }
            each(hash, entry)
        })
    }

    /// Documents that are held out at least, of so many.
    fn quota(self, documents: u64) -> u64 {
        let share = (self.share * documents as f64).ceil() as u64;
        let fewest = if documents < SOME { 1 } else { FEWEST };
        share.clamp(fewest, ENOUGH).min(documents.saturating_sub(1))
    }

    /// Chooses what is held out: by the hash, but for what was trained on before and what would leave too little to train
    /// on; then, up to the quota, by lowest hash.
    fn choose(self, name: &str, survey: &Survey, trained: Option<&BTreeSet<u64>>) -> BTreeSet<u64> {
        let quota = self.quota(survey.documents);
        let most = quota.max(survey.documents / 2);
        let least_bytes = ((self.share * survey.bytes as f64 / 2.0) as u64).min(FEWEST_BYTES);
        let was_trained = |hash: &u64| trained.is_some_and(|trained| trained.contains(hash));
        let mut chosen = Chosen::default();
        let by_hash = survey
            .contents
            .iter()
            .filter(|(hash, _)| self.holds_out(**hash));
        for (hash, content) in by_hash.filter(|(hash, _)| !was_trained(hash)) {
            if chosen.documents + content.documents <= most {
                chosen.take(*hash, *content);
            }
        }
        let fits = |content: &Content| content.bytes <= survey.bytes / 2;
        let kinds: [May<'_>; 3] = [
            &|hash, content| !was_trained(hash) && fits(content),
            &|hash, _| !was_trained(hash),
            &|_, _| true,
        ];
        for (number, may) in kinds.into_iter().enumerate() {
            if number > 0 && chosen.documents > 0 {
                break;
            }
            for (hash, content) in survey
                .contents
                .iter()
                .filter(|(hash, content)| may(hash, content))
            {
                let short = chosen.documents < quota
                    || chosen.bytes < least_bytes && chosen.documents < survey.documents / 4;
                if !short {
                    break;
                }
                if !chosen.hashes.contains(hash) && chosen.documents + content.documents <= most {
                    chosen.take(*hash, *content);
                }
            }
        }
        let again = chosen
            .hashes
            .iter()
            .filter(|hash| was_trained(hash))
            .count();
        if again > 0 {
            tracing::warn!(
                "domain `{name}`: {again} documents that the data set before was trained on are held out now, since it has no \
                 others: a model that was trained on them looks better on them than it is"
            );
        }
        chosen.hashes
    }

    /// Moves documents to the side that `is_heldout` gives their content, if it gives one.
    fn move_documents(
        self,
        domain: &mut Collected,
        is_heldout: &dyn Fn(u64) -> Option<bool>,
    ) -> Result<(), DataError> {
        for split in [Split::Train, Split::Heldout] {
            let (from, to) = match split {
                Split::Train => (&mut domain.train, &mut domain.heldout),
                Split::Heldout => (&mut domain.heldout, &mut domain.train),
            };
            let is_wrong = |hash| is_heldout(hash) == Some(split == Split::Train);
            let mut moved = Vec::new();
            let mut last = None;
            self.read(from, &mut |hash, entry| {
                if !entry.dropped && is_wrong(hash) {
                    let bytes = length(&entry.parts);
                    let continues = entry.continues && last == Some(hash);
                    to.push(&entry.parts, continues)?;
                    moved.push((entry.index, bytes));
                    last = Some(hash);
                } else if !entry.continues {
                    last = None;
                }
                Ok(())
            })?;
            for (index, bytes) in moved {
                from.remove(index, bytes);
            }
        }
        Ok(())
    }

    /// Cuts a domain's only document, and holds its tail out.
    fn hold_out_tail(self, domain: &mut Collected) -> Result<(), DataError> {
        let whole = match domain.train.documents {
            0 => &domain.heldout,
            _ => &domain.train,
        };
        let bytes = whole.bytes;
        let share = (self.share * bytes as f64) as u64;
        let tail = share
            .max(FEWEST_BYTES.min(bytes / 5))
            .min(bytes - bytes / 5);
        let (mut train, mut heldout) = (whole.empty()?, whole.empty()?);
        let mut at = 0;
        let mut is_text = bytes >= SHORTEST_LONE;
        whole.read(&mut |parts| {
            let [part] = &parts[..] else {
                is_text = false;
                return Ok(());
            };
            is_text &= part.scored && !part.from_template;
            let end = at + part.text.len() as u64;
            let begins = (bytes - tail).clamp(at, end) - at;
            let mut place = begins as usize;
            if 0 < begins && at + begins < end {
                place = cut_near(&part.text, place, (tail / 2) as usize);
            }
            let (head, rest) = part.text.split_at(place);
            push_text(&mut train, head, at > 0)?;
            push_text(&mut heldout, rest, false)?;
            at = end;
            Ok(())
        })?;
        if is_text && train.documents > 0 && heldout.documents > 0 {
            (domain.train, domain.heldout) = (train, heldout);
            domain.manifest.tail_held_out = true;
        }
        Ok(())
    }
}

/// What is held out.
#[derive(Default)]
struct Chosen {
    hashes: BTreeSet<u64>,
    documents: u64,
    bytes: u64,
}

impl Chosen {
    fn take(&mut self, hash: u64, content: Content) {
        self.hashes.insert(hash);
        self.documents += content.documents;
        self.bytes += content.bytes;
    }
}

/// Says which documents are on another side than in the data set before.
fn say_changes(name: &str, known: &Sides, (heldout, trained): (&BTreeSet<u64>, &BTreeSet<u64>)) {
    let released = known.heldout.intersection(trained).count();
    if released > 0 {
        tracing::warn!(
            "domain `{name}`: {released} documents that the data set before held out are training text now, since others are \
             held out instead; none that was trained on is held out, so scores of the two data sets are of other documents"
        );
    }
    let taken = known.trained.intersection(heldout).count();
    if taken > 0 {
        tracing::warn!(
            "domain `{name}`: {taken} documents that were training text are held out now"
        );
    }
}

fn push_text(spool: &mut Spool, text: &str, continues: bool) -> Result<(), DataError> {
    if !text.trim().is_empty() {
        spool.push(&[Part::text(text, true)], continues)?;
    }
    Ok(())
}

/// Cuts the long documents of a held-out side that has few, so that scores have a spread and both halves have documents.
///
/// # Errors
/// The disk's.
pub(crate) fn cut_few(domain: &mut Collected) -> Result<(), DataError> {
    let heldout = &domain.heldout;
    if heldout.documents >= PIECES {
        return Ok(());
    }
    let longest = (heldout.bytes / PIECES).max(SHORTEST_PIECE) as usize;
    let mut pieces = heldout.empty()?;
    let mut documents = 0;
    heldout.read(&mut |parts| {
        let [part] = &parts[..] else {
            return pieces.push(&parts, false).map(drop);
        };
        if !part.scored || part.from_template || part.text.len() < 2 * longest {
            return pieces.push(&parts, false).map(drop);
        }
        documents += 1;
        let mut text = String::new();
        let mut continues = false;
        // White space alone is no piece.
        for piece in cut(&part.text, longest) {
            text += piece;
            if !text.trim().is_empty() {
                push_text(&mut pieces, &text, continues)?;
                text.clear();
                continues = true;
            }
        }
        push_text(&mut pieces, &text, continues)
    })?;
    if documents > 0 {
        domain.manifest.heldout_cut = documents;
        domain.heldout = pieces;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DomainManifest;

    const RULE: Rule = Rule {
        seed: 3,
        share: 0.2,
    };

    fn hash(text: &str) -> u64 {
        content_hash(text, RULE.seed, &mut String::new())
    }

    /// A domain of these texts, each on its side by the rule.
    fn collected(texts: &[String], folder: &Path) -> Collected {
        let mut domain = Collected {
            train: Spool::create(folder).unwrap(),
            heldout: Spool::create(folder).unwrap(),
            manifest: DomainManifest::default(),
            sides: None,
        };
        for text in texts {
            let spool = match RULE.holds_out(hash(text)) {
                true => &mut domain.heldout,
                false => &mut domain.train,
            };
            spool
                .push(&[Part::text(text.as_str(), true)], false)
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

    /// However far a domain grows, the rule decides all but what was trained on before.
    #[test]
    fn what_was_trained_on_stays_while_the_rule_decides_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let text = |number: usize| format!("Text {number} is as long as the others.");
        // A lone text below the share would be held out, but its head was trained on.
        let lone = (0..)
            .find(|number| RULE.holds_out(hash(&text(*number))))
            .unwrap();
        let long = text(lone);
        let mut sides = Sides {
            seed: RULE.seed,
            share: RULE.share,
            trained: BTreeSet::from([hash(&long)]),
            heldout: BTreeSet::new(),
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

    /// Copies that differ in letter case, and the pieces of one document, change sides together.
    #[test]
    fn copies_and_pieces_stay_together() {
        let folder = tempfile::tempdir().unwrap();
        let mut domain = collected(&[], folder.path());
        for number in 0..6 {
            for text in [
                format!("Text {number} is short."),
                format!("TEXT {number} is short."),
            ] {
                domain.train.push(&[Part::text(text, true)], false).unwrap();
                let piece = format!("A piece of {number}.");
                domain.train.push(&[Part::text(piece, true)], true).unwrap();
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
