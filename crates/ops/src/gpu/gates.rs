//! Stand-ins for weights in Candle's graph: an operation of many weights takes a tensor of one number for up to three
//! of them.

use candle_core::{DType, Result, Tensor, bail};

use super::graph::operation;
use super::memory::Buffer;
use crate::gate::Slot;

/// Gradients of an operation: of its input, and of its weights in order; `None` where nothing is tracked.
pub(crate) struct Gradients {
    pub of_x: Option<Tensor>,
    pub of_weights: Vec<Option<Tensor>>,
}

/// Puts an output into the graph of x and of any number of weights.
pub(crate) fn operation_of_weights(
    name: &'static str,
    x: &Tensor,
    weights: &[&Tensor],
    output: Buffer,
    backward: impl Fn(&Tensor) -> Result<Gradients> + Send + Sync + 'static,
) -> Result<Tensor> {
    let tracked: Vec<bool> = weights.iter().map(|weight| weight.track_op()).collect();
    let mut gates = Vec::new();
    let mut slots = Vec::new();
    let moving: Vec<&Tensor> = weights
        .iter()
        .copied()
        .filter(|weight| weight.track_op())
        .collect();
    for group in moving.chunks(3) {
        let of_group: Vec<Slot> = group.iter().map(|_| Slot::default()).collect();
        slots.extend(of_group.iter().cloned());
        let nothing = Buffer::new(1, DType::F32, x.device())?;
        gates.push(operation("gate", group, nothing, move |_| {
            Ok(of_group.iter().map(Slot::take).collect())
        })?);
    }
    if gates.len() > 2 {
        bail!("{name}: `{}` weights that are trained", moving.len())
    }
    let mut inputs = vec![x];
    inputs.extend(&gates);
    // The gates' own gradient means nothing, but it makes Candle ask them for those of their weights.
    let of_gates: Vec<Tensor> = gates.iter().map(Tensor::detach).collect();
    let x_tracked = x.track_op();
    operation(name, &inputs, output, move |gradient| {
        let found = backward(gradient)?;
        let of_tracked = found.of_weights.into_iter().zip(&tracked);
        let of_tracked = of_tracked.filter_map(|(gradient, tracked)| tracked.then_some(gradient));
        for (slot, gradient) in slots.iter().zip(of_tracked) {
            if let Some(gradient) = gradient {
                slot.put(gradient);
            }
        }
        let mut all = vec![found.of_x.filter(|_| x_tracked)];
        all.extend(of_gates.iter().cloned().map(Some));
        Ok(all)
    })
}
