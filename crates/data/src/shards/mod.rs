//! Token shards and the dataset that holds them.
//!
//! Read `shard` (the file format) and `dataset` (the folder) first. `layout` and `writer` are the two sides of the
//! format; `split` names train and held-out, `group` what is split as one, `heldout_split` and `assignment` the parts
//! of the held-out documents.

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
