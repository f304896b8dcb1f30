//! Typed access to the keys of a JSON object that another program wrote. Errors name the file and the key.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value};

use crate::ModelError;

/// Keys of a JSON object. It records which keys were read, so that the others can be reported.
pub(crate) struct Fields<'a> {
    path: &'a Path,
    values: Map<String, Value>,
    /// True if the text contains Python's `NaN` or `Infinity`, which become null here.
    has_non_finite_numbers: bool,
    read: RefCell<BTreeSet<String>>,
}

impl<'a> Fields<'a> {
    /// Parses `text`, the content of the file `path`.
    ///
    /// # Errors
    /// Fails if the text is not a JSON object.
    pub fn parse(path: &'a Path, text: &str) -> Result<Self, ModelError> {
        let strict = serde_json::from_str(text);
        let has_non_finite_numbers = strict.is_err();
        let value = match strict {
            Ok(value) => value,
            Err(_) => {
                let read = polymath_input::parse_json(text);
                read.map_err(|error| ModelError::content(path, error.to_string()))?
                    .value
            }
        };
        match value {
            Value::Object(values) => Ok(Self {
                path,
                values,
                has_non_finite_numbers,
                read: RefCell::default(),
            }),
            _ => Err(ModelError::content(
                path,
                "is not a JSON object: expected `{ \"key\": value, … }`",
            )),
        }
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &'a Path {
        self.path
    }

    /// Returns the value of a key; `None` if it is absent or null.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.stated(key).filter(|value| !value.is_null())
    }

    /// Returns the value of a key, even if it is null; `None` if it is absent.
    pub fn stated(&self, key: &str) -> Option<&Value> {
        self.read.borrow_mut().insert(key.to_owned());
        self.values.get(key)
    }

    /// Returns an error about the value of a key, which names the key and the expected value.
    pub fn refuse<T>(&self, key: &str, expected: &str) -> Result<T, ModelError> {
        let message = match self.values.get(key) {
            None => format!("`{key}` is missing: expected {expected}"),
            Some(value) => {
                let value = shown(value);
                format!("`{key}` = {value} is not supported: expected {expected}")
            }
        };
        Err(ModelError::content(self.path, message))
    }

    /// Reads a non-negative integer.
    pub fn size(&self, key: &str) -> Result<Option<usize>, ModelError> {
        match self.get(key) {
            None => self.absent(key, "a whole number"),
            Some(value) => match value.as_u64().and_then(|size| usize::try_from(size).ok()) {
                Some(size) => Ok(Some(size)),
                None => self.refuse(key, "a whole number"),
            },
        }
    }

    /// Reads a required non-negative integer.
    pub fn required_size(&self, key: &str) -> Result<usize, ModelError> {
        match self.size(key)? {
            Some(size) => Ok(size),
            None => self.refuse(key, "a whole number"),
        }
    }

    /// Reads a real number under a key.
    pub fn real(&self, key: &str) -> Result<Option<f64>, ModelError> {
        match self.get(key) {
            None => self.absent(key, "a number"),
            Some(value) => match value.as_f64() {
                Some(real) => Ok(Some(real)),
                None => self.refuse(key, "a number"),
            },
        }
    }

    /// Handles an absent or null number: returns `None`, or an error if null may stand for NaN or infinity.
    fn absent<T>(&self, key: &str, expected: &str) -> Result<Option<T>, ModelError> {
        match self.values.get(key) {
            Some(Value::Null) if self.has_non_finite_numbers => Err(ModelError::content(
                self.path,
                format!(
                    "`{key}` is null, `NaN` or `Infinity`: expected {expected}, or no such key"
                ),
            )),
            _ => Ok(None),
        }
    }

    /// Reads a boolean under a key.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, ModelError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => self.refuse(key, "true or false"),
        }
    }

    /// Reads a string under a key.
    pub fn text(&self, key: &str) -> Result<Option<&str>, ModelError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => self.refuse(key, "a string"),
        }
    }

    /// Returns the keys that were not read and whose value could turn something on.
    pub fn unread(&self) -> impl Iterator<Item = (&str, &Value)> {
        let read = self.read.borrow().clone();
        self.values
            .iter()
            .filter(move |(key, value)| !read.contains(*key) && !is_neutral(value))
            .map(|(key, value)| (key.as_str(), value))
    }
}

/// Returns true if a value turns nothing on: null, false, an empty list, object or string.
pub(crate) fn is_neutral(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

/// Formats a value for a message: strings in backticks, long values cut.
pub(crate) fn shown(value: &Value) -> String {
    const LONGEST: usize = 200;
    let text = match value {
        Value::String(text) => format!("`{text}`"),
        other => other.to_string(),
    };
    match text.char_indices().nth(LONGEST) {
        None => text,
        Some((cut, _)) => format!("{}…", &text[..cut]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Fields<'static> {
        Fields::parse(Path::new("config.json"), text).unwrap()
    }

    /// Checks that a value of another type is refused with its key, that null counts as absent, and that a null that
    /// stands for NaN or infinity is refused.
    #[test]
    fn values_of_other_types_are_refused() {
        let fields = fields("{\"a\": 3, \"b\": -1, \"c\": 2.5, \"d\": null, \"e\": \"x\"}");
        assert_eq!(fields.size("a").unwrap(), Some(3));
        assert_eq!(fields.size("d").unwrap(), None);
        assert_eq!(fields.real("c").unwrap(), Some(2.5));
        assert_eq!(fields.text("e").unwrap(), Some("x"));
        for (error, said) in [
            (fields.size("b").unwrap_err(), "`b` = -1"),
            (fields.size("c").unwrap_err(), "`c` = 2.5"),
            (fields.flag("a").unwrap_err(), "`a` = 3"),
            (fields.required_size("d").unwrap_err(), "`d` = null"),
            (fields.required_size("f").unwrap_err(), "`f` is missing"),
        ] {
            let error = error.to_string();
            assert!(
                error.contains("config.json") && error.contains(said),
                "{error}"
            );
        }
    }

    #[test]
    fn non_finite_numbers_are_refused() {
        let fields = fields(r#"{"a": NaN, "b": -Infinity, "c": 1}"#);
        for key in ["a", "b"] {
            let error = fields.real(key).unwrap_err().to_string();
            assert!(
                error.contains(&format!("`{key}` is null, `NaN`")),
                "{error}"
            );
        }
        assert_eq!(fields.real("c").unwrap(), Some(1.0));
        assert_eq!(fields.real("d").unwrap(), None);
    }

    /// Checks that keys are not reported if they were read or their value turns nothing on.
    #[test]
    fn unread_keys_are_reported() {
        let fields = fields(r#"{"a": 1, "b": 2, "c": false, "d": {}, "e": ["x"]}"#);
        fields.size("a").unwrap();
        let rest: Vec<&str> = fields.unread().map(|(key, _)| key).collect();
        assert_eq!(rest, ["b", "e"]);
    }
}
