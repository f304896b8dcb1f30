//! AdamW state of a parameter: running means of its gradient and squared gradient.

use candle_core::{DType, Result, Tensor, Var, bail};

/// Running means of one parameter's gradient and squared gradient.
#[derive(Debug)]
pub struct Moments(pub(crate) Storage);

/// Moments that lie on the host.
#[derive(Clone, Copy, Debug)]
pub struct MomentValues<'a> {
    /// Running mean of the gradient.
    pub first: &'a [f32],
    /// Running mean of the squared gradient.
    pub second: &'a [f32],
    /// Shape of the parameter.
    pub dims: &'a [usize],
}

/// Storage of the moments: kernels update it in place, the reference replaces tensors by new ones.
#[derive(Debug)]
pub(crate) enum Storage {
    Host(HostMoments),
    Device { first: Tensor, second: Tensor },
}

/// Moments on the host, as vectors.
#[derive(Debug)]
pub(crate) struct HostMoments {
    pub first: Vec<f32>,
    pub second: Vec<f32>,
    dims: Vec<usize>,
}

impl Moments {
    /// Returns the moments before the first update: zeros.
    ///
    /// # Errors
    /// Fails if the device has no memory left.
    pub fn zeros(parameter: &Var) -> Result<Self> {
        let zeros = parameter.as_detached_tensor().zeros_like()?;
        Self::from_tensors(parameter, &zeros, &zeros)
    }

    /// Returns copies of the running means of the gradient and of its square, to save them.
    ///
    /// # Errors
    /// Fails if a tensor operation on the device fails.
    pub fn to_tensors(&self) -> Result<(Tensor, Tensor)> {
        match &self.0 {
            // Kernels write over the originals.
            Storage::Device { first, second } => Ok((first.copy()?, second.copy()?)),
            Storage::Host(moments) => {
                let tensor = |values: &[f32]| {
                    Tensor::from_slice(values, &moments.dims[..], &candle_core::Device::Cpu)
                };
                Ok((tensor(&moments.first)?, tensor(&moments.second)?))
            }
        }
    }

    /// Returns the running means of the gradient and of its square where they lie on the host, to save them without a
    /// copy.
    pub fn on_host(&self) -> Option<MomentValues<'_>> {
        match &self.0 {
            Storage::Device { .. } => None,
            Storage::Host(moments) => Some(MomentValues {
                first: &moments.first,
                second: &moments.second,
                dims: &moments.dims,
            }),
        }
    }

    /// Restores saved moments on the parameter's device.
    ///
    /// # Errors
    /// Fails if the shape of a moment is not the parameter's.
    pub fn from_tensors(parameter: &Var, first: &Tensor, second: &Tensor) -> Result<Self> {
        for moment in [first, second] {
            if moment.dims() != parameter.dims() {
                bail!(
                    "a saved moment is `{:?}` and its parameter `{:?}`: they must be equal",
                    moment.dims(),
                    parameter.dims()
                )
            }
        }
        // Both are copies, so that kernels can write to them.
        let place = |moment: &Tensor| {
            moment
                .detach()
                .to_device(parameter.device())?
                .to_dtype(parameter.dtype())?
                .copy()?
                .contiguous()
        };
        let (first, second) = (place(first)?, place(second)?);
        let mut moments = Self(Storage::Device { first, second });
        if parameter.device().is_cpu() && parameter.dtype() == DType::F32 {
            moments.host()?;
        }
        Ok(moments)
    }

    /// Returns the moments as tensors that kernels update in place, converting them from vectors the first time.
    pub(crate) fn on_device(&mut self) -> Result<[Tensor; 2]> {
        if let Storage::Host(_) = &self.0 {
            let (first, second) = self.to_tensors()?;
            self.0 = Storage::Device { first, second };
        }
        match &self.0 {
            Storage::Device { first, second } => Ok([first.clone(), second.clone()]),
            Storage::Host(_) => unreachable!("just replaced"),
        }
    }

    /// Returns the moments as host vectors, converting them from tensors the first time.
    pub(crate) fn host(&mut self) -> Result<&mut HostMoments> {
        if let Storage::Device { first, second } = &self.0 {
            let values = |moment: &Tensor| moment.flatten_all()?.to_vec1::<f32>();
            self.0 = Storage::Host(HostMoments {
                first: values(first)?,
                second: values(second)?,
                dims: first.dims().to_vec(),
            });
        }
        match &mut self.0 {
            Storage::Host(moments) => Ok(moments),
            Storage::Device { .. } => unreachable!("just replaced"),
        }
    }
}
