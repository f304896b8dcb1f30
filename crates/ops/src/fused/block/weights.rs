//! Weights of a fused sublayer: more than the three tensors that a Candle operation takes.

use candle_core::{Result, Shape, Tensor};

use super::branches::{BranchWeights, Branches};
use crate::fused::simd::buffer::{Shared, split, with_buffer};
use crate::fused::simd::chunks::write;
use crate::fused::simd::storage::Floats;
use crate::gate::{Slot, joined};

/// Groups of weights: norms, the two groups of projections, and the branches of each.
pub(super) const GROUPS: usize = 5;

/// Parts of a flat vector in order, and which of them are tracked.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    pub lengths: [usize; GROUPS],
    pub tracked: [bool; GROUPS],
    /// True if the input x is tracked.
    pub x_tracked: bool,
}

impl Parts {
    /// Returns true if the gradient of x is needed, for x itself or for the norm, whose weight is the first part.
    pub fn x_gradient_is_needed(&self) -> bool {
        self.x_tracked || self.tracked[0]
    }

    /// Splits a flat vector into its parts.
    pub fn of<'a>(&self, mut flat: &'a [f32]) -> [&'a [f32]; GROUPS] {
        self.lengths.map(|length| {
            let (part, rest) = flat.split_at(length);
            flat = rest;
            part
        })
    }

    /// Prepares the branches of both groups for products, from the flat vector.
    pub fn branch_weights<'a>(
        &self,
        branches: &'a [Option<Branches>; 2],
        flat: &'a [f32],
    ) -> [Option<BranchWeights<'a>>; 2] {
        let [_, weight_of_inner, weight_of_outer, inner, outer] = self.of(flat);
        let of = |branches: &'a Option<Branches>, weight, flat| {
            branches
                .as_ref()
                .map(|branches| branches.weights(weight, flat))
        };
        [
            of(&branches[0], weight_of_inner, inner),
            of(&branches[1], weight_of_outer, outer),
        ]
    }

    /// Splits a flat gradient into its parts, which are empty for frozen weights.
    pub fn of_gradient<'a>(&self, flat: &'a mut [f32]) -> [&'a mut [f32]; GROUPS] {
        split(flat, self.gradient_lengths())
    }

    /// Lengths of the gradients of the parts.
    fn gradient_lengths(&self) -> [usize; GROUPS] {
        std::array::from_fn(|part| match self.tracked[part] {
            true => self.lengths[part],
            false => 0,
        })
    }

    /// Length of the flat gradient.
    pub fn gradient_total(&self) -> usize {
        self.gradient_lengths().iter().sum()
    }
}

/// Weights of a sublayer.
pub(super) struct Weights {
    pub values: Values,
    pub parts: Parts,
    pub routes: Vec<GradientRoute>,
    /// Stand-ins for the tracked weights in Candle's graph: a number for each.
    pub gates: Tensor,
}

/// Values of all weights, outside of the graph. They are joined in scratch memory for each pass, since a copy of its
/// own for every sublayer would take as much memory as the model.
pub(super) struct Values {
    tensors: Vec<Tensor>,
    length: usize,
}

/// Route of a weight's gradient from the sublayer to the weight's gate. With a flat tensor in the graph, Candle would
/// zero and add the gradient three times: for that tensor, for the weight's part in it, and for the weight.
pub(super) struct GradientRoute {
    /// Start of the weight in the flat gradient.
    start: usize,
    shape: Shape,
    slot: Slot,
}

impl Weights {
    /// Joins groups of weights that are applied to `x`, in order.
    pub fn new(x: &Tensor, groups: [&[&Tensor]; GROUPS]) -> Result<Self> {
        let parts = Parts {
            lengths: groups.map(|group| group.iter().map(|weight| weight.elem_count()).sum()),
            tracked: groups.map(|group| group.iter().any(|weight| weight.track_op())),
            x_tracked: x.track_op(),
        };
        let (mut routes, mut gates) = (Vec::new(), Vec::new());
        let mut start = 0;
        let with_gradient = groups.iter().zip(parts.tracked);
        for weight in
            with_gradient.flat_map(|(group, tracked)| group.iter().filter(move |_| tracked))
        {
            if weight.track_op() {
                let slot = Slot::default();
                gates.push(slot.gate(weight)?);
                let shape = weight.shape().clone();
                routes.push(GradientRoute { start, shape, slot });
            }
            start += weight.elem_count();
        }
        let all = groups.iter().copied().flatten();
        Ok(Self {
            values: Values {
                tensors: all
                    .map(|weight| weight.detach().contiguous())
                    .collect::<Result<_>>()?,
                length: parts.lengths.iter().sum(),
            },
            parts,
            routes,
            gates: joined(&gates, x.device())?,
        })
    }
}

impl Values {
    /// Lends the values of all weights, one weight after the other.
    pub fn with_flat<R>(&self, work: impl FnOnce(&[f32]) -> R) -> Result<R> {
        let weights: Vec<Floats> = (self.tensors.iter())
            .map(Floats::of)
            .collect::<Result<_>>()?;
        Ok(with_buffer(self.length, |flat| {
            let joined = Shared::new(flat);
            let mut start = 0;
            for weight in &weights {
                write(weight, joined.part(start, weight.len()));
                start += weight.len();
            }
            work(flat)
        }))
    }
}

impl GradientRoute {
    /// Puts the weight's part of the flat vector's gradient into the slot of its gate.
    pub fn send(&self, flat: &Tensor) -> Result<()> {
        let part = flat.narrow(0, self.start, self.shape.elem_count())?;
        let part = part.reshape(&self.shape)?;
        self.slot.put(part);
        Ok(())
    }
}
