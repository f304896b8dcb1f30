//! Held-out documents in two halves: one to choose by, one to report on.
//!
//! What is chosen on some documents looks better on them than it is. So every choice (an interpolation, a strength, a
//! checkpoint inside limits) is made on the development half, and reported on the test half. A document's half follows
//! from its own tokens: it is the same in every run, on every machine, and whatever other documents come or go. Only where
//! so few documents are held out that chance leaves a half short are the nearest ones of the other half added to it.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::TokenShard;

/// Each half gets at least so many documents, where there are twice as many.
const FEWEST: usize = 8;

/// A half of the held-out documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Half {
    /// To choose by.
    Development,
    /// To report on.
    Test,
}

impl Half {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Half::Development => "development",
            Half::Test => "test",
        }
    }
}

impl TokenShard {
    /// Returns the half that the `index`-th document is in: the lowest bit of the XXH3 hash of its tokens, each as four
    /// little-endian bytes, is 0 for development. Where that leaves one half with fewer than eight documents and fewer than the
    /// other, documents of lowest hash come over from the other, so that both have some. Of a translated shard, the stored
    /// tokens count.
    ///
    /// # Panics
    /// Where `index` is not below [`TokenShard::documents`].
    pub fn half_of(&self, index: usize) -> Half {
        let stored = self.stored();
        let hashes = (0..stored.documents()).map(|index| stored.hash_of(index));
        stored.halves.get_or_init(|| halves(hashes.collect()))[index]
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

/// Returns the half of each document, given the hashes of all.
fn halves(hashes: Vec<u64>) -> Vec<Half> {
    let by_bit = |hash: &u64| match hash & 1 {
        0 => Half::Development,
        _ => Half::Test,
    };
    let mut halves: Vec<Half> = hashes.iter().map(by_bit).collect();
    let wanted = FEWEST.min(halves.len() / 2);
    for half in [Half::Development, Half::Test] {
        let count = halves.iter().filter(|found| **found == half).count();
        let mut others: Vec<usize> = (0..halves.len()).filter(|at| halves[*at] != half).collect();
        others.sort_by_key(|at| hashes[*at]);
        for at in others.into_iter().take(wanted.saturating_sub(count)) {
            halves[at] = half;
        }
    }
    halves
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bit decides where both halves have documents; few documents are shared out, those of lowest hash first.
    #[test]
    fn both_halves_have_documents() {
        use Half::{Development, Test};
        assert_eq!(
            halves(vec![4, 7, 2, 9]),
            [Development, Test, Development, Test]
        );
        assert_eq!(halves(vec![8, 2, 6]), [Development, Test, Development]);
        assert_eq!(halves(vec![9, 3]), [Test, Development]);
        assert_eq!(halves(vec![5]), [Test]);
        for count in 2..60 {
            let even = halves((0..count).map(|at| at * 2).collect());
            let test = even.iter().filter(|half| **half == Test).count();
            assert_eq!(test, FEWEST.min(count as usize / 2));
        }
        let plenty: Vec<u64> = (0..100).map(|at| at * 7 + 3).collect();
        let by_bit: Vec<bool> = plenty.iter().map(|hash| hash & 1 == 1).collect();
        let is_test: Vec<bool> = halves(plenty).iter().map(|half| *half == Test).collect();
        assert_eq!(is_test, by_bit);
    }
}
