//! JSON and numbers as Python writes them, for the `tojson` filter of chat templates.

use std::collections::BTreeMap;
use std::io::Write;

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind};
use serde::Serialize;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter};

/// Maximum value of the `indent` argument of `tojson`.
const WIDEST_INDENT: usize = 32;
/// Maximum bytes of JSON that a template can write.
const LONGEST_JSON: usize = 1 << 26;

/// Writes JSON like `tojson` of `transformers`, which is Python's `json.dumps` with `ensure_ascii=False`. The arguments
/// `ensure_ascii`, `indent`, `separators` and `sort_keys` are those of `json.dumps`.
pub(super) fn to_json(value: Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let separators: Option<Vec<String>> = options.get("separators")?;
    let ascii: Option<bool> = options.get("ensure_ascii")?;
    let sorted: Option<bool> = options.get("sort_keys")?;
    options.assert_all_used()?;
    let refused = |message: String| Error::new(ErrorKind::InvalidOperation, message);
    if let Some(spaces) = indent.filter(|spaces| *spaces > WIDEST_INDENT) {
        return Err(refused(format!(
            "tojson(indent={spaces}): expected at most {WIDEST_INDENT}"
        )));
    }
    let [item, key] = match separators.as_deref() {
        Some([item, key]) => [item.clone(), key.clone()],
        Some(_) => return Err(refused("tojson(separators=…): expected two texts".into())),
        None if indent.is_some() => [",".into(), ": ".into()],
        None => [", ".into(), ": ".into()],
    };
    let formatter = PythonFormatter {
        indent: indent.map(|spaces| " ".repeat(spaces)),
        item,
        key,
        ascii: ascii.unwrap_or(false),
        depth: 0,
        is_empty: true,
    };
    let mut bytes = Bounded(Vec::new());
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    let written = match sorted.unwrap_or(false) {
        true => Sorted::of(&value).serialize(&mut serializer),
        false => value.serialize(&mut serializer),
    };
    written.map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    Ok(String::from_utf8(bytes.0).unwrap_or_default())
}

/// Returns a number as Python's `repr` writes it: with an exponent below 1e-4 and from 1e16 on.
pub(super) fn python_float(number: f64) -> String {
    if number.is_nan() {
        return "nan".into();
    }
    let scientific = format!("{number:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return scientific; // an infinity
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let positional = number.to_string();
        let end = if positional.contains('.') { "" } else { ".0" };
        return positional + end;
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// A value with the keys of its maps sorted.
#[derive(Serialize)]
#[serde(untagged)]
enum Sorted {
    Map(BTreeMap<String, Sorted>),
    List(Vec<Sorted>),
    Other(Value),
}

impl Sorted {
    fn of(value: &Value) -> Self {
        let items = || value.try_iter().into_iter().flatten();
        let keyed = |key: Value| {
            let inner = value.get_item(&key).unwrap_or_default();
            (key.to_string(), Self::of(&inner))
        };
        match value.kind() {
            ValueKind::Map => Self::Map(items().map(keyed).collect()),
            ValueKind::Seq => Self::List(items().map(|item| Self::of(&item)).collect()),
            _ => Self::Other(value.clone()),
        }
    }
}

/// Byte buffer with a limit of [`LONGEST_JSON`].
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > LONGEST_JSON {
            return Err(std::io::Error::other(format!(
                "JSON of more than {LONGEST_JSON} bytes"
            )));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Formatter that writes separators, numbers and escapes as `json.dumps` does.
struct PythonFormatter {
    /// Indentation of one level; `None` for JSON in one line.
    indent: Option<String>,
    /// Separator of items.
    item: String,
    /// Separator of a key and its value.
    key: String,
    /// True to escape all characters that are not ASCII.
    ascii: bool,
    depth: usize,
    /// True if the innermost open list or map has no item yet.
    is_empty: bool,
}

impl PythonFormatter {
    fn break_line<W: ?Sized + Write>(&self, writer: &mut W) -> std::io::Result<()> {
        let Some(indent) = &self.indent else {
            return Ok(());
        };
        writer.write_all(b"\n")?;
        (0..self.depth).try_for_each(|_| writer.write_all(indent.as_bytes()))
    }

    fn begin<W: ?Sized + Write>(&mut self, writer: &mut W, sign: &[u8]) -> std::io::Result<()> {
        self.depth += 1;
        self.is_empty = true;
        writer.write_all(sign)
    }

    fn end<W: ?Sized + Write>(&mut self, writer: &mut W, sign: &[u8]) -> std::io::Result<()> {
        self.depth -= 1;
        if !self.is_empty {
            self.break_line(writer)?;
        }
        self.is_empty = false;
        writer.write_all(sign)
    }

    fn begin_item<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if !first {
            writer.write_all(self.item.as_bytes())?;
        }
        self.is_empty = false;
        self.break_line(writer)
    }
}

impl Formatter for PythonFormatter {
    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        self.begin(writer, b"[")
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        self.end(writer, b"]")
    }

    fn begin_array_value<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        self.begin_item(writer, first)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        self.begin(writer, b"{")
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        self.end(writer, b"}")
    }

    fn begin_object_key<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        self.begin_item(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(self.key.as_bytes())
    }

    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> std::io::Result<()> {
        writer.write_all(python_float(value).as_bytes())
    }

    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> std::io::Result<()> {
        if !self.ascii {
            return writer.write_all(fragment.as_bytes());
        }
        for letter in fragment.chars() {
            if matches!(letter, ' '..='~') {
                write!(writer, "{letter}")?;
                continue;
            }
            for unit in letter.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
        }
        Ok(())
    }

    fn write_char_escape<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> std::io::Result<()> {
        CompactFormatter.write_char_escape(writer, escape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::chat::environment::environment;

    /// Renders a template with the value `v`, whose keys are in no order.
    fn rendered(template: &str) -> String {
        let json = r#"{
            "b": {"y": [1, 1.0, 1e-7, 1e16, 0.0001, 1e20, -2.5e-5], "x": {}, "w": []},
            "a": "é\u0001\"\u007f🙂"
        }"#;
        let value: Value = serde_json::from_str(json).unwrap();
        let environment = environment(&[("t", template.to_owned())]).unwrap();
        let template = environment.get_template("t").unwrap();
        template.render(minijinja::context! { v => value }).unwrap()
    }

    /// Checks that values are written as Python's `json.dumps` writes them, with each of its arguments. The expected
    /// texts are Python's.
    #[test]
    fn json_is_that_of_python() {
        let numbers = r#""y": [1, 1.0, 1e-07, 1e+16, 0.0001, 1e+20, -2.5e-05]"#;
        let text = "\"é\\u0001\\\"\u{7f}🙂\"";
        let python = format!("{{\"b\": {{{numbers}, \"x\": {{}}, \"w\": []}}, \"a\": {text}}}");
        for filter in [
            "tojson",
            "tojson(ensure_ascii=False)",
            "tojson(indent=None, separators=None, sort_keys=False)",
        ] {
            assert_eq!(rendered(&format!("{{{{ v | {filter} }}}}")), python);
        }
        assert_eq!(
            rendered("{{ v.a | tojson(ensure_ascii=True) }}"),
            r#""\u00e9\u0001\"\u007f\ud83d\ude42""#
        );
        assert_eq!(
            rendered("{{ v.b | tojson(separators=(',', ':'), sort_keys=True) }}"),
            r#"{"w":[],"x":{},"y":[1,1.0,1e-07,1e+16,0.0001,1e+20,-2.5e-05]}"#
        );
        assert_eq!(
            rendered("{{ {'a': [1, {}], 'b': {'c': []}} | tojson(indent=2) }}"),
            "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": {\n    \"c\": []\n  }\n}"
        );
    }

    /// Checks that a template prints numbers as Python does.
    #[test]
    fn numbers_are_those_of_python() {
        assert_eq!(
            rendered(
                "{{ v.b.y[2] }} {{ v.b.y[3] }} {{ v.b.y[1] }} {{ v.b.y[0] }} {{ 0.1 + 0.2 }} {{ 1 / 3 }}"
            ),
            "1e-07 1e+16 1.0 1 0.30000000000000004 0.3333333333333333"
        );
    }
}
