//! Overlap of held-out text with the training split: whole documents, and sequences of 13 words.
//!
//! 13 words is the length that GPT-3's and later reports look for. Words are compared with letter case and white space
//! aside. Held-out sequences are kept as hashes, thinned by hash where there are many, so that memory is bounded.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};

use xxhash_rust::xxh3::xxh3_64;

use crate::preparation::spool::Spool;
use crate::sources::document::own_text;
use crate::sources::normalize::normalize;
use crate::{DataError, Overlap};

/// Words of a sequence.
const WORDS: usize = 13;
/// Sequences that are looked for at most; beyond, a share chosen by hash.
const MOST: u64 = 3_000_000;
/// Most hashes of whole documents, of all domains together.
const MOST_DOCUMENTS: usize = 3_000_000;

/// The held-out split: which hashes stand in which domains.
pub struct HeldoutGrams {
    /// Domains with each hash, a bit each, and the training domains where it was found.
    grams: HashMap<u64, (u32, AtomicU32)>,
    documents: Vec<Documents>,
    words: u64,
    thinning: u64,
}

impl HeldoutGrams {
    /// Creates a collection for a number of domains.
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

    /// Takes a domain's held-out documents, and counts their words.
    ///
    /// # Errors
    /// The disk's.
    pub fn count(&mut self, domain: usize, heldout: &Spool) -> Result<(), DataError> {
        heldout.read(&mut |parts| {
            self.count_text(domain, &own_text(&parts));
            Ok(())
        })
    }

    /// Takes one held-out document of a domain, and counts its words.
    pub fn count_text(&mut self, domain: usize, text: &str) {
        let words = words(text);
        self.words += words.len() as u64;
        self.documents[domain].insert(whole(&words));
        self.thinning = self.words.div_ceil(MOST).max(1);
    }

    /// Takes all held-out sequences, after every domain was counted.
    ///
    /// # Errors
    /// The disk's.
    pub fn fill<'a>(&mut self, heldout: impl Iterator<Item = &'a Spool>) -> Result<(), DataError> {
        for (domain, spool) in heldout.enumerate() {
            spool.read(&mut |parts| {
                self.fill_text(domain, &own_text(&parts));
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Takes the sequences of one held-out document, after every document of every domain was counted.
    pub fn fill_text(&mut self, domain: usize, text: &str) {
        for gram in sequences(&words(text)) {
            if gram.is_multiple_of(self.thinning) {
                self.grams.entry(gram).or_default().0 |= 1 << domain;
            }
        }
    }
}

/// The held-out documents of a domain: of each hash, the train domains where it was found. Where there are too many, a
/// share chosen by hash.
struct Documents {
    found: HashMap<u64, AtomicU32>,
    most: usize,
    /// Hashes that are multiples of this power of two are kept.
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

/// The search through the training split; many threads may look at once.
pub struct OverlapScan<'a> {
    heldout: &'a HeldoutGrams,
}

impl<'a> OverlapScan<'a> {
    /// Creates a scan without findings.
    pub fn new(heldout: &'a HeldoutGrams) -> Self {
        Self { heldout }
    }

    /// Looks through one document of the training split of `domain`.
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

    /// Returns the overlap of every pair of domains.
    pub fn result(&self, names: &[String]) -> Vec<Overlap> {
        let mut overlaps = Vec::new();
        for (heldout, heldout_name) in names.iter().enumerate() {
            for (train, train_name) in names.iter().enumerate() {
                overlaps.push(self.pair((train, train_name), (heldout, heldout_name)));
            }
        }
        overlaps
    }

    /// Returns the overlap of every held-out domain with the first training domain, named `train`.
    pub fn against(&self, train: &str, heldout: &[String]) -> Vec<Overlap> {
        let numbered = heldout.iter().enumerate();
        numbered
            .map(|(number, name)| self.pair((0, train), (number, name)))
            .collect()
    }

    fn pair(
        &self,
        (train, train_name): (usize, &str),
        (heldout, heldout_name): (usize, &str),
    ) -> Overlap {
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

/// A hash of each word, in order.
fn words(text: &str) -> Vec<u64> {
    let mut normal = String::new();
    normalize(text, &mut normal);
    let words = normal.split(' ').filter(|word| !word.is_empty());
    words.map(|word| xxh3_64(word.as_bytes())).collect()
}

/// A hash of a whole document.
fn whole(words: &[u64]) -> u64 {
    words.iter().fold(words.len() as u64, |hash, word| {
        (hash ^ word)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(23)
    })
}

/// The hashes of all sequences of [`WORDS`] words: a polynomial in the words' hashes, rolled along.
fn sequences(words: &[u64]) -> impl Iterator<Item = u64> {
    const BASE: u64 = 0x9e37_79b9_7f4a_7c15;
    let oldest = (1..WORDS).fold(1u64, |power, _| power.wrapping_mul(BASE));
    let mut rolling = 0u64;
    let rolled = words.iter().enumerate().map(move |(at, word)| {
        if at >= WORDS {
            rolling = rolling.wrapping_sub(words[at - WORDS].wrapping_mul(oldest));
        }
        rolling = rolling.wrapping_mul(BASE).wrapping_add(*word);
        // Mixed, so that thinning by a multiple takes a fair share.
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

    /// Few documents are kept of any number, and the order does not change how many.
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

    /// Sequences of 13 equal words are found anywhere, in any letter case; 12 are not.
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
