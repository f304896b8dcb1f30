//! The weights of a fused half block, of which there are more than the three tensors that an operation of Candle's takes.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Result, Shape, Tensor};

use super::buffer::{Shared, filled, split};
use super::chunks::write;
use super::storage::Floats;

/// Parts of a flat vector, one after the other, with whether each is tracked.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    pub lengths: [usize; 3],
    pub tracked: [bool; 3],
    /// Whether what they are applied to is tracked.
    pub x_tracked: bool,
}

impl Parts {
    /// Whether the gradient of x is needed, for x itself or for the norm, whose weight is the first part.
    pub fn x_gradient_is_needed(&self) -> bool {
        self.x_tracked || self.tracked[0]
    }

    /// The parts of a flat vector.
    pub fn of<'a>(&self, mut flat: &'a [f32]) -> [&'a [f32]; 3] {
        self.lengths.map(|length| {
            let (part, rest) = flat.split_at(length);
            flat = rest;
            part
        })
    }

    /// The parts of a flat vector, to be written.
    pub fn of_mut<'a>(&self, flat: &'a mut [f32]) -> [&'a mut [f32]; 3] {
        split(flat, self.lengths)
    }

    /// How long the flat vector is.
    pub fn total(&self) -> usize {
        self.lengths.iter().sum()
    }
}

/// A half's weights.
pub(super) struct Weights {
    /// All values, one weight after the other.
    pub flat: Vec<f32>,
    pub parts: Parts,
    pub passages: Vec<Passage>,
    /// In Candle's graph, what stands for the weights that are tracked: a number for each.
    pub gates: Tensor,
}

/// How the gradient of a weight gets from the half to the weight's gate. As the gradient of a flat tensor, Candle would set it up
/// with zeros and add to it three times: for that tensor, for the weight's part in it, and for the weight.
pub(super) struct Passage {
    /// Where the weight begins in the flat vector.
    start: usize,
    shape: Shape,
    slot: Slot,
}

/// What a weight becomes in Candle's graph, on its way to a half that has taken its values already.
struct Gate(Slot);

/// Where a gradient waits for its gate.
#[derive(Clone, Default)]
struct Slot(Arc<Mutex<Option<Tensor>>>);

impl Weights {
    /// Groups of weights that are applied to `x`, in order.
    pub fn new(x: &Tensor, groups: [&[&Tensor]; 3]) -> Result<Self> {
        let parts = Parts {
            lengths: groups.map(|group| group.iter().map(|weight| weight.elem_count()).sum()),
            tracked: groups.map(|group| group.iter().any(|weight| weight.track_op())),
            x_tracked: x.track_op(),
        };
        let weights: Vec<&Tensor> = groups.iter().copied().flatten().copied().collect();
        let (mut passages, mut gates) = (Vec::new(), Vec::new());
        let mut start = 0;
        for weight in &weights {
            if weight.track_op() {
                let slot = Slot::default();
                gates.push(weight.apply_op1(Gate(slot.clone()))?);
                let shape = weight.shape().clone();
                passages.push(Passage { start, shape, slot });
            }
            start += weight.elem_count();
        }
        let gates = match gates[..] {
            [] => Tensor::zeros(1, DType::F32, &Device::Cpu)?,
            _ => Tensor::cat(&gates, 0)?,
        };
        Ok(Self {
            flat: join(&weights)?,
            parts,
            passages,
            gates,
        })
    }
}

/// The values of all weights, one after the other.
fn join(weights: &[&Tensor]) -> Result<Vec<f32>> {
    let weights: Vec<Tensor> = weights
        .iter()
        .map(|weight| weight.detach().contiguous())
        .collect::<Result<_>>()?;
    let weights: Vec<Floats> = weights.iter().map(Floats::of).collect::<Result<_>>()?;
    let length = weights.iter().map(|weight| weight.len()).sum();
    let fill = |flat: Shared| {
        let mut start = 0;
        for weight in &weights {
            write(weight, flat.part(start, weight.len()));
            start += weight.len();
        }
    };
    // SAFETY: the weights have as many values together as the vector has, and all are copied.
    Ok(unsafe { filled(length, fill) })
}

impl Passage {
    /// Leaves the weight's part of the flat vector's gradient where its gate takes it.
    pub fn send(&self, flat: &Tensor) -> Result<()> {
        let part = flat.narrow(0, self.start, self.shape.elem_count())?;
        let part = part.reshape(&self.shape)?;
        self.slot.with(|gradient| *gradient = Some(part));
        Ok(())
    }
}

impl Slot {
    fn with<R>(&self, change: impl FnOnce(&mut Option<Tensor>) -> R) -> R {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl CustomOp1 for Gate {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(vec![0.0]), Shape::from(1)))
    }

    /// The half, whose backward pass came just before, has left the gradient.
    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
        Ok(self.0.with(Option::take))
    }
}
