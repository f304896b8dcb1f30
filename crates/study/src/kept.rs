//! What was computed once, kept in a file with all that decides it.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::StudyError;

/// What stands in the file.
#[derive(Serialize, Deserialize)]
struct Kept<T> {
    /// Of all that decides the value.
    key: String,
    #[serde(flatten)]
    value: T,
}

/// What `file` keeps under `key`, else what `make` gives, which is written there. A file that can't be read or has another
/// key is made anew.
///
/// # Errors
/// Those of `make`; a file that can't be written.
pub fn kept<T: Serialize + DeserializeOwned>(
    file: &Path,
    key: &str,
    make: impl FnOnce() -> Result<T, StudyError>,
) -> Result<T, StudyError> {
    if let Some(value) = polymath_files::read(file)
        .ok()
        .and_then(|text| read(&text, key))
    {
        return Ok(value);
    }
    let kept = Kept {
        key: key.to_owned(),
        value: make()?,
    };
    let text = serde_json::to_string(&kept).expect("what is kept is numbers and names");
    polymath_files::write(file, text.as_bytes()).map_err(|source| StudyError::File {
        path: file.to_path_buf(),
        source,
    })?;
    // Numbers are read to the last bit, so this is what the next one will be given.
    Ok(kept.value)
}

/// The value in a file's text, if it is that of `key`.
fn read<T: DeserializeOwned>(text: &[u8], key: &str) -> Option<T> {
    let kept: Kept<T> = serde_json::from_slice(text).ok()?;
    (kept.key == key).then_some(kept.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Value {
        number: f64,
    }

    /// A value is made once for its key, and again where the key is another or the file is broken.
    #[test]
    fn values_are_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("value.json");
        let mut made = 0;
        let mut ask = |key: &str| {
            let value = kept(&file, key, || {
                made += 1;
                Ok(Value { number: 0.1 })
            });
            assert_eq!(value.unwrap(), Value { number: 0.1 });
            made
        };
        assert_eq!([ask("a"), ask("a"), ask("b"), ask("b")], [1, 1, 2, 2]);
        std::fs::write(&file, "{\"key\": \"b\", \"num").unwrap();
        assert_eq!(ask("b"), 3);
        let nowhere = folder.path().join("no/value.json");
        let error = kept(&nowhere, "a", || Ok(Value { number: 1.0 })).unwrap_err();
        assert!(error.to_string().contains("value.json"), "{error}");
    }
}
