//! Reading of text, JSON and TOML files from any source.
//!
//! All text, JSON and TOML is read through this crate. It recognizes compression by the first bytes of a file, not by
//! its name; removes a byte order mark; refuses UTF-16 and Git LFS pointers with a clear message; and accepts
//! Python's extensions of JSON.
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
mod existence;
mod home;
mod json;
mod panics;
mod text;

pub use compressed::open;
pub use error::InputError;
pub use existence::{exists, is_file};
pub use home::expand_home;
pub use json::{Json, JsonError, parse_json, read_json, read_json_text};
pub use panics::catch_panic;
pub use text::{BYTE_ORDER_MARK, decode, read_text, refuse_pointer};
