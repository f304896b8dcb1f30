//! Choice of an implementation of the operations.

use candle_core::{DType, Tensor};

use crate::Precision;

/// Implementation of the operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Implementation {
    /// Our own kernels for f32 tensors on the CPU; on a GPU, attention and the loss with a backward pass of their own.
    /// Everything else uses the reference.
    #[default]
    Fused,
    /// Compositions of Candle's operations.
    Reference,
}

/// Implementation and precision of the operations; a model carries one.
#[derive(Clone, Copy, Debug)]
pub struct Ops {
    /// Implementation of the operations.
    pub implementation: Implementation,
    /// Precision of the matrix products.
    pub precision: Precision,
}

impl Ops {
    /// Returns the fastest implementation for any device.
    pub fn fused(precision: Precision) -> Ops {
        Ops {
            implementation: Implementation::Fused,
            precision,
        }
    }

    /// Returns true if the fused CPU kernels take these tensors.
    pub(crate) fn fuses(&self, tensors: &[&Tensor]) -> bool {
        self.implementation == Implementation::Fused
            && tensors
                .iter()
                .all(|tensor| tensor.device().is_cpu() && tensor.dtype() == DType::F32)
    }

    /// Returns true if attention and the loss have their own backward pass on this tensor's device.
    pub(crate) fn has_gpu_kernels(&self, tensor: &Tensor) -> bool {
        self.implementation == Implementation::Fused && !tensor.device().is_cpu()
    }
}
