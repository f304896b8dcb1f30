//! MinHash sketches: fixed-size signatures that estimate the share of word sequences that two texts have in common.
//!
//! One-permutation hashing ([Li, Owen & Zhang 2012](https://arxiv.org/abs/1208.1259)): the hash of each sequence of
//! five words selects one of 128 bins, and each bin keeps its smallest hash. An empty bin copies another one; which
//! one depends on the bin's number only ([Shrivastava 2017](https://arxiv.org/abs/1703.04664)). The share of equal
//! bins estimates the Jaccard similarity of the sets of sequences, with a standard deviation of 0.04. Each word is
//! hashed once, so a sketch costs about as much as reading the text.

use xxhash_rust::xxh3::xxh3_64;

use polymath_base::mix;

/// Number of words per sequence.
const WORDS: usize = 5;
/// Number of bins in a sketch.
const BINS: usize = 128;
/// Bands of a sketch for locality-sensitive hashing, and bins per band. Two texts with a similarity of 0.7 share at
/// least one band with a probability of 99 %, two with a similarity of 0.3 with 6 %.
pub(crate) const BANDS: usize = 25;
const ROWS: usize = 5;
/// Minimum number of equal bins of near-duplicates; corresponds to a similarity of 0.7.
const ALIKE: usize = 90;
/// Base of the rolling polynomial hash, and the factor of the oldest word in it.
const BASE: u64 = 0x9e37_79b9_7f4a_7c15;
const OLDEST: u64 = BASE.wrapping_pow(WORDS as u32 - 1);
/// Value of a bin in which no sequence falls.
const EMPTY: u32 = u32::MAX;
/// First character of the scripts without spaces (such as Chinese), in which each character counts as a word.
const IDEOGRAPHS: char = '\u{2e80}';
/// Maximum characters of a word. Longer runs are text without spaces (Thai, a genome, Base64): each run of
/// [`STRETCH`] consecutive characters in them counts as a word.
const LONGEST_WORD: usize = 32;
const STRETCH: usize = 8;

/// MinHash sketch of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sketch([u32; BINS]);

impl Sketch {
    /// Returns the sketch of a text, ignoring letter case and white space; `None` if it contains no word.
    pub(crate) fn of(text: &str) -> Option<Self> {
        let mut bins = [EMPTY; BINS];
        let mut take = |sequence: u64| {
            let hash = mix(sequence);
            let bin = &mut bins[(hash >> 57) as usize];
            *bin = (*bin).min(hash as u32).min(EMPTY - 1);
        };
        // Ring buffer of the last words, and the polynomial of their hashes.
        let (mut last, mut count, mut rolling) = ([0; WORDS], 0, 0u64);
        each_word(text, &mut |word| {
            let oldest = std::mem::replace(&mut last[count % WORDS], word);
            rolling = rolling.wrapping_sub(oldest.wrapping_mul(OLDEST));
            rolling = rolling.wrapping_mul(BASE).wrapping_add(word);
            count += 1;
            if count >= WORDS {
                take(rolling);
            }
        });
        match count {
            0 => return None,
            // Fewer words than a sequence: only texts with exactly the same words are near-duplicates.
            1..WORDS => take(rolling ^ count as u64),
            _ => {}
        }
        let filled = bins;
        for (number, bin) in bins.iter_mut().enumerate() {
            let mut attempt = 0;
            while *bin == EMPTY {
                let other = mix((number as u64) << 32 | attempt) >> 57;
                *bin = filled[other as usize];
                attempt += 1;
            }
        }
        Some(Self(bins))
    }

    /// Returns one hash for each band of the sketch, for locality-sensitive hashing.
    pub(crate) fn bands(&self) -> [u64; BANDS] {
        std::array::from_fn(|band| {
            let rows = &self.0[band * ROWS..(band + 1) * ROWS];
            rows.iter()
                .fold(band as u64, |hash, row| mix(hash ^ u64::from(*row)))
        })
    }

    /// Returns true if two sketches are of near-duplicate texts.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let equal = self.0.iter().zip(&other.0).filter(|(a, b)| a == b);
        equal.count() >= ALIKE
    }
}

/// Calls `each` with a hash of each word, in order.
fn each_word(text: &str, each: &mut impl FnMut(u64)) {
    let mut folded = String::new();
    for word in text.split_whitespace() {
        let mut word = word;
        if word
            .bytes()
            .any(|byte| !byte.is_ascii() || byte.is_ascii_uppercase())
        {
            folded.clear();
            folded.extend(word.chars().flat_map(char::to_lowercase));
            word = &folded;
        }
        if word.is_ascii() || !word.contains(|sign| sign >= IDEOGRAPHS) {
            each_stretch(word, each);
            continue;
        }
        let signs = word.split_inclusive(|sign| sign >= IDEOGRAPHS);
        signs.for_each(|sign| each_stretch(sign, each));
    }
}

/// Calls `each` with the hash of a word. If the word is longer than [`LONGEST_WORD`] characters, calls it with the
/// hash of every run of [`STRETCH`] consecutive characters in it.
fn each_stretch(word: &str, each: &mut impl FnMut(u64)) {
    if word.len() <= LONGEST_WORD || word.chars().nth(LONGEST_WORD).is_none() {
        return each(xxh3_64(word.as_bytes()));
    }
    let ends = word
        .char_indices()
        .map(|(at, letter)| at + letter.len_utf8())
        .skip(STRETCH - 1);
    for ((begin, _), end) in word.char_indices().zip(ends) {
        each(xxh3_64(&word.as_bytes()[begin..end]));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::draw::bits;

    fn text(words: &[u64]) -> String {
        words.iter().map(|word| format!("w{word} ")).collect()
    }

    fn similarity(a: &[u64], b: &[u64]) -> f64 {
        let set = |words: &[u64]| -> HashSet<Vec<u64>> {
            words.windows(WORDS).map(<[u64]>::to_vec).collect()
        };
        let (a, b) = (set(a), set(b));
        a.intersection(&b).count() as f64 / a.union(&b).count() as f64
    }

    /// Checks that the share of equal bins estimates the similarity without bias, for texts of any length.
    #[test]
    fn equal_bins_estimate_the_similarity() {
        for length in [12usize, 40, 300, 3000] {
            for changed in [1, 4, 20] {
                let (mut expected, mut found) = (0.0, 0.0);
                let pairs = 60;
                for pair in 0..pairs {
                    let word = |at: usize| bits(pair, 1, at as u64) % 5000;
                    let first: Vec<u64> = (0..length).map(word).collect();
                    let mut second = first.clone();
                    for at in 0..changed.min(length / 6) {
                        let place = bits(pair, 2, at as u64) as usize % length;
                        second[place] = 5000 + at as u64;
                    }
                    let sketches = [&first, &second].map(|words| Sketch::of(&text(words)).unwrap());
                    let equal = sketches[0].0.iter().zip(&sketches[1].0);
                    found += equal.filter(|(a, b)| a == b).count() as f64 / BINS as f64;
                    expected += similarity(&first, &second);
                }
                let (found, expected) = (found / pairs as f64, expected / pairs as f64);
                assert!(
                    (found - expected).abs() < 0.02,
                    "{length} {changed}: {found} {expected}"
                );
            }
        }
    }

    /// Checks that near-duplicates have a band in common and are recognized, and that texts made from one template
    /// with different values are not near-duplicates.
    #[test]
    fn near_duplicates_are_alike() {
        let long: Vec<u64> = (0..400).map(|at| bits(3, 1, at) % 3000).collect();
        let mut edited = long.clone();
        (0..10).for_each(|at| edited[at * 37] = 9999);
        let sketch = |words: &[u64]| Sketch::of(&text(words)).unwrap();
        let (a, b) = (sketch(&long), sketch(&edited));
        assert!(a.is_like(&b) && a.bands().iter().zip(b.bands()).any(|(a, b)| *a == b));
        assert_eq!(
            a,
            Sketch::of(&text(&long).to_uppercase().replace(' ', "\n")).unwrap()
        );
        let filled = |name: u64| {
            let facts =
                (0..30).map(|at| format!("Field {at} of it is {}. ", bits(name, 4, at) % 1000));
            Sketch::of(&facts.collect::<String>()).unwrap()
        };
        assert!(!filled(1).is_like(&filled(2)));
        assert!(Sketch::of(" \n ").is_none());
        assert!(
            Sketch::of("one two")
                .unwrap()
                .is_like(&Sketch::of("One  two").unwrap())
        );
        assert!(
            !Sketch::of("one two")
                .unwrap()
                .is_like(&Sketch::of("one three").unwrap())
        );
        // Text without spaces, in several scripts: after one inserted character it is still a near-duplicate; other
        // text from the same characters is not.
        let unspaced = |alphabet: &str, number: u64| -> String {
            let letters: Vec<char> = alphabet.chars().collect();
            let letter = |at| letters[bits(number, 5, at) as usize % letters.len()];
            (0..600).map(letter).collect()
        };
        for alphabet in [
            "acgt",
            "abcdefghijklmnopqrstuvwxyz0123456789",
            "กขคงจฉชซญดตถทธนบปผพฟมยรลวสหอ",
        ] {
            let text = unspaced(alphabet, 1);
            let edit = text.char_indices().nth(300).unwrap().0;
            let edited = format!("{}X{}", &text[..edit], &text[edit..]);
            let sketch = |text: &str| Sketch::of(text).unwrap();
            assert!(sketch(&text).is_like(&sketch(&edited)), "{alphabet}");
            assert!(
                !sketch(&text).is_like(&sketch(&unspaced(alphabet, 2))),
                "{alphabet}"
            );
        }
        let chinese =
            "春天来了，花园里的花都开了，孩子们在草地上唱歌跳舞，老人们坐在树下喝茶聊天。"
                .repeat(2);
        let changed = chinese.replacen('茶', "酒", 1);
        assert!(
            Sketch::of(&chinese)
                .unwrap()
                .is_like(&Sketch::of(&changed).unwrap())
        );
    }
}
