//! Counts of work, and what they are counted with.

use std::fmt;

/// Function that runs a kernel, given its name, its geometry (dimension of its heads or 0, grid, block, bytes of shared
/// memory), its arguments (word, bytes pointed to), and the only block to run, if not all. Writes the bytes read and
/// written through each argument, and through pointers in memory, to the last slice, unless it is empty. Returns the
/// bytes read, the bytes written, and the multiply-adds.
///
/// # Safety
/// Pointers must be valid for their bytes.
pub type Emulator = unsafe fn(
    &str,
    [u32; 8],
    &[[u64; 2]],
    Option<u64>,
    &mut [[u64; 2]],
) -> std::result::Result<[u64; 3], String>;

/// Class of a block: the numbers on which its work depends.
pub(crate) type Class = [u64; 4];

/// Work of the kernels and matrix products that one thread ran in the emulator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EmulatedWork {
    /// Kernels launched.
    pub launches: u64,
    /// Matrix products, which a GPU leaves to cuBLAS.
    pub products: u64,
    /// Bytes that kernels read from global memory, without regard to caches.
    pub read: u64,
    /// Bytes that kernels wrote to global memory.
    pub written: u64,
    /// Multiply-adds of tensor cores, in kernels and in products.
    pub multiply_adds: u64,
}

/// Blocks of a launch that run when its work is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampling {
    /// Every block of every launch.
    All,
    /// One or two blocks of each class, where a class has blocks of equal work, and the launches with equal classes
    /// once. Fails if two blocks of a class differ.
    Classes,
}

/// Unit of a GPU that computes multiply-adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unit {
    /// Tensor cores with factors in bf16.
    Bf16,
    /// Tensor cores with factors in f32 of which they read 10 bits after the point.
    Tf32,
    /// Arithmetic in f32, without tensor cores.
    F32,
}

impl fmt::Display for Unit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Unit::Bf16 => "bf16",
            Unit::Tf32 => "tf32",
            Unit::F32 => "f32",
        })
    }
}

/// Counted work of all launches of one kernel, of all products of one shape, or of one kind of Candle's operations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelCount {
    /// Name of the kernel, or shape of the products.
    pub name: String,
    /// Launches: of kernels, of products, of copies and of operations of Candle.
    pub launches: u64,
    /// Bytes that threads read and write in global memory, without regard to caches.
    pub accessed: u64,
    /// Bytes that memory moves if each block finds in a cache what it touches again, and if all blocks together read or
    /// write each byte of an argument at most once.
    pub moved: u64,
    /// Multiply-adds of attention and of products. Those of other kernels cost less than their bytes.
    pub multiply_adds: u64,
    /// Unit that computes them.
    pub unit: Unit,
}

impl KernelCount {
    /// Returns the floating-point operations: two for each multiply-add.
    pub fn flops(&self) -> f64 {
        2.0 * self.multiply_adds as f64
    }
}

/// Work of one launch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Work {
    pub launches: u64,
    pub read: u64,
    pub written: u64,
    pub moved: u64,
    pub multiply_adds: u64,
}
