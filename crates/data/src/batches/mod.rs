//! Training batches: a function of the seed and the step.
//!
//! Read `batch`, `mixture` (shares of domains) and `stream` first. `wrapped` fills rows with the text in order,
//! `packed` with whole examples; `replay` mixes retained domains in.

pub(crate) mod batch;
pub(crate) mod cuts;
pub(crate) mod mixture;
pub(crate) mod packed;
pub(crate) mod packing;
pub(crate) mod replay;
pub(crate) mod stream;
pub(crate) mod turns;
pub(crate) mod wrapped;
