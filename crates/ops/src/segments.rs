//! Attention mask: the keys that each query sees, from documents packed into rows, causality and an optional window.

use std::sync::{Arc, OnceLock};

use candle_core::{DType, Device, Result, Tensor, bail};

use crate::gpu::upload;

/// Attention mask: each query sees the keys of its own document up to itself, or only the last of these under a
/// window.
///
/// Query i of a row is at key position p = key − query + i and sees the keys `start..=p`, where `start` is the index
/// in the row at which its document begins. With a window w, it sees only those keys j with p − w < j.
#[derive(Clone, Debug)]
pub struct Segments {
    batch: usize,
    query: usize,
    key: usize,
    starts: Option<Arc<[u32]>>,
    window: Option<usize>,
    mask: Arc<OnceLock<Tensor>>,
    mask_of_heads: Arc<OnceLock<Tensor>>,
    bounds: Arc<OnceLock<Bounds>>,
}

/// Bounds of the visible keys on a device, which kernels take in the place of a mask.
#[derive(Debug)]
struct Bounds {
    /// First key that each query sees: batch × query.
    starts: Tensor,
    /// One past the last query that sees each key: batch × key.
    ends: Tensor,
}

impl Segments {
    /// Makes the mask of packed rows. For each of batch × sequence positions, `starts` gives the index in its row at
    /// which its document begins.
    ///
    /// # Errors
    /// Fails if the number of starts is not batch × sequence, or a start lies after its own position.
    pub fn new(batch: usize, sequence: usize, starts: Arc<[u32]>) -> Result<Self> {
        if starts.len() != batch * sequence {
            bail!(
                "`{}` document starts for `{batch}` rows of `{sequence}` positions: expected `{}`",
                starts.len(),
                batch * sequence
            )
        }
        for (position, &start) in starts.iter().enumerate() {
            let column = position % sequence;
            if start as usize > column {
                bail!(
                    "the document of position `{column}` in row `{}` starts at `{start}`: expected `{column}` or before",
                    position / sequence
                )
            }
        }
        Ok(Self {
            batch,
            query: sequence,
            key: sequence,
            starts: Some(starts),
            window: None,
            mask: Arc::default(),
            mask_of_heads: Arc::default(),
            bounds: Arc::default(),
        })
    }

    /// Makes the mask of rows with one document each. The queries are the last `query` of `key` positions.
    pub fn causal(batch: usize, query: usize, key: usize) -> Self {
        Self {
            batch,
            query,
            key,
            starts: None,
            window: None,
            mask: Arc::default(),
            mask_of_heads: Arc::default(),
            bounds: Arc::default(),
        }
    }

    /// Returns the mask with a window: a query sees at most the last `window` keys. It always sees its own.
    #[must_use]
    pub fn windowed(&self, window: usize) -> Self {
        Self {
            window: Some(window.max(1)),
            mask: Arc::default(),
            mask_of_heads: Arc::default(),
            bounds: Arc::default(),
            ..self.clone()
        }
    }

    /// Returns the dimensions that the attention must have: (batch, query, key).
    pub(crate) fn dims(&self) -> (usize, usize, usize) {
        (self.batch, self.query, self.key)
    }

    /// Returns the range of keys that query `query` of row `row` sees.
    #[inline]
    pub(crate) fn visible(&self, row: usize, query: usize) -> std::ops::Range<usize> {
        let end = self.key - self.query + query + 1;
        let start = match &self.starts {
            Some(starts) => starts[row * self.query + query] as usize,
            None => 0,
        };
        match self.window {
            Some(window) => start.max(end.saturating_sub(window))..end,
            None => start..end,
        }
    }

    /// Returns the first key of row `row` that any query sees. This is 0 without a cache; with a cache, a window
    /// hides the keys before the first query's.
    pub(crate) fn first_visible(&self, row: usize) -> usize {
        match self.window {
            Some(_) if self.query < self.key => self.visible(row, 0).start,
            _ => 0,
        }
    }

    /// Returns the additive mask, 0 for visible keys and −∞ elsewhere: (batch or 1, 1, query, key). Computed once and
    /// cached.
    pub(crate) fn mask(&self, device: &Device, dtype: DType) -> Result<Tensor> {
        let mask = match self.mask.get() {
            Some(mask) if mask.device().same_device(device) => mask.clone(),
            _ => {
                let mask = self.build_mask(device)?;
                self.mask.get_or_init(|| mask.clone());
                mask
            }
        };
        mask.to_dtype(dtype)
    }

    /// Returns [`Self::mask`] repeated for every head, contiguous: (batch, heads, query, key). Computed once and
    /// cached for the last number of heads.
    pub(crate) fn mask_of_heads(
        &self,
        heads: usize,
        device: &Device,
        dtype: DType,
    ) -> Result<Tensor> {
        let shape = (self.batch, heads, self.query, self.key);
        if let Some(mask) = self.mask_of_heads.get()
            && mask.device().same_device(device)
            && mask.dims4()? == shape
            && mask.dtype() == dtype
        {
            return Ok(mask.clone());
        }
        let mask = self
            .mask(device, dtype)?
            .broadcast_as(shape)?
            .contiguous()?;
        self.mask_of_heads.get_or_init(|| mask.clone());
        Ok(mask)
    }

    /// Returns true if the first visible key never decreases from one query of a row to the next. Attention kernels
    /// require it; it holds for documents that are packed one after the other.
    pub(crate) fn is_in_order(&self) -> bool {
        let Some(starts) = &self.starts else {
            return true;
        };
        let mut rows = starts.chunks(self.query.max(1));
        rows.all(|row| row.is_sorted())
    }

    /// Returns the first key that each query sees, on a device.
    pub(crate) fn starts_on(&self, device: &Device) -> Result<Tensor> {
        Ok(self.bounds_on(device)?.0)
    }

    /// Returns one past the last query that sees each key, on a device; 0 for a key that none sees.
    pub(crate) fn ends_on(&self, device: &Device) -> Result<Tensor> {
        Ok(self.bounds_on(device)?.1)
    }

    fn bounds_on(&self, device: &Device) -> Result<(Tensor, Tensor)> {
        if let Some(bounds) = self.bounds.get()
            && bounds.starts.device().same_device(device)
        {
            return Ok((bounds.starts.clone(), bounds.ends.clone()));
        }
        let rows = (0..self.batch).flat_map(|row| (0..self.query).map(move |query| (row, query)));
        let starts = rows.map(|(row, query)| self.visible(row, query).start as u32);
        let bounds = Bounds {
            starts: upload(&starts.collect::<Vec<_>>(), device)?,
            ends: upload(&self.last_queries(), device)?,
        };
        let bounds = self.bounds.get_or_init(|| bounds);
        Ok((bounds.starts.clone(), bounds.ends.clone()))
    }

    /// Returns one past the last query that sees each key, 0 for a key that none sees: batch × key.
    pub(crate) fn last_queries(&self) -> Vec<u32> {
        let mut ends = vec![0; self.batch * self.key];
        for row in 0..self.batch {
            let ends = &mut ends[row * self.key..(row + 1) * self.key];
            for query in 0..self.query {
                ends[self.visible(row, query)].fill(query as u32 + 1);
            }
        }
        ends
    }

    /// Computes the mask on the device from the bounds of each query, so that only these are copied, not (batch ×
    /// query × key) numbers.
    fn build_mask(&self, device: &Device) -> Result<Tensor> {
        let rows = if self.starts.is_some() { self.batch } else { 1 };
        let (starts, ends): (Vec<u32>, Vec<u32>) = (0..rows)
            .flat_map(|row| (0..self.query).map(move |query| self.visible(row, query)))
            .map(|keys| (keys.start as u32, keys.end as u32))
            .unzip();
        let bounds = |of: Vec<u32>| Tensor::from_vec(of, (rows, 1, self.query, 1), device);
        let keys = Tensor::arange(0, self.key as u32, device)?;
        let begun = keys.broadcast_ge(&bounds(starts)?)?;
        let before_end = keys.broadcast_lt(&bounds(ends)?)?;
        let visible = (begun * before_end)?; // (rows, 1, query, key)
        let mask = |value: f32| Tensor::new(value, device)?.broadcast_as(visible.shape());
        visible.where_cond(&mask(0.0)?, &mask(f32::NEG_INFINITY)?)
    }
}
