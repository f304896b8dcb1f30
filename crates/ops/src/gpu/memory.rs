//! Memory that kernels write, and addresses of tensors.

use candle_core::op::BackpropOp;
use candle_core::{CpuStorage, DType, Device, Result, Shape, Storage, Tensor, WithDType, bail};
use half::vec::HalfBitsVecExt;

use super::work::{is_counting, note};

/// Memory of a tensor to be: a kernel writes it, then it becomes a tensor or an operation's output.
pub(crate) struct Buffer {
    storage: Storage,
    shape: Shape,
}

impl Buffer {
    /// Allocates memory whose content is undefined; on a CPU it is NaN, and zeros while work is counted.
    pub fn new(shape: impl Into<Shape>, dtype: DType, device: &Device) -> Result<Self> {
        let shape = shape.into();
        let storage = match device {
            // The system maps zeros only when they are touched, which most are not while work is counted.
            Device::Cpu if is_counting() => Storage::Cpu(filled(&shape, dtype, false)?),
            Device::Cpu => Storage::Cpu(filled(&shape, dtype, true)?),
            #[cfg(feature = "cuda")]
            Device::Cuda(device) => {
                use candle_core::backend::BackendDevice;
                // CUDA allocates no empty memory.
                let allocated = match shape.elem_count() {
                    0 => Shape::from(1),
                    _ => shape.clone(),
                };
                // SAFETY: a kernel writes all of it before anything reads it.
                Storage::Cuda(unsafe { device.alloc_uninit(&allocated, dtype)? })
            }
            _ => bail!("kernels run on a CUDA device"),
        };
        Ok(Self { storage, shape })
    }

    /// Copies a contiguous tensor.
    pub fn copy_of(tensor: &Tensor) -> Result<Self> {
        let bytes = tensor.elem_count() * tensor.dtype().size_in_bytes();
        note("copy", 1, [bytes, bytes]);
        let (storage, layout) = tensor.storage_and_layout();
        Ok(Self {
            storage: storage.try_clone(layout)?,
            shape: tensor.shape().clone(),
        })
    }

    /// Gives the memory another shape of as many elements.
    pub fn reshaped(self, shape: &Shape) -> Self {
        debug_assert_eq!(self.shape.elem_count(), shape.elem_count());
        Self {
            shape: shape.clone(),
            ..self
        }
    }

    /// Returns the address and the bytes of the memory.
    pub fn span(&self) -> Result<Span> {
        span_of(&self.storage, 0, self.shape.elem_count())
    }

    /// Returns the memory as a tensor outside of any graph.
    pub fn into_tensor(self) -> Tensor {
        Tensor::from_storage(self.storage, self.shape, BackpropOp::none(), false)
    }

    /// Returns the memory and its shape.
    pub fn into_parts(self) -> (Storage, Shape) {
        (self.storage, self.shape)
    }
}

/// Returns memory with the bits of NaN, so that what a kernel leaves out is seen, or of zeros.
fn filled(shape: &Shape, dtype: DType, poisoned: bool) -> Result<CpuStorage> {
    let count = shape.elem_count();
    Ok(match (dtype, poisoned) {
        (DType::F32, true) => CpuStorage::F32(vec![f32::NAN; count]),
        (DType::F32, false) => CpuStorage::F32(vec![0.0; count]),
        (DType::BF16, true) => CpuStorage::BF16(vec![half::bf16::NAN; count]),
        (DType::BF16, false) => CpuStorage::BF16(vec![0u16; count].reinterpret_into()),
        (DType::U32, true) => CpuStorage::U32(vec![u32::MAX; count]),
        (DType::U32, false) => CpuStorage::U32(vec![0; count]),
        (other, _) => bail!("kernels write no `{other:?}`"),
    })
}

/// Returns zeros that a kernel may add to or write over, outside of any graph.
pub(crate) fn zeros(shape: impl Into<Shape>, device: &Device) -> Result<Tensor> {
    let zeros = Tensor::zeros(shape, DType::F32, device)?;
    note("zeros", 1, [0, 4 * zeros.elem_count()]);
    Ok(zeros)
}

/// Uploads a list to the device.
pub(crate) fn upload<T: WithDType>(list: &[T], device: &Device) -> Result<Tensor> {
    note("upload", 1, [0, std::mem::size_of_val(list)]);
    Tensor::from_slice(list, list.len(), device)
}

/// Address and bytes of memory on the device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub address: u64,
    pub bytes: u64,
}

impl Span {
    /// Returns `count` bytes from `bytes` on.
    pub fn part(&self, bytes: usize, count: usize) -> Span {
        Span {
            bytes: count as u64,
            ..self.after(bytes as u64)
        }
    }

    /// Returns the part from `bytes` on.
    pub fn after(&self, bytes: u64) -> Span {
        Span {
            address: self.address + bytes,
            bytes: self.bytes.saturating_sub(bytes),
        }
    }
}

/// Memory that a product is written to.
#[derive(Clone, Copy)]
pub(super) struct Target {
    pub place: Span,
    /// Type of its numbers: f32, or bf16 for a product that only serves as a factor.
    pub dtype: DType,
    /// Adds to what is there, which must be f32.
    pub adds: bool,
}

impl Target {
    /// Returns memory of f32 that the product is written to.
    pub fn of(place: Span) -> Self {
        Self {
            place,
            dtype: DType::F32,
            adds: false,
        }
    }

    /// Returns memory of f32 that the product is added to.
    pub fn sum(place: Span) -> Self {
        Self {
            adds: true,
            ..Self::of(place)
        }
    }
}

/// Returns the place of a contiguous tensor's elements.
pub(crate) fn span(tensor: &Tensor) -> Result<Span> {
    let (storage, layout) = tensor.storage_and_layout();
    match layout.contiguous_offsets() {
        Some((start, end)) => span_of(&storage, start, end - start),
        None => bail!("kernels take contiguous tensors, not `{layout:?}`"),
    }
}

/// Returns the address of a tensor's first element, for any layout.
#[cfg(feature = "cuda")]
pub(crate) fn start(tensor: &Tensor) -> Result<u64> {
    let (storage, layout) = tensor.storage_and_layout();
    Ok(span_of(&storage, layout.start_offset(), 0)?.address)
}

fn span_of(storage: &Storage, start: usize, count: usize) -> Result<Span> {
    let size = storage.dtype().size_in_bytes();
    let base = match storage {
        // Kernels of the emulator write through this pointer while nothing else refers to the elements.
        Storage::Cpu(CpuStorage::F32(values)) => values.as_ptr() as u64,
        Storage::Cpu(CpuStorage::BF16(values)) => values.as_ptr() as u64,
        Storage::Cpu(CpuStorage::U32(values)) => values.as_ptr() as u64,
        #[cfg(feature = "cuda")]
        Storage::Cuda(storage) => address(storage)?,
        _ => bail!("kernels take no `{:?}` of this device", storage.dtype()),
    };
    Ok(Span {
        address: base + (start * size) as u64,
        bytes: (count * size) as u64,
    })
}

/// Returns the address of a tensor's memory on a GPU.
#[cfg(feature = "cuda")]
fn address(storage: &candle_core::CudaStorage) -> Result<u64> {
    use candle_core::cuda_backend::CudaStorageSlice;
    use candle_core::cuda_backend::cudarc::driver::DevicePtr;
    let stream = storage.device.cuda_stream();
    Ok(match &storage.slice {
        CudaStorageSlice::F32(slice) => slice.device_ptr(&stream).0,
        CudaStorageSlice::BF16(slice) => slice.device_ptr(&stream).0,
        CudaStorageSlice::U32(slice) => slice.device_ptr(&stream).0,
        _ => bail!("kernels take f32, bf16 and u32"),
    })
}
