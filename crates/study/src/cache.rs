//! Cache files: a computed value with a key that identifies all its inputs.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::StudyError;

/// Content of a cache file.
#[derive(Serialize, Deserialize)]
struct Cached<T> {
    /// Key that identifies all inputs of the value.
    key: String,
    #[serde(flatten)]
    value: T,
}

/// Returns the value stored in `file` under `key`, or in the file with its `earlier` name. If there is none, computes
/// it by `make` and writes it to `file`. An unreadable file, or one with another key, counts as none.
///
/// # Errors
/// Fails if `make` fails or the file can't be written.
pub fn cached<T: Serialize + DeserializeOwned>(
    file: &Path,
    earlier: Option<&Path>,
    key: &str,
    make: impl FnOnce() -> Result<T, StudyError>,
) -> Result<T, StudyError> {
    for file in [Some(file), earlier].into_iter().flatten() {
        let text = polymath_base::read(file).ok();
        if let Some(value) = text.and_then(|text| read(&text, key)) {
            return Ok(value);
        }
    }
    let cached = Cached {
        key: key.to_owned(),
        value: make()?,
    };
    let text = serde_json::to_string(&cached).expect("a cached value is numbers and names");
    polymath_base::write(file, text.as_bytes()).map_err(|source| StudyError::File {
        path: file.to_path_buf(),
        source,
    })?;
    // JSON stores numbers exactly, so the next call returns the same value.
    Ok(cached.value)
}

/// Parses the value from a file's text. Returns `None` if the text is invalid or has another key.
fn read<T: DeserializeOwned>(text: &[u8], key: &str) -> Option<T> {
    let cached: Cached<T> = serde_json::from_slice(text).ok()?;
    (cached.key == key).then_some(cached.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Value {
        number: f64,
    }

    /// Checks that a value is computed once for each key, and again for another key or a broken file.
    #[test]
    fn values_are_computed_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("value.json");
        let mut made = 0;
        let mut ask = |key: &str| {
            let value = cached(&file, None, key, || {
                made += 1;
                Ok(Value { number: 0.1 })
            });
            assert_eq!(value.unwrap(), Value { number: 0.1 });
            made
        };
        assert_eq!([ask("a"), ask("a"), ask("b"), ask("b")], [1, 1, 2, 2]);
        std::fs::write(&file, "{\"key\": \"b\", \"num").unwrap();
        assert_eq!(ask("b"), 3);
        // The file with the earlier name is used.
        let renamed = folder.path().join("renamed.json");
        let found = cached(
            &renamed,
            Some(&file),
            "b",
            || -> Result<Value, StudyError> { panic!("computed again") },
        );
        assert_eq!(found.unwrap(), Value { number: 0.1 });
        let nowhere = folder.path().join("no/value.json");
        let error = cached(&nowhere, None, "a", || Ok(Value { number: 1.0 })).unwrap_err();
        assert!(error.to_string().contains("value.json"), "{error}");
    }
}
