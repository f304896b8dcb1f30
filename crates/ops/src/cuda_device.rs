//! A GPU as a device: its stream, its memory pool and its memory.

use candle_core::{Device, Result};

/// Environment variable that selects the behavior of the memory pool.
#[cfg(feature = "cuda")]
const POOL_SWITCH: &str = "POLYMATH_CUDA_POOL";

/// Opens the GPU with the given number.
///
/// The device has one stream for all threads, so that a model can be loaded on one thread and used on another.
/// (Candle's own [`Device::new_cuda`] has a stream for each thread, and nothing orders them.) Therefore no events that
/// record the uses of tensors are needed, and they are turned off. Freed memory stays in the pool, unless
/// `POLYMATH_CUDA_POOL` is `default`: then CUDA returns it to the system at each synchronization and has to allocate it
/// again.
///
/// # Errors
/// Fails without the feature `cuda`, if there is no such GPU, or if `POLYMATH_CUDA_POOL` has another value.
#[cfg(feature = "cuda")]
pub fn cuda_device(ordinal: usize) -> Result<Device> {
    let device = Device::new_cuda_with_stream(ordinal)?;
    if let Device::Cuda(cuda) = &device {
        // SAFETY: one stream orders all uses of a tensor.
        unsafe { cuda.disable_event_tracking() };
        let switch = std::env::var(POOL_SWITCH).unwrap_or_default();
        match switch.as_str() {
            "" => pool::keep_freed_memory(cuda)?,
            "default" => {}
            other => candle_core::bail!(
                "`{POOL_SWITCH}` = `{other}`: expected `default`, or nothing to keep freed memory"
            ),
        }
    }
    Ok(device)
}

/// Opens the GPU with the given number.
///
/// # Errors
/// Fails in this build, which lacks the feature `cuda`.
#[cfg(not(feature = "cuda"))]
pub fn cuda_device(ordinal: usize) -> Result<Device> {
    Device::new_cuda(ordinal)
}

/// Memory of a GPU in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceMemory {
    /// Largest sum of the sizes of all tensors so far.
    pub peak: u64,
    /// Free memory, including the memory of freed tensors in the pool.
    pub available: u64,
    /// Total memory of the GPU.
    pub total: u64,
}

/// Returns the memory of a GPU; `None` for other devices, and if the driver does not report it.
#[cfg(feature = "cuda")]
pub fn device_memory(device: &Device) -> Option<DeviceMemory> {
    match device {
        Device::Cuda(device) => pool::memory(device).ok(),
        _ => None,
    }
}

/// Returns `None`: this build lacks the feature `cuda`.
#[cfg(not(feature = "cuda"))]
pub fn device_memory(_: &Device) -> Option<DeviceMemory> {
    None
}

#[cfg(feature = "cuda")]
mod pool {
    use std::ffi::c_void;

    use candle_core::cuda_backend::WrapErr;
    use candle_core::cuda_backend::cudarc::driver::sys;
    use candle_core::{CudaDevice, Result};

    use super::DeviceMemory;

    /// Keeps what is freed for the next tensors.
    pub(super) fn keep_freed_memory(device: &CudaDevice) -> Result<()> {
        let mut threshold = u64::MAX;
        // SAFETY: the attribute is a number of 64 bits, which outlives the call.
        unsafe {
            sys::cuMemPoolSetAttribute(
                pool(device)?,
                sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD,
                (&raw mut threshold).cast::<c_void>(),
            )
        }
        .result()
        .w()
    }

    pub(super) fn memory(device: &CudaDevice) -> Result<DeviceMemory> {
        use sys::CUmemPool_attribute::{
            CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT, CU_MEMPOOL_ATTR_USED_MEM_CURRENT,
            CU_MEMPOOL_ATTR_USED_MEM_HIGH,
        };
        let pool = pool(device)?;
        let number = |attribute| -> Result<u64> {
            let mut value = 0u64;
            // SAFETY: the attribute is a number of 64 bits.
            unsafe { sys::cuMemPoolGetAttribute(pool, attribute, (&raw mut value).cast()) }
                .result()
                .w()?;
            Ok(value)
        };
        let stream = device.cuda_stream();
        let (free, total) = stream.context().mem_get_info().w()?;
        let kept = number(CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT)?
            .saturating_sub(number(CU_MEMPOOL_ATTR_USED_MEM_CURRENT)?);
        Ok(DeviceMemory {
            peak: number(CU_MEMPOOL_ATTR_USED_MEM_HIGH)?,
            available: free as u64 + kept,
            total: total as u64,
        })
    }

    fn pool(device: &CudaDevice) -> Result<sys::CUmemoryPool> {
        let stream = device.cuda_stream();
        let mut pool = std::ptr::null_mut();
        // SAFETY: writes one handle.
        unsafe { sys::cuDeviceGetDefaultMemPool(&mut pool, stream.context().cu_device()) }
            .result()
            .w()?;
        Ok(pool)
    }
}
