//! Token shards and the dataset that holds them.
//!
//! Begin with `shard` (the file format) and `dataset` (the folder). `layout` reads the format, `writer` writes it.
//! `split` names the training and held-out splits, `group` defines the units of splitting, and `heldout_split` and
//! `assignment` the `dev`, `test` and `audit` splits of the held-out documents.

pub(crate) mod assignment;
pub(crate) mod dataset;
pub(crate) mod document_source;
pub(crate) mod group;
pub(crate) mod heldout_split;
pub(crate) mod layout;
pub(crate) mod manifest;
pub(crate) mod shard;
pub(crate) mod split;
pub(crate) mod writer;
