//! Weights of a fused sublayer: more than the three tensors that a Candle operation takes.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Result, Shape, Tensor};

use crate::fused::simd::buffer::{Shared, filled, split};
use crate::fused::simd::chunks::write;
use crate::fused::simd::storage::Floats;

/// Parts of a flat vector in order, and which of them are tracked.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    pub lengths: [usize; 3],
    pub tracked: [bool; 3],
    /// True if the input x is tracked.
    pub x_tracked: bool,
}

impl Parts {
    /// Returns true if the gradient of x is needed, for x itself or for the norm, whose weight is the first part.
    pub fn x_gradient_is_needed(&self) -> bool {
        self.x_tracked || self.tracked[0]
    }

    /// Splits a flat vector into its parts.
    pub fn of<'a>(&self, mut flat: &'a [f32]) -> [&'a [f32]; 3] {
        self.lengths.map(|length| {
            let (part, rest) = flat.split_at(length);
            flat = rest;
            part
        })
    }

    /// Splits a flat vector into its parts, to be written.
    pub fn of_mut<'a>(&self, flat: &'a mut [f32]) -> [&'a mut [f32]; 3] {
        split(flat, self.lengths)
    }

    /// Length of the flat vector.
    pub fn total(&self) -> usize {
        self.lengths.iter().sum()
    }
}

/// Weights of a sublayer.
pub(super) struct Weights {
    /// Values of all weights, one weight after the other.
    pub flat: Vec<f32>,
    pub parts: Parts,
    pub routes: Vec<GradientRoute>,
    /// Stand-ins for the tracked weights in Candle's graph: a number for each.
    pub gates: Tensor,
}

/// Route of a weight's gradient from the sublayer to the weight's gate. With a flat tensor in the graph, Candle would
/// zero and add the gradient three times: for that tensor, for the weight's part in it, and for the weight.
pub(super) struct GradientRoute {
    /// Start of the weight in the flat vector.
    start: usize,
    shape: Shape,
    slot: Slot,
}

/// Stand-in for a weight in Candle's graph, in front of a sublayer that has copied its values already.
struct Gate(Slot);

/// Slot in which a gradient waits for its gate.
#[derive(Clone, Default)]
struct Slot(Arc<Mutex<Option<Tensor>>>);

impl Weights {
    /// Joins groups of weights that are applied to `x`, in order.
    pub fn new(x: &Tensor, groups: [&[&Tensor]; 3]) -> Result<Self> {
        let parts = Parts {
            lengths: groups.map(|group| group.iter().map(|weight| weight.elem_count()).sum()),
            tracked: groups.map(|group| group.iter().any(|weight| weight.track_op())),
            x_tracked: x.track_op(),
        };
        let weights: Vec<&Tensor> = groups.iter().copied().flatten().copied().collect();
        let (mut routes, mut gates) = (Vec::new(), Vec::new());
        let mut start = 0;
        for weight in &weights {
            if weight.track_op() {
                let slot = Slot::default();
                gates.push(weight.apply_op1(Gate(slot.clone()))?);
                let shape = weight.shape().clone();
                routes.push(GradientRoute { start, shape, slot });
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
            routes,
            gates,
        })
    }
}

/// Joins the values of all weights.
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

impl GradientRoute {
    /// Puts the weight's part of the flat vector's gradient into the slot of its gate.
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

    /// Takes the gradient that the sublayer's backward pass left just before.
    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
        Ok(self.0.with(Option::take))
    }
}
