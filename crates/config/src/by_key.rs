//! Flat view of a configuration: each value with its full dotted key.

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
