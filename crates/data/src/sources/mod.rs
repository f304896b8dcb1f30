//! Sources: files found, read and turned into documents.
//!
//! Read `document` (the unit of everything that follows), `files` (the files of a domain) and `format` (their kinds)
//! first. `text_file`, `json_lines` and `parquet` read one kind each; `record` turns a record into a document, with
//! `chat` for messages. `notes` and `bad_records` count what is not used.

pub(crate) mod bad_records;
pub(crate) mod chat;
pub(crate) mod document;
pub(crate) mod fields;
pub(crate) mod files;
pub(crate) mod format;
pub(crate) mod json_lines;
pub(crate) mod normalize;
pub(crate) mod notes;
#[cfg(feature = "parquet")]
pub(crate) mod parquet;
#[cfg(not(feature = "parquet"))]
#[path = "parquet_left_out.rs"]
pub(crate) mod parquet;
pub(crate) mod pieces;
pub(crate) mod record;
pub(crate) mod text_file;
