//! Launches of kernels: geometry and arguments.

use candle_core::{Result, Tensor, bail};

use super::memory::{Buffer, Span, span};
use super::source::Kernel;

/// Threads of a block of most kernels.
pub(crate) const THREADS: usize = 256;
/// Largest number of blocks of an element-wise kernel; beyond it, each thread computes several elements.
const MOST_BLOCKS: usize = 1 << 16;

/// Launch of a kernel, with its arguments in order.
pub(crate) struct Launch {
    pub kernel: Kernel,
    pub grid: [usize; 3],
    pub threads: usize,
    pub shared: usize,
    pub arguments: Vec<Argument>,
    /// Tensors among the arguments, which must live until the launch.
    tensors: Vec<Tensor>,
}

/// Argument of a kernel: its value in the lower bytes of a word, and the bytes that it points to if it is a pointer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Argument {
    pub word: u64,
    pub bytes: u64,
}

impl Launch {
    /// Begins a launch of `grid` blocks.
    pub fn new(kernel: Kernel, grid: [usize; 3]) -> Self {
        Self {
            kernel,
            grid,
            threads: THREADS,
            shared: 0,
            arguments: Vec::new(),
            tensors: Vec::new(),
        }
    }

    /// Begins a launch with a thread for each of `count` elements.
    pub fn elements(kernel: Kernel, count: usize) -> Self {
        Self::new(kernel, [count.div_ceil(THREADS).min(MOST_BLOCKS), 1, 1])
    }

    /// Begins a launch with a warp for each of `rows`.
    pub fn rows(kernel: Kernel, rows: usize) -> Self {
        Self::new(kernel, [rows.div_ceil(THREADS / 32), 1, 1])
    }

    /// Sets the threads of a block.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Sets the bytes of shared memory.
    pub fn shared(mut self, bytes: usize) -> Self {
        self.shared = bytes;
        self
    }

    /// Adds a tensor, which must be contiguous, and keeps it until the launch.
    pub fn tensor(mut self, tensor: &Tensor) -> Result<Self> {
        self.tensors.push(tensor.clone());
        Ok(self.span(span(tensor)?))
    }

    /// Adds memory that the kernel writes.
    pub fn buffer(self, buffer: &Buffer) -> Result<Self> {
        Ok(self.span(buffer.span()?))
    }

    /// Adds a place in memory.
    pub fn span(mut self, Span { address, bytes }: Span) -> Self {
        self.arguments.push(Argument {
            word: address,
            bytes,
        });
        self
    }

    /// Adds an `int`.
    pub fn int(self, value: usize) -> Result<Self> {
        match i32::try_from(value) {
            Ok(value) => Ok(self.word(u64::from(value as u32))),
            Err(_) => bail!(
                "{}: `{value}` is more than a kernel counts",
                self.kernel.name
            ),
        }
    }

    /// Adds a `long long`.
    pub fn long(self, value: usize) -> Self {
        self.word(value as u64)
    }

    /// Adds a `float`.
    pub fn float(self, value: f64) -> Self {
        self.word(u64::from((value as f32).to_bits()))
    }

    fn word(mut self, word: u64) -> Self {
        self.arguments.push(Argument { word, bytes: 0 });
        self
    }
}
