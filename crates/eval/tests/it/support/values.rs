//! Reference values of the statistics, computed with numpy and scipy.

use serde_json::Value;

/// Reads the values that `scripts/check/statistics_reference.py` wrote.
pub fn fixture() -> Value {
    serde_json::from_str(include_str!("../../fixtures/statistics.json")).unwrap()
}

/// Reads a JSON array of numbers.
pub fn numbers(value: &Value) -> Vec<f64> {
    let items = value.as_array().unwrap();
    items.iter().map(|item| item.as_f64().unwrap()).collect()
}

/// Reads a JSON array of whole numbers.
pub fn whole(value: &Value) -> Vec<u64> {
    let items = value.as_array().unwrap();
    items.iter().map(|item| item.as_u64().unwrap()).collect()
}

/// Reads a JSON number.
pub fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

/// Checks that a value is close to the reference value.
pub fn near(found: f64, expected: f64, what: &str) {
    let scale = expected.abs().max(1.0);
    assert!(
        (found - expected).abs() < 1e-8 * scale,
        "{what}: {found}, by scipy {expected}"
    );
}
