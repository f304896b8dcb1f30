//! Sines and cosines of the rotary position embedding.

use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor, bail};

/// cos(p·θ) and sin(p·θ) for every position p and inverse frequency θ, on the host and on the device.
#[derive(Clone, Debug)]
pub struct RotaryTable {
    /// cos and sin side by side for a position: (positions, 2, frequencies).
    host: Arc<[f32]>,
    cos: Tensor, // (positions, frequencies)
    sin: Tensor, // (positions, frequencies)
    frequencies: usize,
    max_positions: usize,
}

impl RotaryTable {
    /// The table for heads of dimension 2·`inverse_frequencies.len()` and positions below `max_positions`. Angles are
    /// computed in f64: in f32 the last positions of a long context lose their digits.
    ///
    /// # Errors
    /// No frequency or no position is asked for, or the device has no memory.
    pub fn new(inverse_frequencies: &[f64], max_positions: usize, device: &Device) -> Result<Self> {
        let frequencies = inverse_frequencies.len();
        if frequencies == 0 || max_positions == 0 {
            bail!(
                "a rotary table of `{max_positions}` positions and `{frequencies}` frequencies: both must be above 0"
            )
        }
        let mut host = Vec::with_capacity(2 * frequencies * max_positions);
        let (mut cos, mut sin) = (Vec::new(), Vec::new());
        for position in 0..max_positions {
            let angles = inverse_frequencies.iter().map(|f| f * position as f64);
            let (sines, cosines): (Vec<f32>, Vec<f32>) = angles
                .map(|angle| (angle.sin() as f32, angle.cos() as f32))
                .unzip();
            host.extend_from_slice(&cosines);
            host.extend_from_slice(&sines);
            cos.extend(cosines);
            sin.extend(sines);
        }
        let shape = (max_positions, frequencies);
        Ok(Self {
            host: host.into(),
            cos: Tensor::from_vec(cos, shape, device)?,
            sin: Tensor::from_vec(sin, shape, device)?,
            frequencies,
            max_positions,
        })
    }

    /// Half the head dimension.
    pub(crate) fn frequencies(&self) -> usize {
        self.frequencies
    }

    pub(crate) fn max_positions(&self) -> usize {
        self.max_positions
    }

    /// The cosines and the sines of one position.
    #[inline]
    pub(crate) fn at(&self, position: u32) -> (&[f32], &[f32]) {
        let start = position as usize * 2 * self.frequencies;
        self.host[start..start + 2 * self.frequencies].split_at(self.frequencies)
    }

    /// cos and sin of the given positions on the device: (positions, frequencies) each.
    pub(crate) fn select(&self, positions: &Arc<[u32]>, dtype: DType) -> Result<(Tensor, Tensor)> {
        let device = self.cos.device();
        let positions = Tensor::from_slice(positions, positions.len(), device)?;
        Ok((
            self.cos.index_select(&positions, 0)?.to_dtype(dtype)?,
            self.sin.index_select(&positions, 0)?.to_dtype(dtype)?,
        ))
    }
}
