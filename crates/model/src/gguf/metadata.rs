//! Typed access to the keys of a GGUF file.

use std::collections::HashMap;
use std::path::Path;

use candle_core::quantized::gguf_file::Value;

use super::architecture::Architecture;
use crate::ModelError;

/// Keys of a GGUF file and their values. Errors name the file and the key.
pub(super) struct Metadata<'a> {
    pub path: &'a Path,
    pub architecture: Architecture,
    pub values: &'a HashMap<String, Value>,
}

impl<'a> Metadata<'a> {
    /// Returns an error about the GGUF file as a whole.
    pub fn content(&self, message: impl Into<String>) -> ModelError {
        ModelError::content(self.path, message)
    }

    /// Returns an error about a setting of the architecture.
    pub fn refuse(&self, setting: &str, message: impl AsRef<str>) -> ModelError {
        let key = self.architecture.key(setting);
        self.content(format!("`{key}` {}", message.as_ref()))
    }

    fn wrong(&self, key: &str, expected: &str) -> ModelError {
        self.content(format!("`{key}` is not {expected}"))
    }

    /// Returns the value of a required key.
    pub fn required<T>(&self, key: &str, found: Option<T>) -> Result<T, ModelError> {
        found.ok_or_else(|| {
            self.content(format!(
                "`{key}` is missing: expected a whole model, with its shape and its tokenizer"
            ))
        })
    }

    pub fn text(&self, key: &str) -> Result<Option<&'a str>, ModelError> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(key, "a string")),
        }
    }

    pub fn flag(&self, key: &str) -> Result<Option<bool>, ModelError> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(self.wrong(key, "true or false")),
        }
    }

    /// Reads an unsigned 32-bit number, stored as any integer type.
    pub fn number(&self, key: &str) -> Result<Option<u32>, ModelError> {
        let Some(value) = self.values.get(key) else {
            return Ok(None);
        };
        let number = whole(value).and_then(|number| u32::try_from(number).ok());
        number
            .map(Some)
            .ok_or_else(|| self.wrong(key, "a whole number from 0 to 2³² − 1"))
    }

    /// Reads a list of strings under a key.
    pub fn texts(&self, key: &str) -> Result<Option<Vec<&'a str>>, ModelError> {
        let text = |value: &'a Value| match value {
            Value::String(text) => Some(text.as_str()),
            _ => None,
        };
        self.list(key, "a list of strings", text)
    }

    /// Reads a list of whole numbers under a key.
    pub fn numbers(&self, key: &str) -> Result<Option<Vec<i64>>, ModelError> {
        self.list(key, "a list of whole numbers", whole)
    }

    /// Reads a list of real numbers under a key.
    pub fn reals(&self, key: &str) -> Result<Option<Vec<f32>>, ModelError> {
        let real = |value: &Value| match value {
            Value::F32(value) => Some(*value),
            _ => None,
        };
        self.list(key, "a list of numbers", real)
    }

    fn list<T>(
        &self,
        key: &str,
        expected: &str,
        of: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<Vec<T>>, ModelError> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Array(values)) => values
                .iter()
                .map(of)
                .collect::<Option<_>>()
                .map(Some)
                .ok_or_else(|| self.wrong(key, expected)),
            Some(_) => Err(self.wrong(key, expected)),
        }
    }

    /// Reads a text setting of the architecture.
    pub fn text_of(&self, setting: &str) -> Result<Option<&'a str>, ModelError> {
        self.text(&self.architecture.key(setting))
    }

    /// Reads a numeric setting of the architecture.
    pub fn number_of(&self, setting: &str) -> Result<Option<usize>, ModelError> {
        let found = self.number(&self.architecture.key(setting))?;
        Ok(found.map(|number| number as usize))
    }

    /// Reads a required size of the architecture.
    pub fn size(&self, setting: &str) -> Result<usize, ModelError> {
        let found = self.number_of(setting)?;
        self.required(&self.architecture.key(setting), found)
    }

    /// Reads a real setting of the architecture, as the shortest decimal number that rounds to the stored f32 value:
    /// 1e-5 is read as 1e-5 again.
    pub fn real_of(&self, setting: &str) -> Result<Option<f64>, ModelError> {
        let key = self.architecture.key(setting);
        match self.values.get(&key) {
            None => Ok(None),
            Some(Value::F32(value)) => Ok(Some(value.to_string().parse().unwrap_or(f64::NAN))),
            Some(Value::F64(value)) => Ok(Some(*value)),
            Some(_) => Err(self.wrong(&key, "a number")),
        }
    }
}

fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::U8(value) => Some((*value).into()),
        Value::I8(value) => Some((*value).into()),
        Value::U16(value) => Some((*value).into()),
        Value::I16(value) => Some((*value).into()),
        Value::U32(value) => Some((*value).into()),
        Value::I32(value) => Some((*value).into()),
        Value::U64(value) => i64::try_from(*value).ok(),
        Value::I64(value) => Some(*value),
        _ => None,
    }
}
