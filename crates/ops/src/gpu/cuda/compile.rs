//! Compilation of kernels for the GPU at hand, kept on the disk for the next run.

use std::ffi::{CStr, CString, c_char};
use std::path::PathBuf;
use std::sync::Arc;

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{CudaModule, sys as driver};
use candle_core::cuda_backend::cudarc::nvrtc::{Ptx, result, sys};
use candle_core::{CudaDevice, Error, Result, bail};

use crate::gpu::source::Kernel;

/// Compiles the file of a kernel for the device, or loads what an earlier run compiled.
pub(super) fn module(device: &CudaDevice, kernel: Kernel) -> Result<Arc<CudaModule>> {
    let stream = device.cuda_stream();
    let context = stream.context();
    let (major, minor) = context.compute_capability().w()?;
    if major < 8 {
        bail!(
            "the kernels need a GPU of compute capability 8.0 or later, and this one has {major}.{minor}: run with `--ops \
             reference`, or with `--device cpu`"
        )
    }
    let mut options = vec![
        format!("--gpu-architecture=sm_{major}{minor}"),
        "--std=c++17".to_owned(),
        "--diag-suppress=177".to_owned(),
    ];
    if kernel.head_dim > 0 {
        options.push(format!("-DHEAD_DIM={}", kernel.head_dim));
    }
    let text = kernel.source.whole();
    let cached = cached(&text, &options);
    if let Some(binary) = cached
        .as_ref()
        .and_then(|path| polymath_base::read(path).ok())
        && let Ok(module) = context.load_module(Ptx::from_binary(binary))
    {
        return Ok(module);
    }
    let binary = compile(kernel.source.name, &text, &options)?;
    if let Some(path) = cached {
        // A cache that can't be written costs the next run some seconds.
        let folder = path.parent().map(std::fs::create_dir_all);
        if let Some(Ok(())) = folder {
            let _unwritten = polymath_base::write(&path, &binary);
        }
    }
    context.load_module(Ptx::from_binary(binary)).w()
}

/// Returns the file that holds what these sources and options give with this compiler and driver.
fn cached(text: &str, options: &[String]) -> Option<PathBuf> {
    let (mut major, mut minor, mut of_driver) = (0, 0, 0);
    // SAFETY: the functions write one number each.
    unsafe {
        sys::nvrtcVersion(&mut major, &mut minor).result().ok()?;
        driver::cuDriverGetVersion(&mut of_driver).result().ok()?;
    }
    let whole = format!("{text}\n{options:?}\n{major}.{minor} {of_driver}");
    let name = format!("{}.cubin", polymath_base::sha256_of_bytes(whole.as_bytes()));
    let folder = match std::env::var_os("XDG_CACHE_HOME").filter(|folder| !folder.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".cache"),
    };
    Some(folder.join("polymath/kernels").join(name))
}

/// Compiles a text to a binary of the architecture in `options`.
fn compile(name: &str, text: &str, options: &[String]) -> Result<Vec<u8>> {
    let failed =
        |error: result::NvrtcError| Error::Msg(format!("NVRTC can't compile `{name}`: {error}"));
    let of_text = |text: &str| CString::new(text).map_err(Error::wrap);
    let (source, named) = (of_text(text)?, of_text(name)?);
    let program = Program(result::create_program(&source, Some(&named)).map_err(failed)?);
    // SAFETY: the program was just created.
    if let Err(error) = unsafe { result::compile_program(program.0, options) } {
        let log = program.log().unwrap_or_default();
        bail!(
            "NVRTC can't compile `{name}` with {options:?} ({error}): is it of CUDA 12.8 or later, and does it know this \
             GPU? `--ops reference` needs no kernels\n{log}"
        )
    }
    program.binary().map_err(failed)
}

/// Program of NVRTC.
struct Program(sys::nvrtcProgram);

impl Program {
    fn log(&self) -> Option<String> {
        // SAFETY: the program lives, and the log ends with a zero.
        let log = unsafe { result::get_program_log(self.0) }.ok()?;
        let bytes: Vec<u8> = log.iter().map(|byte: &c_char| *byte as u8).collect();
        let text = CStr::from_bytes_until_nul(&bytes).ok()?;
        Some(text.to_string_lossy().into_owned())
    }

    fn binary(&self) -> std::result::Result<Vec<u8>, result::NvrtcError> {
        let mut size = 0;
        // SAFETY: the program is compiled, and the second call writes `size` bytes.
        unsafe {
            sys::nvrtcGetCUBINSize(self.0, &mut size).result()?;
            let mut binary = vec![0u8; size];
            sys::nvrtcGetCUBIN(self.0, binary.as_mut_ptr().cast()).result()?;
            Ok(binary)
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: the program lives until here.
        let _freed = unsafe { result::destroy_program(self.0) };
    }
}
