//! Keys of a configuration: each value with its full dotted key, and names in quotes where a key needs them.

use std::collections::BTreeMap;

use toml::{Table, Value};

/// Returns the values of a table by their full key, as in `training.learning_rate`.
///
/// ```
/// let table = "seed = 1\n[training]\nsteps = 10".parse().unwrap();
/// let values = polymath_config::values_by_key(&table);
/// assert_eq!(values["training.steps"].as_integer(), Some(10));
/// ```
pub fn values_by_key(table: &Table) -> BTreeMap<String, Value> {
    let mut values = BTreeMap::new();
    for (key, value) in table {
        match value {
            Value::Table(inner) => {
                let inner = values_by_key(inner).into_iter();
                values.extend(inner.map(|(name, value)| (format!("{key}.{name}"), value)));
            }
            _ => {
                values.insert(key.clone(), value.clone());
            }
        }
    }
    values
}

/// Returns a name as a part of a dotted key, in quotes where TOML needs them. Keys in messages and overrides then have
/// the form that a config takes.
///
/// ```
/// assert_eq!(polymath_config::toml_key("law"), "law");
/// assert_eq!(polymath_config::toml_key("v1.2"), "\"v1.2\"");
/// ```
pub fn toml_key(name: &str) -> String {
    let is_bare = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
    match !name.is_empty() && name.chars().all(is_bare) {
        true => name.to_owned(),
        false => Value::String(name.to_owned()).to_string(),
    }
}
