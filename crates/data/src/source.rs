//! Documents out of files, one at a time.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::DataError;

/// A document beyond this many bytes is cut at paragraph ends, so that no later stage has to hold a huge one.
const LONGEST: usize = 1 << 20;

/// A stretch of a document's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The text.
    pub text: String,
    /// Whether it is learnt and scored; a prompt is not.
    pub scored: bool,
}

/// One document, or one piece of a huge one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceDocument {
    /// Its text, in order.
    pub parts: Vec<Part>,
    /// Whether it goes on from the document before: pieces stay on one side of the split.
    pub continues: bool,
}

impl SourceDocument {
    fn plain(text: String, continues: bool) -> Self {
        Self {
            parts: vec![Part { text, scored: true }],
            continues,
        }
    }

    /// All of its text.
    pub fn text(&self) -> String {
        self.parts.iter().map(|part| part.text.as_str()).collect()
    }

    /// Whether there is nothing in it to learn.
    pub fn is_blank(&self) -> bool {
        let scored = self.parts.iter().filter(|part| part.scored);
        scored.into_iter().all(|part| part.text.trim().is_empty())
    }
}

/// The files that a list of globs names, sorted, without repetitions.
///
/// # Errors
/// A pattern that is none, or that matches no file, under the config key `key`.
pub fn expand(key: &str, patterns: &[String]) -> Result<Vec<PathBuf>, DataError> {
    let mut files = Vec::new();
    for pattern in patterns {
        let entries = glob::glob(pattern)
            .map_err(|error| DataError::config(key, format!("`{pattern}` is no glob: {error}")))?;
        let before = files.len();
        for entry in entries {
            let path = entry.map_err(|error| {
                let path = error.path().to_path_buf();
                DataError::file("read", &path)(error.into())
            })?;
            if path.is_file() {
                files.push(path);
            }
        }
        if files.len() == before {
            return Err(DataError::config(
                key,
                format!("`{pattern}` matches no file"),
            ));
        }
    }
    files.sort();
    files.dedup();
    Ok(files)
}

/// Calls `each` with every document of the file, in order.
///
/// # Errors
/// A file that can't be read, is of no known kind or is not UTF-8; a line that is no document; what `each` says.
pub fn read(
    path: &Path,
    text_field: Option<&str>,
    each: &mut dyn FnMut(SourceDocument) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let name = path.to_string_lossy().to_lowercase();
    let plain = name.trim_end_matches(".gz").trim_end_matches(".zst");
    let file = File::open(path).map_err(DataError::file("open", path))?;
    let bytes: Box<dyn Read> = if name.ends_with(".gz") {
        Box::new(flate2::read::MultiGzDecoder::new(file))
    } else if name.ends_with(".zst") {
        Box::new(zstd::Decoder::new(file).map_err(DataError::file("read", path))?)
    } else {
        Box::new(file)
    };
    let lines = BufReader::with_capacity(1 << 18, bytes);
    if plain.ends_with(".txt") || plain.ends_with(".md") {
        read_text(path, lines, each)
    } else if plain.ends_with(".jsonl") {
        read_json_lines(path, lines, text_field, each)
    } else {
        Err(DataError::content(
            path,
            "is of no known kind: expected `.txt`, `.md` or `.jsonl`, each also with `.gz` or `.zst`",
        ))
    }
}

fn read_text(
    path: &Path,
    mut lines: impl BufRead,
    each: &mut dyn FnMut(SourceDocument) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let mut piece = String::new();
    let mut line = Vec::new();
    let mut number = 0;
    let mut continues = false;
    loop {
        line.clear();
        let read = lines
            .read_until(b'\n', &mut line)
            .map_err(DataError::file("read", path))?;
        number += 1;
        let text = utf8(path, number, &line)?;
        // A byte order mark says nothing in UTF-8.
        let text = if number == 1 {
            text.trim_start_matches('\u{feff}')
        } else {
            text
        };
        let paragraph_end = text.trim().is_empty();
        piece.push_str(text);
        let huge = piece.len() >= LONGEST && paragraph_end || piece.len() >= 2 * LONGEST;
        if read == 0 || huge {
            let whole = std::mem::take(&mut piece);
            for text in cut(whole) {
                each(SourceDocument::plain(text, continues))?;
                continues = true;
            }
        }
        if read == 0 {
            return Ok(());
        }
    }
}

fn read_json_lines(
    path: &Path,
    mut lines: impl BufRead,
    text_field: Option<&str>,
    each: &mut dyn FnMut(SourceDocument) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let mut line = Vec::new();
    let mut number = 0;
    loop {
        line.clear();
        let read = lines
            .read_until(b'\n', &mut line)
            .map_err(DataError::file("read", path))?;
        if read == 0 {
            return Ok(());
        }
        number += 1;
        let text = utf8(path, number, &line)?;
        if text.trim().is_empty() {
            continue;
        }
        let record: Value = serde_json::from_str(text)
            .map_err(|error| DataError::line(path, number, format!("is not JSON: {error}")))?;
        let parts =
            parts(&record, text_field).map_err(|message| DataError::line(path, number, message))?;
        if let [Part { text, scored: true }] = &parts[..] {
            for (at, text) in cut(text.clone()).into_iter().enumerate() {
                each(SourceDocument::plain(text, at > 0))?;
            }
        } else {
            each(SourceDocument {
                parts,
                continues: false,
            })?;
        }
    }
}

fn utf8<'a>(path: &Path, line: u64, bytes: &'a [u8]) -> Result<&'a str, DataError> {
    std::str::from_utf8(bytes).map_err(|error| {
        DataError::line(
            path,
            line,
            format!(
                "is not UTF-8 (byte {} of the line): convert the file, as in `iconv -f latin1 -t utf8`",
                error.valid_up_to() + 1
            ),
        )
    })
}

/// The parts of a JSON record, by the fields that it has.
fn parts(record: &Value, text_field: Option<&str>) -> Result<Vec<Part>, String> {
    let field = |name: &str| record.get(name).and_then(Value::as_str);
    let part = |text: &str, scored| Part {
        text: text.to_owned(),
        scored,
    };
    if let Some(name) = text_field {
        let text = field(name).ok_or_else(|| format!("has no text in its field `{name}`"))?;
        return Ok(vec![part(text, true)]);
    }
    if let Some(text) = field("text") {
        return Ok(vec![part(text, true)]);
    }
    if let (Some(prompt), Some(response)) = (field("prompt"), field("response")) {
        let apart =
            prompt.ends_with(char::is_whitespace) || response.starts_with(char::is_whitespace);
        let prompt = if apart {
            prompt.to_owned()
        } else {
            format!("{prompt}\n")
        };
        return Ok(vec![part(&prompt, false), part(response, true)]);
    }
    let messages = record
        .get("messages")
        .and_then(Value::as_array)
        .ok_or("has neither `text`, nor `prompt` and `response`, nor `messages`: name its field in `text_field`")?;
    let mut parts = Vec::new();
    for message in messages {
        let text = |name: &str| {
            message
                .get(name)
                .and_then(Value::as_str)
                .ok_or_else(|| format!("has a message without `{name}`"))
        };
        let (role, content) = (text("role")?, text("content")?);
        parts.push(part(&format!("{role}: "), false));
        parts.push(part(&format!("{content}\n"), role == "assistant"));
    }
    Ok(parts)
}

/// A text in pieces of at most about [`LONGEST`] bytes, cut at paragraph ends, else at line ends, else anywhere.
fn cut(text: String) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut rest = text.as_str();
    while rest.len() > 2 * LONGEST {
        let most = rest.floor_char_boundary(LONGEST);
        let head = &rest[..most];
        let end = head
            .rfind("\n\n")
            .map(|at| at + 2)
            .or_else(|| head.rfind('\n').map(|at| at + 1))
            .unwrap_or(most);
        pieces.push(rest[..end].to_owned());
        rest = &rest[end..];
    }
    if pieces.is_empty() {
        return vec![text];
    }
    pieces.push(rest.to_owned());
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(json: &str, field: Option<&str>) -> Result<Vec<(String, bool)>, String> {
        let parts = parts(&serde_json::from_str(json).unwrap(), field)?;
        Ok(parts
            .into_iter()
            .map(|part| (part.text, part.scored))
            .collect())
    }

    /// Each kind of record gives the text that is learnt, and marks what is not.
    #[test]
    fn records_are_read_by_their_fields() {
        let owned = |text: &str, scored| (text.to_owned(), scored);
        assert_eq!(record(r#"{"text": "a"}"#, None), Ok(vec![owned("a", true)]));
        assert_eq!(
            record(r#"{"body": "b", "text": "a"}"#, Some("body")),
            Ok(vec![owned("b", true)])
        );
        assert_eq!(
            record(r#"{"prompt": "q", "response": "r"}"#, None),
            Ok(vec![owned("q\n", false), owned("r", true)])
        );
        assert_eq!(
            record(
                r#"{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "r"}]}"#,
                None
            ),
            Ok(vec![
                owned("user: ", false),
                owned("q\n", false),
                owned("assistant: ", false),
                owned("r\n", true)
            ])
        );
        assert!(
            record(r#"{"body": "b"}"#, None)
                .unwrap_err()
                .contains("neither `text`")
        );
    }

    /// Cutting loses nothing and keeps to the bound.
    #[test]
    fn huge_documents_are_cut_at_paragraphs() {
        let text = "paragraph é\n\n".repeat(400_000);
        let pieces = cut(text.clone());
        assert!(pieces.len() > 3);
        assert!(
            pieces
                .iter()
                .all(|piece| piece.len() <= 2 * LONGEST && piece.ends_with("\n\n"))
        );
        assert_eq!(pieces.concat(), text);
        assert_eq!(cut("é".repeat(3_000_000)).concat().len(), 6_000_000);
    }
}
