//! The commented configs of every key, which `polymath config` prints and `polymath init` fills in.

use std::fmt::Write;

use super::keys::{Place, Root, kind, places};
use super::sources::{Key, Kind, Sources};

/// Maximum length of a comment line, in characters.
const WIDTH: usize = 110;
/// End of the documentation of a key that the program writes, and a user does not.
const NOT_FOR_CONFIGS: &str = "Not for a config.";

/// Writes the commented config of a command. A comment that begins with `# ` is prose; one that begins with `#` and no
/// space is a key or a table that may be set.
pub fn schema(sources: &Sources, root: &Root) -> String {
    let mut text = String::new();
    prose(
        &mut text,
        &format!(
            "Every key of `polymath {0}`, with its type, unit and default. Remove the `#` in front of a key to set it, and that in \
             front of its table. `polymath {0} --help` ends with a short example.",
            root.command
        ),
    );
    for place in places(sources, root) {
        section(&mut text, &place);
    }
    text
}

fn section(text: &mut String, place: &Place) {
    text.push('\n');
    if !place.path.is_empty() {
        if !place.table.doc.is_empty() {
            prose(text, &place.table.doc);
        }
        writeln!(text, "#[{}]", place.path.join(".")).unwrap();
    }
    for key in &place.table.keys {
        // A table has a section of its own.
        let is_table = matches!(key.kind, Kind::Table(_) | Kind::Tables(_));
        if !is_table && !key.doc.ends_with(NOT_FOR_CONFIGS) {
            line(text, key);
        }
    }
}

fn line(text: &mut String, key: &Key) {
    let required = if key.required { ", required" } else { "" };
    let kind = kind(key).replace('`', "");
    prose(text, &format!("{} ({kind}{required})", key.doc));
    match &key.default {
        Some(default) => writeln!(text, "#{} = {default}", key.name).unwrap(),
        None => writeln!(text, "#{} = …", key.name).unwrap(),
    }
}

/// Writes a text as comment lines of at most [`WIDTH`] characters.
fn prose(text: &mut String, words: &str) {
    let mut line = String::from("#");
    for word in words.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            writeln!(text, "{line}").unwrap();
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    writeln!(text, "{line}").unwrap();
}
