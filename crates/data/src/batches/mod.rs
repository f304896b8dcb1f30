//! Training batches: a function of the seed and the step.
//!
//! Begin with `batch`, `mixture` (shares of the domains) and `stream`. `wrapped` fills rows with plain text, cut
//! every `sequence_length` tokens; `packed` fills them with whole examples. `replay` mixes in rows of the retained
//! domains.

pub(crate) mod batch;
pub(crate) mod cuts;
pub(crate) mod mixture;
pub(crate) mod packed;
pub(crate) mod packing;
pub(crate) mod replay;
pub(crate) mod stream;
pub(crate) mod turns;
pub(crate) mod wrapped;
