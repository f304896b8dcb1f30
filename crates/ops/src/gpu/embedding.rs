//! Lookup of rows.

use candle_core::{DType, Device, Result, Tensor, bail};

use super::graph::operation;
use super::launch::Launch;
use super::memory::{Buffer, upload, zeros};
use super::source::EMBEDDING;

/// Returns the rows of `weight` with the given ids; ids on the CPU need no transfer from the device.
pub(crate) fn embedding(weight: &Tensor, ids: &Tensor) -> Result<Tensor> {
    let (vocabulary, width) = weight.dims2()?;
    let mut shape = ids.dims().to_vec();
    shape.push(width);
    let ids: Vec<u32> = ids.flatten_all()?.to_vec1()?;
    if let Some(id) = ids.iter().find(|id| **id as usize >= vocabulary) {
        bail!("embedding: the id `{id}` is outside the vocabulary of `{vocabulary}`")
    }
    let (device, count) = (weight.device().clone(), ids.len());
    let still = weight.detach().contiguous()?;
    let y = Buffer::new(shape, DType::F32, &device)?;
    let launch = Launch::elements(EMBEDDING.kernel("embedding"), count * width)
        .tensor(&still)?
        .tensor(&upload(&ids, &device)?)?
        .buffer(&y)?
        .long(count)
        .int(width)?;
    // SAFETY: every id names a row of the weight.
    unsafe { launch.run(&device)? };
    operation("embedding", &[weight], y, move |gradient| {
        let groups = Groups::of(&ids);
        let dweight = zeros((vocabulary, width), &device)?;
        let starts = upload(&groups.first, &device)?;
        let first = groups.first;
        let launch = Launch::new(
            EMBEDDING.kernel("embedding_backward"),
            [groups.ids.len(), 1, 1],
        )
        .classes(move |[token, ..]| [u64::from(first[token + 1] - first[token]), 0, 0, 0])
        .tensor(gradient)?
        .tensor(&upload(&groups.ids, &device)?)?
        .tensor(&starts)?
        .tensor(&upload(&groups.order, &device)?)?
        .tensor(&dweight)?
        .int(width)?;
        // SAFETY: the groups name positions of the gradient and rows of the weight.
        unsafe { launch.run(&device)? };
        Ok(vec![Some(dweight)])
    })
}

/// Positions of each distinct id.
struct Groups {
    /// Distinct ids, ascending.
    ids: Vec<u32>,
    /// Index in `order` of the first position of each id, and the length of `order`.
    first: Vec<u32>,
    /// Positions, grouped by id and ascending within a group.
    order: Vec<u32>,
}

impl Groups {
    fn of(ids: &[u32]) -> Self {
        let mut order: Vec<u32> = (0..ids.len() as u32).collect();
        order.sort_by_key(|at| ids[*at as usize]);
        let (mut distinct, mut first) = (Vec::new(), Vec::new());
        for (place, at) in order.iter().enumerate() {
            let id = ids[*at as usize];
            if distinct.last() != Some(&id) {
                distinct.push(id);
                first.push(place as u32);
            }
        }
        first.push(order.len() as u32);
        Self {
            ids: distinct,
            first,
            order,
        }
    }
}

/// Uploads ids from the CPU to `device`; ids on another device stay there.
pub(crate) fn ids_on(device: &Device, ids: &Tensor) -> Result<Tensor> {
    match ids.device().is_cpu() {
        true => ids.to_device(device),
        false => Ok(ids.clone()),
    }
}
