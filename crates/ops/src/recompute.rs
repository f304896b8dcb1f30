//! Gradient checkpointing: the backward pass recomputes a part of a network instead of storing its activations (Chen
//! et al. 2016, "Training Deep Nets with Sublinear Memory Cost").

use candle_core::{
    CpuStorage, CudaStorage, CustomOp2, Layout, MetalStorage, Result, Shape, Tensor, Var,
};

use crate::computed::Computed;

/// Function from x and the tracked weights to y.
type Function = Box<dyn Fn(&Tensor, &[Tensor]) -> Result<Tensor> + Send + Sync>;

struct Recomputed {
    function: Function,
    output: Computed,
    shapes: Vec<Shape>,
    x_tracked: bool,
}

/// Computes `function(x, weights)` and stores only x and the weights for the backward pass, which runs the function
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
    let flat = match weights {
        [] => Tensor::zeros(0, x.dtype(), x.device())?,
        _ => {
            let flat: Vec<Tensor> = weights
                .iter()
                .map(Tensor::flatten_all)
                .collect::<Result<_>>()?;
            Tensor::cat(&flat, 0)?
        }
    };
    let operation = Recomputed {
        function: Box::new(function),
        output: Computed::new(output.contiguous()?),
        shapes: weights
            .iter()
            .map(|weight| weight.shape().clone())
            .collect(),
        x_tracked: x.track_op(),
    };
    x.apply_op2(&flat, operation)
}

impl Recomputed {
    /// Splits the flat tensor into the weights, as variables of a new graph.
    fn weights(&self, flat: &Tensor) -> Result<Vec<Var>> {
        let mut start = 0;
        let mut weights = Vec::with_capacity(self.shapes.len());
        for shape in &self.shapes {
            let weight = flat.narrow(0, start, shape.elem_count())?;
            weights.push(Var::from_tensor(&weight.reshape(shape)?)?);
            start += shape.elem_count();
        }
        Ok(weights)
    }
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
        flat: &Tensor,
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
        let weights = self.weights(&flat.detach())?;
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
        let mut parts = Vec::with_capacity(weights.len());
        for weight in &weights {
            parts.push(match found.remove(weight) {
                Some(gradient) => gradient.flatten_all()?,
                None => weight.zeros_like()?.flatten_all()?,
            });
        }
        Ok((dx, Some(Tensor::cat(&parts, 0)?)))
    }
}
