//! Launches of kernels: geometry and arguments.

use std::ops::Range;

use candle_core::{Result, Tensor, bail};

use super::counts::Class;
use super::memory::{Buffer, Span, span};
use super::source::Kernel;

/// Threads of a block of most kernels.
pub(crate) const THREADS: usize = 256;
/// Largest number of blocks of an element-wise kernel; beyond it, each thread computes several elements.
const MOST_BLOCKS: usize = 1 << 16;

/// Returns the number of blocks of an element-wise kernel.
fn blocks_of(count: usize) -> usize {
    count.div_ceil(THREADS).min(MOST_BLOCKS)
}

/// Returns the elements among `count` that a block of an element-wise kernel computes: a range for each round of its
/// threads.
pub(super) fn elements_of_block(count: usize, block: usize) -> impl Iterator<Item = Range<usize>> {
    let rounds = (block * THREADS..count).step_by(blocks_of(count) * THREADS);
    rounds.map(move |first| first..count.min(first + THREADS))
}

/// Launch of a kernel, with its arguments in order.
pub(crate) struct Launch {
    pub kernel: Kernel,
    pub grid: [usize; 3],
    pub threads: usize,
    pub shared: usize,
    pub arguments: Vec<Argument>,
    /// Class of a block, by its place in the grid; without classes, every block may have other work than the next.
    pub classes: Option<Box<dyn Fn([usize; 3]) -> Class>>,
    /// Tensors among the arguments, which must live until the launch.
    tensors: Vec<Tensor>,
}

/// Argument of a kernel: its value in the lower bytes of a word, and the bytes that it points to if it is a pointer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Argument {
    pub word: u64,
    pub bytes: u64,
    /// Bytes among these that the kernel touches, at most.
    pub touched: u64,
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
            classes: None,
            tensors: Vec::new(),
        }
    }

    /// Begins a launch with a thread for each of `count` elements, each of the same work.
    pub fn elements(kernel: Kernel, count: usize) -> Self {
        let class = move |[block, ..]: [usize; 3]| {
            let elements = elements_of_block(count, block).map(|range| range.len());
            [elements.sum::<usize>() as u64, 0, 0, 0]
        };
        Self::new(kernel, [blocks_of(count), 1, 1]).classes(class)
    }

    /// Begins a launch with a warp for each of `rows`, each of the same work.
    pub fn rows(kernel: Kernel, rows: usize) -> Self {
        Self::rows_by(THREADS, kernel, rows)
    }

    /// Begins a launch as [`Self::rows`] does, with blocks of so many threads.
    pub fn rows_by(threads: usize, kernel: Kernel, rows: usize) -> Self {
        let warps = threads / 32;
        let class =
            move |[block, ..]: [usize; 3]| [warps.min(rows - block * warps) as u64, 0, 0, 0];
        Self::new(kernel, [rows.div_ceil(warps), 1, 1])
            .threads(threads)
            .classes(class)
    }

    /// Sets the function that sorts blocks into classes of equal work by their place in the grid. Counting then runs
    /// one block of each class and multiplies.
    pub fn classes(mut self, class: impl Fn([usize; 3]) -> Class + 'static) -> Self {
        self.classes = Some(Box::new(class));
        self
    }

    /// Returns the dimension of the heads, the grid, the block and the bytes of shared memory.
    pub fn geometry(&self) -> [u32; 8] {
        let [x, y, z] = self.grid;
        let all = [
            self.kernel.head_dim,
            x,
            y,
            z,
            self.threads,
            1,
            1,
            self.shared,
        ];
        all.map(|number| number as u32)
    }

    /// Returns value and bytes of each argument.
    pub fn words(&self) -> Vec<[u64; 2]> {
        let arguments = self.arguments.iter();
        arguments
            .map(|argument| [argument.word, argument.bytes])
            .collect()
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

    /// Adds a pointer argument: a range of the GPU's memory.
    pub fn span(self, span: Span) -> Self {
        self.strided(span, span.bytes)
    }

    /// Adds a pointer argument: a range of the GPU's memory, of which the kernel touches `touched` bytes.
    pub fn strided(mut self, Span { address, bytes }: Span, touched: u64) -> Self {
        self.arguments.push(Argument {
            word: address,
            bytes,
            touched,
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
        self.arguments.push(Argument {
            word,
            bytes: 0,
            touched: 0,
        });
        self
    }
}
