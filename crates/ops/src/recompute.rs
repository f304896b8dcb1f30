//! Gradient checkpointing: the backward pass recomputes a part of a network instead of storing its activations (Chen
//! et al. 2016, "Training Deep Nets with Sublinear Memory Cost").

use candle_core::{
    CpuStorage, CudaStorage, CustomOp2, Layout, MetalStorage, Result, Shape, Tensor, Var,
};

use crate::computed::Computed;
use crate::gate::{Slot, joined};

/// Function from x and the tracked weights to y.
type Function = Box<dyn Fn(&Tensor, &[Tensor]) -> Result<Tensor> + Send + Sync>;

struct Recomputed {
    function: Function,
    output: Computed,
    /// Values of the tracked weights, which the graph's own tensors share.
    weights: Vec<Tensor>,
    slots: Vec<Slot>,
    x_tracked: bool,
}

/// Computes `function(x, weights)` and stores only x for the backward pass, which runs the function
/// again. Since the inputs are the same, the gradients are the same to the last bit. `weights` must contain all
/// tracked tensors that the function uses, besides x. The function owns all others, which must not be tracked.
///
/// # Errors
/// Fails if the function fails.
pub fn recomputed(
    x: &Tensor,
    weights: &[Tensor],
    function: impl Fn(&Tensor, &[Tensor]) -> Result<Tensor> + Send + Sync + 'static,
) -> Result<Tensor> {
    let detached: Vec<Tensor> = weights.iter().map(Tensor::detach).collect();
    let output = function(&x.detach(), &detached)?;
    if !x.track_op() && weights.is_empty() {
        return Ok(output);
    }
    let slots: Vec<Slot> = weights.iter().map(|_| Slot::default()).collect();
    let gates: Vec<Tensor> = (slots.iter().zip(weights))
        .map(|(slot, weight)| slot.gate(weight))
        .collect::<Result<_>>()?;
    let operation = Recomputed {
        function: Box::new(function),
        output: Computed::new(output.contiguous()?),
        weights: detached,
        slots,
        x_tracked: x.track_op(),
    };
    x.apply_op2(&joined(&gates, x.device())?, operation)
}

impl CustomOp2 for Recomputed {
    fn name(&self) -> &'static str {
        "recomputed"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.output.on_cpu()
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.output.on_cuda()
    }

    fn metal_fwd(
        &self,
        _: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
    ) -> Result<(MetalStorage, Shape)> {
        self.output.on_metal()
    }

    fn bwd(
        &self,
        x: &Tensor,
        gates: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let variable = self
            .x_tracked
            .then(|| Var::from_tensor(&x.detach()))
            .transpose()?;
        let x = variable
            .as_ref()
            .map_or_else(|| x.detach(), |x| x.as_tensor().clone());
        let weights: Vec<Var> = (self.weights.iter())
            .map(Var::from_tensor)
            .collect::<Result<_>>()?;
        let tensors: Vec<Tensor> = weights
            .iter()
            .map(|weight| weight.as_tensor().clone())
            .collect();
        let output = (self.function)(&x, &tensors)?;
        // The gradient of Σ y·g for a constant g is the vector-Jacobian product of the function with g.
        let mut found = (output * gradient.detach())?.sum_all()?.backward()?;
        let dx = variable.and_then(|x| found.remove(&x));
        if weights.is_empty() {
            return Ok((dx, None));
        }
        for (slot, weight) in self.slots.iter().zip(&weights) {
            slot.put(match found.remove(weight) {
                Some(gradient) => gradient,
                None => weight.zeros_like()?,
            });
        }
        Ok((dx, Some(gates.zeros_like()?)))
    }
}
