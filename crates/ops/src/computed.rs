//! Custom operations whose output or gradients were computed before Candle calls the operation.

use std::sync::{Mutex, PoisonError};

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CudaStorage, MetalStorage, Result, Shape, Storage, Tensor, bail};

/// Returns a tensor with the given value whose derivative by each tensor is the given one: value + (a − detached a)
/// with a = Σ tensor·derivative. Without tensors the result is in no graph.
///
/// # Shapes
/// `value` is a scalar; each derivative has its tensor's shape → scalar
pub(crate) fn with_derivatives(value: Tensor, derivatives: &[(&Tensor, Tensor)]) -> Result<Tensor> {
    let mut slope: Option<Tensor> = None;
    for (tensor, derivative) in derivatives {
        let part = (*tensor * derivative.detach())?.sum_all()?;
        slope = Some(match slope {
            Some(slope) => (slope + part)?,
            None => part,
        });
    }
    match slope {
        Some(slope) => value + (&slope - slope.detach())?,
        None => Ok(value),
    }
}

/// Precomputed output that a custom operation returns as the result of its forward pass. With it, a composition of
/// Candle's operations gets a hand-written backward pass on any device.
pub(crate) struct Computed(Mutex<Option<Tensor>>);

impl Computed {
    pub fn new(output: Tensor) -> Self {
        Self(Mutex::new(Some(output)))
    }

    fn take(&self) -> Result<Tensor> {
        let mut output = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match output.take() {
            Some(output) => Ok(output),
            None => bail!("the forward pass ran twice"),
        }
    }

    pub fn on_cpu(&self) -> Result<(CpuStorage, Shape)> {
        let output = self.take()?;
        let (storage, layout) = output.storage_and_layout();
        match &*storage {
            Storage::Cpu(storage) => Ok((storage.try_clone(layout)?, layout.shape().clone())),
            _ => bail!("what was computed left the CPU"),
        }
    }

    pub fn on_cuda(&self) -> Result<(CudaStorage, Shape)> {
        let output = self.take()?;
        let (storage, layout) = output.storage_and_layout();
        match &*storage {
            Storage::Cuda(storage) => Ok((storage.try_clone(layout)?, layout.shape().clone())),
            _ => bail!("what was computed left the GPU"),
        }
    }

    pub fn on_metal(&self) -> Result<(MetalStorage, Shape)> {
        let output = self.take()?;
        let (storage, layout) = output.storage_and_layout();
        match &*storage {
            Storage::Metal(storage) => Ok((storage.try_clone(layout)?, layout.shape().clone())),
            _ => bail!("what was computed left the GPU"),
        }
    }
}
