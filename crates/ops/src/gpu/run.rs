//! Execution of launches, on a GPU or, in tests, in the emulator.

use candle_core::{Device, Result, bail};

use super::host;
use super::launch::Launch;

impl Launch {
    /// Runs the kernel on `device` after all earlier work. A launch without blocks does nothing.
    ///
    /// # Safety
    /// The arguments must be those of the kernel, and their memory as large as it expects.
    pub unsafe fn run(self, device: &Device) -> Result<()> {
        if self.grid.contains(&0) {
            return Ok(());
        }
        match device {
            // SAFETY: the caller vouches for the arguments.
            Device::Cpu => unsafe { host::launch(&self) },
            #[cfg(feature = "cuda")]
            // SAFETY: the caller vouches for the arguments.
            Device::Cuda(device) => unsafe { super::cuda::launch(device, &self) },
            _ => bail!("kernels run on a CUDA device"),
        }
    }
}
