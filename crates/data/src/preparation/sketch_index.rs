//! Index of sketches by the hashes of their bands.

use rayon::prelude::*;

use crate::preparation::sketch::Sketch;

/// Maximum candidates per band. A repetitive corpus would give very many.
const CANDIDATES: usize = 256;

/// Index of some of the held-out documents, to find near-duplicates of other documents.
pub(super) struct Index {
    sketches: Vec<(u64, Option<Sketch>)>,
    /// Entries (hash of a band, group, number of the document), sorted.
    bands: Vec<(u64, u64, u32)>,
    /// Bloom filter with one hash function: if the bit for a band's hash is 0, no entry has that hash.
    filter: Vec<u64>,
}

impl Index {
    pub(super) fn new(sketches: Vec<(u64, Option<Sketch>)>) -> Self {
        let mut bands: Vec<(u64, u64, u32)> = sketches
            .par_iter()
            .enumerate()
            .flat_map_iter(|(number, (group, sketch))| {
                let bands = sketch.iter().flat_map(Sketch::bands);
                bands.map(move |band| (band, *group, number as u32))
            })
            .collect();
        bands.par_sort_unstable();
        let bits = (bands.len() * 16).next_power_of_two().max(64);
        let mut filter = vec![0; bits / 64];
        for (band, ..) in &bands {
            let bit = *band as usize & (bits - 1);
            filter[bit / 64] |= 1 << (bit % 64);
        }
        Self {
            sketches,
            bands,
            filter,
        }
    }

    /// Returns the numbers of the documents that are near-duplicates of the sketched text.
    pub(super) fn like(&self, sketch: &Sketch) -> Vec<u32> {
        let mut candidates = Vec::new();
        let mask = self.filter.len() * 64 - 1;
        for band in sketch.bands() {
            let bit = band as usize & mask;
            if self.filter[bit / 64] >> (bit % 64) & 1 == 0 {
                continue;
            }
            let from = self.bands.partition_point(|(other, ..)| *other < band);
            let equal = self.bands[from..]
                .iter()
                .take_while(|(other, ..)| *other == band);
            candidates.extend(equal.take(CANDIDATES).map(|(.., number)| *number));
        }
        candidates.sort_unstable();
        candidates.dedup();
        let is_like = |number: &u32| {
            let (_, other) = &self.sketches[*number as usize];
            other.as_ref().is_some_and(|other| other.is_like(sketch))
        };
        candidates.retain(is_like);
        candidates
    }
}
