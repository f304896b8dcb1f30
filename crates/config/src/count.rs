//! Counts of tokens and steps, which may be written with a unit: `"60k"`, `"2M"`.

use std::fmt;

use serde::Deserializer;
use serde::de::{Error, Visitor};

/// Units that a count can have, with their factors.
const UNITS: [(&str, f64); 4] = [("k", 1e3), ("M", 1e6), ("G", 1e9), ("B", 1e9)];
/// Bound up to which an f64 represents every whole number exactly (2⁵³).
const LARGEST: f64 = 9_007_199_254_740_992.0;

/// Deserializes a count: an integer, a whole number such as `2e6`, or text with a unit such as `"2M"`, for
/// `#[serde(deserialize_with = …)]`.
///
/// # Errors
/// Fails for other text, and for numbers that are negative or not whole.
pub fn optional_count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    deserializer.deserialize_any(Count).map(Some)
}

struct Count;

impl Visitor<'_> for Count {
    type Value = u64;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a whole number, or one with a unit such as \"60k\" or \"2M\"")
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<u64, E> {
        u64::try_from(value)
            .map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(value), &self))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<u64, E> {
        Ok(value)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<u64, E> {
        whole(value).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Float(value), &self))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
        parse(text).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }
}

/// Parses a number with or without a unit. `2M`, `2_000k` and `2e6` are equal.
fn parse(text: &str) -> Option<u64> {
    let text = text.trim().replace('_', "");
    let unit = UNITS.iter().find(|(unit, _)| text.ends_with(unit));
    let (number, factor) = match unit {
        Some((unit, factor)) => (text.strip_suffix(unit)?.trim_end(), *factor),
        None => (text.as_str(), 1.0),
    };
    if !number.starts_with(|letter: char| letter.is_ascii_digit()) {
        return None;
    }
    whole(number.parse::<f64>().ok()? * factor)
}

fn whole(value: f64) -> Option<u64> {
    // A product such as 1.1 · 1e6 may differ from a whole number by a rounding error.
    let rounded = value.round();
    let near = (value - rounded).abs() <= rounded * 1e-12;
    (near && (0.0..=LARGEST).contains(&rounded)).then_some(rounded as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct Length {
        #[serde(default, deserialize_with = "optional_count")]
        tokens: Option<u64>,
    }

    fn read(value: &str) -> Result<Option<u64>, String> {
        let read: Result<Length, _> = toml::from_str(&format!("tokens = {value}"));
        read.map(|length| length.tokens)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn counts_may_have_a_unit() {
        for (text, expected) in [
            ("7", 7),
            ("2_000", 2000),
            ("2e6", 2_000_000),
            ("\"60k\"", 60_000),
            ("\"2M\"", 2_000_000),
            ("\"1.1M\"", 1_100_000),
            ("\"3 B\"", 3_000_000_000),
            ("\"250\"", 250),
        ] {
            assert_eq!(read(text), Ok(Some(expected)), "{text}");
        }
        let empty: Length = toml::from_str("").unwrap();
        assert_eq!(empty.tokens, None);
    }

    #[test]
    fn other_counts_are_refused() {
        for text in [
            "-1",
            "1.5",
            "\"2m\"",
            "\"M\"",
            "\"inf\"",
            "\"1.0001k\"",
            "1e300",
            "true",
            "nan",
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains("\"60k\" or \"2M\""), "{text}: {error}");
        }
    }
}
