//! Token embeddings.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};

use crate::fused::simd::buffer::{Shared, filled};
use crate::fused::simd::level::vectorized;
use crate::fused::simd::parallel::for_each;
use crate::fused::simd::storage::{Floats, contiguous, tensor};

/// Number of rows that one parallel task processes.
const ROWS: usize = 64;

struct Embedding {
    tracked: bool,
}

/// Returns the rows of `weight` with the given ids: (vocabulary, hidden), (..) → (.., hidden).
pub(crate) fn embedding(weight: &Tensor, ids: &Tensor) -> Result<Tensor> {
    let tracked = weight.track_op();
    weight
        .contiguous()?
        .apply_op2(&ids.contiguous()?, Embedding { tracked })
}

vectorized! {
    fn add(from: &[f32], to: &mut [f32]) {
        for (to, from) in to.iter_mut().zip(from) {
            *to += from;
        }
        let _ = FMA;
    }
}

/// Returns the positions sorted by id, and where each id starts: the positions of `id` are
/// `order[starts[id]..starts[id + 1]]`.
fn positions_of_ids(ids: &[u32], vocabulary: usize) -> (Vec<usize>, Vec<usize>) {
    let mut starts = vec![0; vocabulary + 1];
    for &id in ids {
        starts[id as usize + 1] += 1;
    }
    for id in 0..vocabulary {
        starts[id + 1] += starts[id];
    }
    let mut next = starts.clone();
    let mut order = vec![0; ids.len()];
    for (position, &id) in ids.iter().enumerate() {
        order[next[id as usize]] = position;
        next[id as usize] += 1;
    }
    (starts, order)
}

impl CustomOp2 for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn cpu_fwd(
        &self,
        weight: &CpuStorage,
        weight_layout: &Layout,
        ids: &CpuStorage,
        ids_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (vocabulary, width) = weight_layout.shape().dims2()?;
        let weight = contiguous(weight, weight_layout)?;
        let Some((start, end)) = ids_layout.contiguous_offsets() else {
            bail!("embedding: the ids must be contiguous")
        };
        let ids = &ids.as_slice::<u32>()?[start..end];
        if let Some(id) = ids.iter().find(|&&id| id as usize >= vocabulary) {
            bail!("embedding: the id `{id}` is outside the vocabulary of `{vocabulary}`")
        }
        let fill = |y: Shared| {
            for_each(ids.len().div_ceil(ROWS), ids.len() * width, |task| {
                for row in task * ROWS..ids.len().min((task + 1) * ROWS) {
                    let from = &weight[ids[row] as usize * width..][..width];
                    // SAFETY: each row is written by one task.
                    unsafe { y.write(row * width, from) };
                }
            });
        };
        // SAFETY: the tasks write all rows.
        let y = unsafe { filled(ids.len() * width, fill) };
        let mut dims = ids_layout.dims().to_vec();
        dims.push(width);
        Ok((CpuStorage::F32(y), dims.into()))
    }

    /// One task sums the gradient of an id, over its positions in order.
    fn bwd(
        &self,
        weight: &Tensor,
        ids: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        if !self.tracked {
            return Ok((None, None));
        }
        let (vocabulary, width) = weight.dims2()?;
        let gradient = gradient.contiguous()?;
        let gradient = Floats::of(&gradient)?;
        let ids = ids.flatten_all()?.to_vec1::<u32>()?;
        let (starts, order) = positions_of_ids(&ids, vocabulary);
        let mut sums = vec![0.0; vocabulary * width];
        let shared = Shared::new(&mut sums);
        for_each(vocabulary.div_ceil(ROWS), ids.len() * width, |task| {
            for id in task * ROWS..vocabulary.min((task + 1) * ROWS) {
                for &position in &order[starts[id]..starts[id + 1]] {
                    // SAFETY: each row is written by one task.
                    let sum = unsafe { shared.slice(id * width, width) };
                    add(&gradient[position * width..][..width], sum);
                }
            }
        });
        Ok((Some(tensor(sums, (vocabulary, width))?), None))
    }
}
