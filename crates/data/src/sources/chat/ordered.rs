//! JSON as template values: with the keys in the order of the text, and with whole numbers of any size, as Python reads
//! them.

use std::ops::Range;

use minijinja::Value;
use minijinja::value::{Serde, ValueKind};

use super::message::Pairs;

/// Character before the index of a number that replaces it while the JSON is parsed. It is a Unicode noncharacter.
const MARK: char = '\u{fdd4}';

/// Parses JSON as a template value. Python knows no largest whole number, and JSON's `-0` is its 0; the JSON parser
/// reads both as floating-point numbers, which a template would write in another way.
///
/// # Errors
/// Fails if the text is not JSON, or if a whole number has more than 38 digits.
pub(super) fn parse_in_order(json: &str) -> Result<Value, String> {
    let parsed =
        |text: &str| serde_json::from_str::<Value>(text).map_err(|error| error.to_string());
    let found = unread_numbers(json);
    // Text with the mark can't have numbers replaced; it is hardly found anywhere.
    if found.is_empty()
        || json.contains(MARK)
        || json.contains("\\ufdd4")
        || json.contains("\\uFDD4")
    {
        return parsed(json);
    }
    let (mut text, mut at) = (String::with_capacity(json.len()), 0);
    let mut numbers = Vec::new();
    for place in found {
        text += &json[at..place.start];
        text += &format!("\"{MARK}{}\"", numbers.len());
        at = place.end;
        numbers.push(whole(&json[place])?);
    }
    text += &json[at..];
    Ok(restored(&parsed(&text)?, &numbers))
}

/// Returns the places of the whole numbers that the JSON parser would not read as such.
fn unread_numbers(json: &str) -> Vec<Range<usize>> {
    let bytes = json.as_bytes();
    let (mut places, mut at) = (Vec::new(), 0);
    let (mut in_string, mut is_escaped) = (false, false);
    while let Some(byte) = bytes.get(at) {
        let begin = at;
        at += 1;
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            b'-' | b'0'..=b'9' if !in_string => {
                let of_number = |byte: &&u8| b"0123456789+-.eE".contains(byte);
                at = begin + bytes[begin..].iter().take_while(of_number).count();
                let number = &json[begin..at];
                let digits = number.strip_prefix('-').unwrap_or(number);
                let is_whole =
                    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
                let is_read = number.parse::<u64>().is_ok()
                    || number.parse::<i64>().is_ok_and(|value| value != 0);
                if is_whole && !is_read {
                    places.push(begin..at);
                }
            }
            _ => {}
        }
    }
    places
}

fn whole(number: &str) -> Result<Value, String> {
    if let Ok(value) = number.parse::<i128>() {
        return Ok(match i64::try_from(value) {
            Ok(small) => small.into(),
            Err(_) => value.into(),
        });
    }
    let value = number.parse::<u128>().map(Value::from);
    value.map_err(|_| {
        format!("has a whole number of more than 38 digits, `{number}`: write it as text")
    })
}

/// Returns a value with the numbers that were replaced by their index.
fn restored(value: &Value, numbers: &[Value]) -> Value {
    let items = || value.try_iter().into_iter().flatten();
    match value.kind() {
        ValueKind::Map => {
            let pairs = items().map(|key| {
                let inner = value.get_item(&key).unwrap_or_default();
                (key.to_string(), restored(&inner, numbers))
            });
            Value::from(Serde(Pairs(pairs.collect())))
        }
        ValueKind::Seq => items().map(|item| restored(&item, numbers)).collect(),
        _ => {
            let index = value.as_str().and_then(|text| text.strip_prefix(MARK));
            let number = index.and_then(|index| numbers.get(index.parse::<usize>().ok()?));
            number.unwrap_or(value).clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::chat::environment::environment;

    /// Returns what a template writes for `v`, which is this JSON.
    fn written(json: &str, template: &str) -> String {
        let environment = environment(&[("t", template.to_owned())]).unwrap();
        let template = environment.get_template("t").unwrap();
        let value = parse_in_order(json).unwrap();
        template.render(minijinja::context! { v => value }).unwrap()
    }

    /// Checks that whole numbers are written with all of their digits, as `json.dumps(json.loads(text))` writes them,
    /// and that keys keep their order.
    #[test]
    fn whole_numbers_keep_their_digits() {
        let json = r#"{"b": 18446744073709551616, "a": [-9223372036854775809, 18446744073709551615, 7, -7, 1.5],
            "\"": "18446744073709551616", "c": {"z": 100000000000000000000000000000000000, "y": null}}"#;
        let python = r#"{"b": 18446744073709551616, "a": [-9223372036854775809, 18446744073709551615, 7, -7, 1.5], "\"": "18446744073709551616", "c": {"z": 100000000000000000000000000000000000, "y": null}}"#;
        assert_eq!(written(json, "{{ v | tojson }}"), python);
        assert_eq!(written("[-0, -0.0, 0]", "{{ v | tojson }}"), "[0, -0.0, 0]");
        let number = "18446744073709551616";
        assert_eq!(
            written(&format!("[{number}]"), "{{ v[0] }} {{ v[0] is number }}"),
            format!("{number} True")
        );
        let plain = r#"{"b": 1, "a": "-0"}"#;
        assert_eq!(written(plain, "{{ v | tojson }}"), plain);
    }

    /// Checks that a number beyond the largest one is refused by its digits.
    #[test]
    fn longer_numbers_are_refused() {
        let number = "9".repeat(40);
        let error = parse_in_order(&format!("{{\"a\": {number}}}")).unwrap_err();
        assert!(
            error.contains("more than 38 digits") && error.contains(&number),
            "{error}"
        );
        assert!(parse_in_order("{\"a\": }").is_err());
    }
}
