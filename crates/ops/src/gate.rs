//! Stand-ins for weights in Candle's graph: an operation that has the weights' values already takes a number for each.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, DType, Device, Layout, MetalStorage, Result, Shape, Tensor,
};

use crate::computed::Computed;

/// Slot in which the gradient of a weight waits for the weight's gate.
#[derive(Clone, Default)]
pub(crate) struct Slot(Arc<Mutex<Option<Tensor>>>);

/// Stand-in of a weight: 0, whose backward pass takes the gradient that the operation behind it has left just before.
struct Gate {
    slot: Slot,
    output: Computed,
}

impl Slot {
    /// Returns the stand-in of a weight: (..) → (1).
    ///
    /// # Errors
    /// Fails if the device has no memory left.
    pub fn gate(&self, weight: &Tensor) -> Result<Tensor> {
        let output = Tensor::zeros(1, DType::F32, weight.device())?;
        weight.apply_op1(Gate {
            slot: self.clone(),
            output: Computed::new(output),
        })
    }

    pub fn put(&self, gradient: Tensor) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(gradient);
    }

    pub fn take(&self) -> Option<Tensor> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Joins the stand-ins of an operation's weights: a number for each, and one if there are none.
///
/// # Errors
/// Fails if the device has no memory left.
pub(crate) fn joined(gates: &[Tensor], device: &Device) -> Result<Tensor> {
    match gates {
        [] => Tensor::zeros(1, DType::F32, device),
        _ => Tensor::cat(gates, 0),
    }
}

impl CustomOp1 for Gate {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.output.on_cpu()
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        self.output.on_cuda()
    }

    fn metal_fwd(&self, _: &MetalStorage, _: &Layout) -> Result<(MetalStorage, Shape)> {
        self.output.on_metal()
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
        Ok(self.slot.take())
    }
}
