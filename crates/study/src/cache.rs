//! Cache files: a computed value with a key of everything that decides it.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::StudyError;

/// Content of a cache file.
#[derive(Serialize, Deserialize)]
struct Cached<T> {
    /// Key of everything that decides the value.
    key: String,
    #[serde(flatten)]
    value: T,
}

/// Returns the value in `file` (or in the file of its `earlier` name) if it has this `key`; otherwise computes it by
/// `make` and writes it to `file`. An unreadable file or another key counts as no value.
///
/// # Errors
/// Errors of `make`; a file that can't be written.
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
    // Numbers are written exactly, so the next call returns the same value.
    Ok(cached.value)
}

/// Parses the value from a file's text if it has this `key`.
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

    /// A value is computed once per key, and again for another key or a broken file.
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
        // A value in the file of the earlier name is used.
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
