//! Sources: finding and reading files, and turning them into documents.
//!
//! Begin with `document` (the unit of all later stages), `files` (the files of a domain) and `format` (reading by
//! kind). `expand` finds files; `kind` recognizes them by name, `first_look` by their first record. `text_file`,
//! `json_lines`, `json_file`, `table` and `parquet` read one kind each, `row_scanner` checks the quotes of a table;
//! `layout` chooses a record's fields and `record` turns it into a document, with `chat` for messages. `notes` and
//! `bad_records` count what was skipped.

pub(crate) mod bad_records;
pub(crate) mod chat;
pub(crate) mod document;
pub(crate) mod expand;
pub(crate) mod fields;
pub(crate) mod files;
pub(crate) mod first_look;
pub(crate) mod format;
pub(crate) mod json_file;
pub(crate) mod json_lines;
pub(crate) mod json_values;
pub(crate) mod kind;
pub(crate) mod layout;
pub(crate) mod normalize;
pub(crate) mod notes;
#[cfg(feature = "parquet")]
pub(crate) mod parquet;
#[cfg(not(feature = "parquet"))]
#[path = "parquet_left_out.rs"]
pub(crate) mod parquet;
pub(crate) mod pieces;
pub(crate) mod record;
pub(crate) mod refusal;
pub(crate) mod row_scanner;
pub(crate) mod survey;
pub(crate) mod table;
pub(crate) mod text_file;
