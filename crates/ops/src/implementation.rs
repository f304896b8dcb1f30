//! Choice of an implementation of the operations.

use candle_core::{DType, Tensor};

use crate::Precision;

/// Implementation of the operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Implementation {
    /// Own kernels for f32 tensors, on the CPU and on a CUDA device. All other cases use the reference, except
    /// attention and the loss outside of the CPU, which have hand-written backward passes.
    #[default]
    Fused,
    /// Compositions of Candle's own operations.
    Reference,
    /// CUDA kernels on the CPU, for tests. Requires [`install_emulator`](crate::install_emulator).
    Emulated,
}

/// Implementation of the operations and precision of the matrix products. Each model holds one.
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

    /// Returns true if the fused CPU kernels support these tensors.
    pub(crate) fn fuses(&self, tensors: &[&Tensor]) -> bool {
        self.implementation == Implementation::Fused
            && tensors
                .iter()
                .all(|tensor| tensor.device().is_cpu() && tensor.dtype() == DType::F32)
    }

    /// Returns true if CUDA kernels compute operations on these tensors.
    pub(crate) fn runs_kernels(&self, tensors: &[&Tensor]) -> bool {
        let at_place = |tensor: &&Tensor| match self.implementation {
            Implementation::Fused => tensor.device().is_cuda(),
            Implementation::Emulated => tensor.device().is_cpu(),
            Implementation::Reference => false,
        };
        tensors
            .iter()
            .all(|tensor| at_place(tensor) && tensor.dtype() == DType::F32)
    }

    /// Returns true if attention and the loss have a hand-written backward pass on this tensor's device.
    pub(crate) fn has_own_backward(&self, tensor: &Tensor) -> bool {
        self.implementation == Implementation::Fused && !tensor.device().is_cpu()
    }
}
