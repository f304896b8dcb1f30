//! Opening files that others wrote.
//!
//! All text, JSON and TOML is read through here: compression is known by a file's first bytes, not by its name; a
//! byte order mark is stripped; UTF-16 and Git LFS pointers are named; JSON is read as Python reads it.
//!
//! ```
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("tokenizer_config.json");
//! std::fs::write(&path, "\u{feff}{\"model_max_length\": Infinity, \"eos_token\": \"</s>\"}")?;
//! let settings = polymath_input::read_json(&path)?;
//! assert_eq!(settings["eos_token"], "</s>");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod compressed;
mod error;
mod home;
mod json;
mod panics;
mod text;
mod there;

pub use compressed::open;
pub use error::InputError;
pub use home::expand_home;
pub use json::{Json, JsonError, parse_json, read_json, read_json_text};
pub use panics::catch_panic;
pub use text::{MARK, decode, read_text, refuse_pointer};
pub use there::{exists, is_file};
