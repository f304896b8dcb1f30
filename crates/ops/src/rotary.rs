//! Table of sines and cosines for rotary position embeddings (RoPE).

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use candle_core::{DType, Device, Result, Tensor, bail};

use crate::gpu::upload;

/// Positions in the first part of the table. Each further part holds as many as all parts before it together.
const FIRST_PART: u32 = 1024;
/// Number of parts that hold all 32-bit positions.
const PARTS: usize = 23;

/// Table of cos(p·θ) and sin(p·θ) for every position p and inverse frequency θ, on the host and on the device. A part
/// of the table is computed when one of its positions is first used, since a model's maximum context may be far
/// longer than any input.
#[derive(Clone, Debug)]
pub struct RotaryTable(Arc<Table>);

struct Table {
    inverse_frequencies: Vec<f64>,
    max_positions: usize,
    /// cos and sin of each position: (positions, 2, frequencies).
    parts: [OnceLock<Box<[f32]>>; PARTS],
    device: Device,
    /// cos and sin of the first positions on the device, (positions, frequencies) each; `None` until first used
    /// there.
    on_device: Mutex<Option<(Tensor, Tensor)>>,
    /// Positions that were uploaded last: all layers of a pass have the same.
    positions: Mutex<Option<(Arc<[u32]>, Tensor)>>,
}

impl fmt::Debug for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Table")
            .field("frequencies", &self.inverse_frequencies.len())
            .field("max_positions", &self.max_positions)
            .finish_non_exhaustive()
    }
}

impl RotaryTable {
    /// Makes the table for heads of dimension 2·`inverse_frequencies.len()` and positions below `max_positions`.
    /// Angles are computed in f64, because f32 loses precision at the last positions of a long context.
    ///
    /// # Errors
    /// Fails if there is no frequency or no position, or if an angle is not finite.
    pub fn new(inverse_frequencies: &[f64], max_positions: usize, device: &Device) -> Result<Self> {
        let frequencies = inverse_frequencies.len();
        if frequencies == 0 || max_positions == 0 {
            bail!(
                "a rotary table of `{max_positions}` positions and `{frequencies}` frequencies: both must be above 0"
            )
        }
        let last = max_positions as f64;
        if let Some(frequency) = inverse_frequencies
            .iter()
            .find(|f| !(**f * last).is_finite())
        {
            bail!("a rotary table with the frequency `{frequency}`: its angles are not numbers")
        }
        Ok(Self(Arc::new(Table {
            inverse_frequencies: inverse_frequencies.to_vec(),
            max_positions,
            parts: [const { OnceLock::new() }; PARTS],
            device: device.clone(),
            on_device: Mutex::new(None),
            positions: Mutex::new(None),
        })))
    }

    /// Returns the number of frequencies, which is half the head dimension.
    pub(crate) fn frequencies(&self) -> usize {
        self.0.inverse_frequencies.len()
    }

    pub(crate) fn max_positions(&self) -> usize {
        self.0.max_positions
    }

    /// Returns the cosines and the sines of one position below [`Self::max_positions`].
    #[inline]
    pub(crate) fn at(&self, position: u32) -> (&[f32], &[f32]) {
        let (part, first) = part_of(position);
        let rows = self.0.parts[part].get_or_init(|| self.0.rows(part, first));
        let frequencies = self.frequencies();
        let start = (position - first) as usize * 2 * frequencies;
        rows[start..start + 2 * frequencies].split_at(frequencies)
    }

    /// Returns cos and sin of the given positions as tensors on the device: (positions, frequencies) each.
    pub(crate) fn select(&self, positions: &Arc<[u32]>, dtype: DType) -> Result<(Tensor, Tensor)> {
        let (cos, sin) = self.on_device_for(positions)?;
        let positions = self.positions_on_device(positions)?;
        Ok((
            cos.index_select(&positions, 0)?.to_dtype(dtype)?,
            sin.index_select(&positions, 0)?.to_dtype(dtype)?,
        ))
    }

    /// Returns cos and sin of the first positions on the device, up to the last of `positions` at least.
    pub(crate) fn on_device_for(&self, positions: &[u32]) -> Result<(Tensor, Tensor)> {
        self.on_device(positions.iter().copied().max().unwrap_or(0))
    }

    /// Returns positions on the device; the same list is uploaded once.
    pub(crate) fn positions_on_device(&self, positions: &Arc<[u32]>) -> Result<Tensor> {
        let mut last = self
            .0
            .positions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((list, uploaded)) = last.as_ref()
            && Arc::ptr_eq(list, positions)
        {
            return Ok(uploaded.clone());
        }
        let uploaded = upload(positions, &self.0.device)?;
        *last = Some((Arc::clone(positions), uploaded.clone()));
        Ok(uploaded)
    }

    /// Returns cos and sin of the first positions on the device, up to the end of the part that contains `last`.
    fn on_device(&self, last: u32) -> Result<(Tensor, Tensor)> {
        let mut cached = self
            .0
            .on_device
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((cos, sin)) = cached
            .as_ref()
            .filter(|(cos, _)| cos.dims()[0] > last as usize)
        {
            return Ok((cos.clone(), sin.clone()));
        }
        let (part, first) = part_of(last);
        let count = self.0.end(part, first);
        let (mut cosines, mut sines) = (Vec::new(), Vec::new());
        for position in 0..count {
            let (cos, sin) = self.at(position);
            cosines.extend_from_slice(cos);
            sines.extend_from_slice(sin);
        }
        let shape = (count as usize, self.frequencies());
        let cos = Tensor::from_vec(cosines, shape, &self.0.device)?;
        let sin = Tensor::from_vec(sines, shape, &self.0.device)?;
        *cached = Some((cos.clone(), sin.clone()));
        Ok((cos, sin))
    }
}

impl Table {
    /// Computes the cosines and sines of a part of the table that begins at position `first`.
    fn rows(&self, part: usize, first: u32) -> Box<[f32]> {
        let positions = first..self.end(part, first);
        let frequencies = self.inverse_frequencies.len();
        let mut rows = Vec::with_capacity(2 * frequencies * positions.len());
        for position in positions {
            let angles = self.inverse_frequencies.iter();
            let angles = angles.map(|frequency| frequency * f64::from(position));
            rows.extend(angles.clone().map(|angle| angle.cos() as f32));
            rows.extend(angles.map(|angle| angle.sin() as f32));
        }
        rows.into()
    }

    /// Returns the end position (exclusive) of a part that begins at `first`.
    fn end(&self, part: usize, first: u32) -> u32 {
        let length = if part == 0 { FIRST_PART } else { first };
        let longest = u32::try_from(self.max_positions).unwrap_or(u32::MAX);
        first.saturating_add(length).min(longest)
    }
}

/// Returns the index of the part that contains a position, and the first position of that part.
#[inline]
fn part_of(position: u32) -> (usize, u32) {
    match (position / FIRST_PART).checked_ilog2() {
        None => (0, 0),
        Some(doublings) => (doublings as usize + 1, FIRST_PART << doublings),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREQUENCIES: [f64; 3] = [1.0, 0.37, 1e-4];

    fn assert_row(table: &RotaryTable, position: u32) {
        let (cos, sin) = table.at(position);
        for (at, frequency) in FREQUENCIES.iter().enumerate() {
            let angle = frequency * f64::from(position);
            assert_eq!(
                cos[at].to_bits(),
                (angle.cos() as f32).to_bits(),
                "{position}"
            );
            assert_eq!(
                sin[at].to_bits(),
                (angle.sin() as f32).to_bits(),
                "{position}"
            );
        }
    }

    /// Checks that the positions before and after the edge of each part have the right angles, in any order of
    /// access.
    #[test]
    fn positions_at_part_edges_have_the_right_angles() {
        let table = RotaryTable::new(&FREQUENCIES, 9000, &Device::Cpu).unwrap();
        for edge in [8192, 1024, 4096, 2048] {
            for position in edge - 2..edge + 2 {
                assert_row(&table, position);
            }
        }
        for position in [0, 1, 8999] {
            assert_row(&table, position);
        }
        let (last, end) = (part_of(u32::MAX), u64::from(u32::MAX) + 1);
        assert_eq!((last.0, u64::from(last.1) * 2), (PARTS - 1, end));
    }

    /// Checks that unused positions are not computed: a context of 2³⁰ positions takes no memory, and a short one
    /// only its own.
    #[test]
    fn parts_are_computed_on_demand() {
        let computed = |table: &RotaryTable| -> usize {
            let parts = table.0.parts.iter().filter_map(OnceLock::get);
            parts.map(|part| part.len() / (2 * FREQUENCIES.len())).sum()
        };
        let table = RotaryTable::new(&FREQUENCIES, 1 << 30, &Device::Cpu).unwrap();
        assert_eq!(computed(&table), 0);
        table.at(1500);
        assert_eq!(computed(&table), 1024);
        let short = RotaryTable::new(&FREQUENCIES, 9, &Device::Cpu).unwrap();
        short.at(8);
        assert_eq!(computed(&short), 9);
    }

    /// Checks that the values on the device have the same bits as those on the host, also after the table has grown.
    #[test]
    fn device_values_equal_host_values() {
        let table = RotaryTable::new(&FREQUENCIES, 5000, &Device::Cpu).unwrap();
        for positions in [vec![3u32, 0], vec![4999, 7, 1024], vec![1023]] {
            let (cos, sin) = table.select(&positions.clone().into(), DType::F32).unwrap();
            let (cos, sin) = (cos.to_vec2::<f32>().unwrap(), sin.to_vec2::<f32>().unwrap());
            for (row, position) in positions.iter().enumerate() {
                let host = table.at(*position);
                assert_eq!((&cos[row][..], &sin[row][..]), host);
            }
        }
        assert!(RotaryTable::new(&[f64::INFINITY], 8, &Device::Cpu).is_err());
    }
}
