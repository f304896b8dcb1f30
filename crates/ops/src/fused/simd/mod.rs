//! Foundations of all kernels: vector instructions, arithmetic on lanes, buffers, matrix views and parallel tasks.
//!
//! Read `level` (instruction sets and the macro that compiles a loop for each), `math`, `buffer` and `parallel`
//! first; `chunks`, `row_sums`, `matrix` and `storage` build on them.

pub(super) mod buffer;
pub(super) mod chunks;
pub(super) mod kept;
pub(super) mod level;
pub(super) mod math;
pub(super) mod matrix;
pub(super) mod parallel;
pub(super) mod row_sums;
pub(super) mod storage;
