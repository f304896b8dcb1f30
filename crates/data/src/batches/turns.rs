//! Order of a mixture's domains: the domain of each row.

use std::sync::{Arc, Mutex, PoisonError};

use crate::draw::unit;

/// Rows per block. In a block, the number of rows of each domain equals its share of the block, to within one row.
const BLOCK: u64 = 1024;
/// First of the random streams that spread the rows within blocks; disjoint from the streams that order epochs.
const BLOCK_STREAM: u64 = 1 << 63;

/// Index of a domain in the mixture, and the index of a row within that domain.
type Turn = (usize, u64);

/// Domain of each row (counted from 0) as a pure function of the shares, the seed and the row.
#[derive(Debug)]
pub(crate) struct Turns {
    /// Share of the rows by domain. Each domain's row count is its share, rounded; the domain with the largest share
    /// gets the rest.
    shares: Vec<f64>,
    heaviest: usize,
    seed: u64,
    /// Most recently requested block of rows, with its number.
    block: Mutex<Option<(u64, Arc<[Turn]>)>>,
}

impl Turns {
    /// Creates the order of domains with these weights. Returns `None` if a weight divided by their sum is not in [0,
    /// 1].
    pub fn new(weights: &[f64], seed: u64) -> Option<Self> {
        let sum: f64 = weights.iter().sum();
        let shares: Vec<f64> = weights.iter().map(|weight| weight / sum).collect();
        if shares.iter().any(|share| !(0.0..=1.0).contains(share)) {
            return None;
        }
        let heaviest = (0..shares.len()).max_by(|a, b| shares[*a].total_cmp(&shares[*b]))?;
        Some(Self {
            shares,
            heaviest,
            seed,
            block: Mutex::new(None),
        })
    }

    /// Returns the domain of a row, and the row's index within that domain.
    pub fn at(&self, row: u64) -> Turn {
        self.block(row / BLOCK)[(row % BLOCK) as usize]
    }

    /// Counts the rows of each domain among the first `rows` rows.
    pub fn counts(&self, rows: u64) -> Vec<u64> {
        let number = rows / BLOCK;
        let parts = 0..self.shares.len();
        let mut counts: Vec<u64> = parts
            .map(|part| self.rows_before(part, number * BLOCK))
            .collect();
        for (part, _) in &self.block(number)[..(rows % BLOCK) as usize] {
            counts[*part] += 1;
        }
        counts
    }

    fn block(&self, number: u64) -> Arc<[Turn]> {
        let mut kept = self.block.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, block)) = kept.as_ref().filter(|block| block.0 == number) {
            return block.clone();
        }
        let block: Arc<[Turn]> = self.spread(number).into();
        *kept = Some((number, block.clone()));
        block
    }

    /// Returns the domain of each row of block `number`.
    ///
    /// The *j*-th of a domain's *c* rows in the block is due at time `(j + jitter) / c`, and the rows are sorted by
    /// these times. So any range of rows holds each domain's share to within one or two rows; a plain shuffle would
    /// deviate further.
    fn spread(&self, number: u64) -> Vec<Turn> {
        let mut due = Vec::with_capacity(BLOCK as usize);
        for part in 0..self.shares.len() {
            let first = self.rows_before(part, number * BLOCK);
            let end = self.rows_before(part, (number + 1) * BLOCK);
            let stream = BLOCK_STREAM | (part as u64) << 48 | number;
            due.extend((first..end).map(|ordinal| {
                let jitter = unit(self.seed, stream, ordinal - first);
                let time = ((ordinal - first) as f64 + jitter) / (end - first) as f64;
                (time, part, ordinal)
            }));
        }
        due.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        due.into_iter()
            .map(|(_, part, ordinal)| (part, ordinal))
            .collect()
    }

    /// Counts the rows of a domain among the first `rows` rows, where `rows` is a whole number of blocks. The count
    /// is the domain's share, rounded; the domain with the largest share gets the rest.
    fn rows_before(&self, part: usize, rows: u64) -> u64 {
        let rounded = |part: usize| (self.shares[part] * rows as f64).round() as u64;
        if part != self.heaviest {
            return rounded(part);
        }
        let others: u64 = (0..self.shares.len())
            .filter(|other| *other != part)
            .map(rounded)
            .sum();
        rows - others
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that `counts` agrees with counting row by row and that the rows of each domain are numbered
    /// consecutively, also across blocks. Weights that do not give shares give `None`.
    #[test]
    fn turns_are_counted() {
        let turns = Turns::new(&[1.0, 2.0, 0.5], 7).unwrap();
        let mut counts = vec![0; 3];
        for row in 0..2 * BLOCK + 9 {
            if row % 100 == 0 || row % BLOCK == 0 {
                assert_eq!(turns.counts(row), counts, "{row}");
            }
            let (part, ordinal) = turns.at(row);
            assert_eq!(ordinal, counts[part], "{row}");
            counts[part] += 1;
        }
        assert!(Turns::new(&[1.0, -0.5], 7).is_none() && Turns::new(&[], 7).is_none());
        assert!(Turns::new(&[0.0, 0.0], 7).is_none());
    }
}
