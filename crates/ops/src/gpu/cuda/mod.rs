//! Kernels and products on an NVIDIA GPU.

mod compile;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::cublas::{result::gemm_strided_batched_ex, sys as cublas};
use candle_core::cuda_backend::cudarc::driver::{
    CudaFunction, CudaModule, LaunchConfig, PushKernelArg, sys,
};
use candle_core::{CudaDevice, DType, DeviceLocation, Result, Tensor, bail};

use super::counts::Unit;
use super::launch::Launch;
use super::memory::{Target, start};
use super::source::Kernel;
use candle_core::backend::BackendDevice;

/// Shared memory that a block gets without asking for it.
const USUAL_SHARED: usize = 48 << 10;

/// Place of a compiled file: GPU, file, dimension of the heads.
type ModuleKey = (usize, &'static str, usize);
/// Place of a kernel: the same with its name.
type FunctionKey = (ModuleKey, &'static str);

static MODULES: LazyLock<Mutex<HashMap<ModuleKey, Arc<CudaModule>>>> =
    LazyLock::new(Mutex::default);
static FUNCTIONS: LazyLock<Mutex<HashMap<FunctionKey, CudaFunction>>> =
    LazyLock::new(Mutex::default);

/// Runs a kernel on the device's stream.
///
/// # Safety
/// As [`Launch::run`].
pub(super) unsafe fn launch(device: &CudaDevice, launch: &Launch) -> Result<()> {
    let function = function(device, launch.kernel)?;
    if launch.shared > USUAL_SHARED {
        let attribute =
            sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        function
            .set_attribute(attribute, launch.shared as i32)
            .w()?;
    }
    let stream = device.cuda_stream();
    let mut builder = stream.launch_builder(&function);
    for argument in &launch.arguments {
        // The driver copies as many of the word's lower bytes as the kernel's parameter has.
        builder.arg(&argument.word);
    }
    let [x, y, z] = launch.grid.map(|blocks| blocks as u32);
    let config = LaunchConfig {
        grid_dim: (x, y, z),
        block_dim: (launch.threads as u32, 1, 1),
        shared_mem_bytes: launch.shared as u32,
    };
    // SAFETY: the caller vouches for the arguments; their memory is freed on the same stream, after the kernel.
    unsafe { builder.launch(config) }.w()?;
    Ok(())
}

/// Returns a kernel, compiled at its first use.
fn function(device: &CudaDevice, kernel: Kernel) -> Result<CudaFunction> {
    let DeviceLocation::Cuda { gpu_id } = device.location() else {
        bail!("a device that is not a CUDA device")
    };
    let module_key = (gpu_id, kernel.source.name, kernel.head_dim);
    let key = (module_key, kernel.name);
    let mut functions = FUNCTIONS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(function) = functions.get(&key) {
        return Ok(function.clone());
    }
    let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
    let module = match modules.get(&module_key) {
        Some(module) => Arc::clone(module),
        None => {
            let module = compile::module(device, kernel)?;
            modules.insert(module_key, Arc::clone(&module));
            module
        }
    };
    let function = module.load_function(kernel.name).w()?;
    functions.insert(key, function.clone());
    Ok(function)
}

/// Matrices in memory as cuBLAS takes them.
struct Operand {
    tensor: Tensor,
    transposed: bool,
    /// Distance of two rows, or of two columns if they are transposed.
    leading: usize,
    /// Distance of two matrices.
    stride: usize,
}

impl Operand {
    /// Takes (.., rows, columns) in place if rows or columns lie without gaps; copies it otherwise.
    fn new(tensor: &Tensor) -> Result<Self> {
        match Self::in_place(tensor) {
            Some(operand) => Ok(operand),
            None => {
                let copy = tensor.contiguous()?;
                Self::in_place(&copy).ok_or_else(|| candle_core::Error::msg("a copy with gaps"))
            }
        }
    }

    fn in_place(tensor: &Tensor) -> Option<Self> {
        let (dims, strides) = (tensor.dims(), tensor.stride());
        let (batches, [rows, columns]) = dims.split_last_chunk::<2>()?;
        let (outer, [of_row, of_column]) = strides.split_last_chunk::<2>()?;
        let stride = match (batches, outer) {
            ([], []) => 0,
            ([_], [stride]) => *stride,
            ([1, _], [_, stride]) | ([_, 1], [stride, _]) => *stride,
            ([_, inner], [first, stride]) if *first == stride * inner => *stride,
            _ => return None,
        };
        let is_plain = (*of_column == 1 || *columns == 1) && (*of_row == *columns || *rows == 1);
        let is_transposed = (*of_row == 1 || *rows == 1) && (*of_column == *rows || *columns == 1);
        (is_plain || is_transposed).then(|| Self {
            tensor: tensor.clone(),
            transposed: !is_plain,
            leading: if is_plain { *columns } else { *rows }.max(1),
            stride,
        })
    }

    fn operation(&self) -> cublas::cublasOperation_t {
        match self.transposed {
            true => cublas::cublasOperation_t::CUBLAS_OP_T,
            false => cublas::cublasOperation_t::CUBLAS_OP_N,
        }
    }
}

/// Computes a·b with sums in f32: (.., m, k), (.., k, n), (.., m, n). The target is memory of the product's size.
pub(super) fn multiply(
    device: &CudaDevice,
    [a, b]: [&Tensor; 2],
    to: Target,
    unit: Unit,
) -> Result<()> {
    let rank = check_factors(a, b)?;
    let (m, k, n) = (a.dims()[rank - 2], a.dims()[rank - 1], b.dims()[rank - 1]);
    let batch: usize = a.dims()[..rank - 2].iter().product();
    if batch * m * n == 0 {
        return Ok(());
    }
    let kind = match a.dtype() {
        DType::F32 => cublas::cudaDataType_t::CUDA_R_32F,
        DType::BF16 => cublas::cudaDataType_t::CUDA_R_16BF,
        other => bail!("a product of `{other:?}`"),
    };
    let (left, right) = (Operand::new(a)?, Operand::new(b)?);
    let (alpha, beta) = (1f32, if to.adds { 1f32 } else { 0f32 });
    let of_result = match to.dtype {
        DType::BF16 => cublas::cudaDataType_t::CUDA_R_16BF,
        _ => cublas::cudaDataType_t::CUDA_R_32F,
    };
    let compute = match unit {
        Unit::Tf32 => cublas::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
        _ => cublas::cublasComputeType_t::CUBLAS_COMPUTE_32F,
    };
    // cuBLAS counts columns first: it computes cᵀ = bᵀ·aᵀ.
    // SAFETY: the operands' leading dimensions and strides are those of their tensors, and c has batch·m·n elements.
    unsafe {
        gemm_strided_batched_ex(
            *device.cublas_handle().handle(),
            right.operation(),
            left.operation(),
            n as i32,
            m as i32,
            k as i32,
            (&raw const alpha).cast(),
            start(&right.tensor)? as *const _,
            kind,
            right.leading as i32,
            right.stride as i64,
            start(&left.tensor)? as *const _,
            kind,
            left.leading as i32,
            left.stride as i64,
            (&raw const beta).cast(),
            to.place.address as *mut _,
            of_result,
            n as i32,
            (m * n) as i64,
            batch as i32,
            compute,
            cublas::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT_TENSOR_OP,
        )
    }
    .w()
}

/// Refuses factors that do not fit; returns their number of dimensions.
fn check_factors(a: &Tensor, b: &Tensor) -> Result<usize> {
    let rank = a.rank();
    if rank < 2
        || b.rank() != rank
        || a.dims()[..rank - 2] != b.dims()[..rank - 2]
        || a.dims()[rank - 1] != b.dims()[rank - 2]
        || a.dtype() != b.dtype()
    {
        bail!(
            "a product of `{:?}` {:?} and `{:?}` {:?}",
            a.dims(),
            a.dtype(),
            b.dims(),
            b.dtype()
        )
    }
    Ok(rank)
}
