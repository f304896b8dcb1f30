//! Overlap of held-out text with the training split: whole documents, and sequences of 13 words.
//!
//! 13 words is the length that GPT-3's report and later ones use. The comparison ignores letter case and white space.
//! Held-out sequences are stored as hashes. If there are too many, only those with certain hashes are kept, so that
//! memory is bounded.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};

use xxhash_rust::xxh3::xxh3_64;

use crate::preparation::spool::Spool;
use crate::sources::document::own_text;
use crate::sources::normalize::normalize;
use crate::{DataError, Overlap};

/// Number of words per sequence.
const WORDS: usize = 13;
/// Maximum number of stored sequences; with more, a sample chosen by hash is stored.
const MOST: u64 = 3_000_000;
/// Maximum number of stored document hashes, over all domains.
const MOST_DOCUMENTS: usize = 3_000_000;

/// Hashes of the held-out documents and 13-word sequences of all domains, with the domains that contain each.
pub struct HeldoutGrams {
    /// For each sequence hash: a bit mask of the held-out domains that contain it, and a bit mask of the training
    /// domains in which it was found.
    grams: HashMap<u64, (u32, AtomicU32)>,
    documents: Vec<Documents>,
    words: u64,
    thinning: u64,
}

impl HeldoutGrams {
    /// Creates an empty collection of hashes for this number of domains.
    pub fn new(domains: usize) -> Self {
        Self {
            grams: HashMap::new(),
            documents: (0..domains)
                .map(|_| Documents::new(MOST_DOCUMENTS / domains.max(1)))
                .collect(),
            words: 0,
            thinning: 1,
        }
    }

    /// Adds the hashes of a domain's held-out documents, and counts their words. Must be called for every domain
    /// before [`Self::fill`].
    ///
    /// # Errors
    /// Fails if a temporary file can't be read.
    pub fn count(&mut self, domain: usize, heldout: &Spool) -> Result<(), DataError> {
        heldout.read(&mut |parts| {
            self.count_text(domain, &own_text(&parts));
            Ok(())
        })
    }

    /// Adds the hash of one held-out document, and counts its words.
    pub fn count_text(&mut self, domain: usize, text: &str) {
        let words = words(text);
        self.words += words.len() as u64;
        self.documents[domain].insert(whole(&words));
        self.thinning = self.words.div_ceil(MOST).max(1);
    }

    /// Adds all held-out sequences, one spool per domain. Must be called after every domain was counted, since the
    /// counts determine the sampling.
    ///
    /// # Errors
    /// Fails if a temporary file can't be read.
    pub fn fill<'a>(&mut self, heldout: impl Iterator<Item = &'a Spool>) -> Result<(), DataError> {
        for (domain, spool) in heldout.enumerate() {
            spool.read(&mut |parts| {
                self.fill_text(domain, &own_text(&parts));
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Adds the sequences of one held-out document. Must be called after every document of every domain was counted.
    pub fn fill_text(&mut self, domain: usize, text: &str) {
        for gram in sequences(&words(text)) {
            if gram.is_multiple_of(self.thinning) {
                self.grams.entry(gram).or_default().0 |= 1 << domain;
            }
        }
    }
}

/// Hashes of a domain's held-out documents; each maps to a bit mask of the training domains in which it was found.
/// Above `most` hashes, only a sample chosen by hash is kept.
struct Documents {
    found: HashMap<u64, AtomicU32>,
    most: usize,
    /// Only hashes that are multiples of this power of two are kept.
    thinning: u64,
}

impl Documents {
    fn new(most: usize) -> Self {
        Self {
            found: HashMap::new(),
            most,
            thinning: 1,
        }
    }

    fn insert(&mut self, hash: u64) {
        if !hash.is_multiple_of(self.thinning) {
            return;
        }
        self.found.insert(hash, AtomicU32::new(0));
        while self.found.len() > self.most {
            self.thinning *= 2;
            let thinning = self.thinning;
            self.found.retain(|hash, _| hash.is_multiple_of(thinning));
        }
    }
}

/// Pair of domains whose overlap is measured, by number: the training text of one and the held-out text of the other.
#[derive(Clone, Copy)]
struct PairOfDomains {
    train: usize,
    heldout: usize,
}

/// Search for held-out text in the training split. Many threads may share it.
pub struct OverlapScan<'a> {
    heldout: &'a HeldoutGrams,
}

impl<'a> OverlapScan<'a> {
    /// Creates a search in which nothing was found yet.
    pub fn new(heldout: &'a HeldoutGrams) -> Self {
        Self { heldout }
    }

    /// Searches one document of the training split of `domain` for held-out text.
    pub fn look(&self, domain: usize, text: &str) {
        let mark = 1 << domain;
        let words = words(text);
        let document = whole(&words);
        for documents in &self.heldout.documents {
            if let Some(found) = documents.found.get(&document) {
                found.fetch_or(mark, Ordering::Relaxed);
            }
        }
        for gram in sequences(&words) {
            if gram.is_multiple_of(self.heldout.thinning)
                && let Some((_, found)) = self.heldout.grams.get(&gram)
            {
                found.fetch_or(mark, Ordering::Relaxed);
            }
        }
    }

    /// Returns the overlap of every pair of a training domain and a held-out domain.
    pub fn result(&self, names: &[String]) -> Vec<Overlap> {
        let mut overlaps = Vec::new();
        for (heldout, heldout_name) in names.iter().enumerate() {
            for (train, train_name) in names.iter().enumerate() {
                let number = PairOfDomains { train, heldout };
                overlaps.push(self.pair(number, train_name, heldout_name));
            }
        }
        overlaps
    }

    /// Returns the overlap of every held-out domain with training domain 0, which is named `train`.
    pub fn against(&self, train: &str, heldout: &[String]) -> Vec<Overlap> {
        let numbered = heldout.iter().enumerate();
        numbered
            .map(|(heldout, name)| self.pair(PairOfDomains { train: 0, heldout }, train, name))
            .collect()
    }

    fn pair(&self, number: PairOfDomains, train_name: &str, heldout_name: &str) -> Overlap {
        let PairOfDomains { train, heldout } = number;
        let share = |found: &mut dyn Iterator<Item = &AtomicU32>| {
            let (mut all, mut hits) = (0u64, 0u64);
            for found in found {
                all += 1;
                hits += u64::from(found.load(Ordering::Relaxed) >> train & 1);
            }
            (hits as f64 / all.max(1) as f64, all)
        };
        let grams = self.heldout.grams.values();
        let (exact_share, _) = share(&mut self.heldout.documents[heldout].found.values());
        let (ngram_share, ngrams) = share(
            &mut grams
                .filter(|(domains, _)| domains >> heldout & 1 == 1)
                .map(|(_, found)| found),
        );
        Overlap {
            train: train_name.to_owned(),
            heldout: heldout_name.to_owned(),
            exact_share,
            ngram_share,
            ngrams,
        }
    }
}

/// Returns a hash of each word of a text, in order, ignoring letter case.
fn words(text: &str) -> Vec<u64> {
    let mut normal = String::new();
    normalize(text, &mut normal);
    let words = normal.split(' ').filter(|word| !word.is_empty());
    words.map(|word| xxh3_64(word.as_bytes())).collect()
}

/// Combines the hashes of a document's words into a hash of the whole document.
fn whole(words: &[u64]) -> u64 {
    words.iter().fold(words.len() as u64, |hash, word| {
        (hash ^ word)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(23)
    })
}

/// Returns the hashes of all sequences of [`WORDS`] words, computed as a rolling polynomial hash over the hashes of
/// the words.
fn sequences(words: &[u64]) -> impl Iterator<Item = u64> {
    const BASE: u64 = 0x9e37_79b9_7f4a_7c15;
    let oldest = (1..WORDS).fold(1u64, |power, _| power.wrapping_mul(BASE));
    let mut rolling = 0u64;
    let rolled = words.iter().enumerate().map(move |(at, word)| {
        if at >= WORDS {
            rolling = rolling.wrapping_sub(words[at - WORDS].wrapping_mul(oldest));
        }
        rolling = rolling.wrapping_mul(BASE).wrapping_add(*word);
        // The final mix makes the multiples of a number a uniform sample.
        xxh3_64(&rolling.to_le_bytes())
    });
    rolled.skip(WORDS - 1)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn sequences(words: &[u64]) -> HashSet<u64> {
        super::sequences(words).collect()
    }

    /// Checks that the number of stored document hashes is bounded, and that the sample does not depend on the order.
    #[test]
    fn documents_are_thinned() {
        let hash = |number: u64| whole(&[number, number * number]);
        let (mut forth, mut back) = (Documents::new(100), Documents::new(100));
        (0..10_000).for_each(|number| forth.insert(hash(number)));
        (0..10_000)
            .rev()
            .for_each(|number| back.insert(hash(number)));
        let keys =
            |documents: &Documents| documents.found.keys().copied().collect::<HashSet<u64>>();
        assert_eq!(keys(&forth), keys(&back));
        assert!(
            (30..=100).contains(&forth.found.len()),
            "{}",
            forth.found.len()
        );
    }

    /// Checks that 13 equal words are found at any position and in any letter case, and that 12 are not.
    #[test]
    fn sequences_do_not_depend_on_their_place() {
        let text = "a b c d e f g h i j k l m n";
        let alone = sequences(&words("b c d e f g h i j k l m n"));
        assert_eq!(alone.len(), 1);
        assert!(alone.is_subset(&sequences(&words(text))));
        assert!(alone.is_subset(&sequences(&words("x y  Z\nB C D E F G H I J K L M N o"))));
        assert!(alone.is_disjoint(&sequences(&words("x c d e f g h i j k l m n"))));
        assert!(sequences(&words("a b c")).is_empty());
    }
}
