//! Reading of a file's documents, one at a time, according to its kind.

use std::path::Path;

use crate::DataError;
use crate::sources::document::DocumentSink;
use crate::sources::kind::FileKind;
use crate::sources::parquet::file::ParquetFile;
use crate::sources::record::Records;
use crate::sources::{json_file, json_lines, table, text_file};

/// Options for reading the files of a domain.
#[derive(Clone, Copy, Default)]
pub(crate) struct Format<'a> {
    /// Options for turning records into documents.
    pub(crate) records: Records<'a>,
    /// Separator of the documents in a text file.
    pub(crate) separator: Option<&'a str>,
}

/// Calls `each` with every document of the file, in order, and `watch` with the number of bytes read from disk.
///
/// # Errors
/// Fails if the file can't be read, or if `each` fails.
pub(crate) fn read(
    path: &Path,
    format: Format,
    watch: &dyn Fn(u64),
    each: &mut DocumentSink,
) -> Result<(), DataError> {
    match FileKind::of(path) {
        FileKind::Text => {
            let bytes = polymath_input::open(path, watch)?;
            let found = text_file::read(path, bytes, format.separator, each)?;
            if let Some(notes) = format.records.notes {
                notes.borrow_mut().separators += found;
            }
            Ok(())
        }
        FileKind::JsonLines => {
            let lines = polymath_input::open(path, watch)?;
            json_lines::read(path, lines, format.records, each)
        }
        FileKind::Json => json_file::read(path, format.records, watch, each),
        FileKind::Table => {
            let bytes = polymath_input::open(path, watch)?;
            table::read(path, bytes, format.records, each)
        }
        FileKind::Parquet => {
            ParquetFile::open(path, format.records)?.read(format.records, watch, each)
        }
    }
}

/// Checks before the first file is read that the columns of a file make documents.
///
/// # Errors
/// Fails with the errors of [`read`] that can be found without reading text.
pub(crate) fn check(path: &Path, records: Records) -> Result<(), DataError> {
    match FileKind::of(path) {
        FileKind::Parquet => ParquetFile::open(path, records).map(drop),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::document::{LONGEST_RECORD, SourceDocument};
    use crate::sources::pieces::{LONGEST, cut};

    fn read_as(
        name: &str,
        bytes: &[u8],
        separator: Option<&str>,
    ) -> (Vec<SourceDocument>, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let (mut documents, mut bad) = (Vec::new(), Vec::new());
        let format = Format {
            separator,
            ..Format::default()
        };
        let read = read(&path, format, &|_| (), &mut |document| {
            match document {
                Ok(document) => documents.push(document),
                Err(error) => bad.push(error.to_string()),
            }
            Ok(())
        });
        bad.extend(read.err().map(|error| error.to_string()));
        (documents, bad)
    }

    fn texts(name: &str, bytes: &[u8], separator: Option<&str>) -> Vec<String> {
        let (documents, bad) = read_as(name, bytes, separator);
        assert_eq!(bad, [""; 0]);
        documents.iter().map(SourceDocument::text).collect()
    }

    /// Checks that a very long file, read in pieces, gives the same pieces as cutting its whole text, for characters
    /// of any length.
    #[test]
    fn huge_files_stream_as_they_are_cut() {
        let paragraphs = "Of Man\u{2019}s first disobedience,\n\n".repeat(300_000);
        for text in [paragraphs, "é".repeat(4_000_001), "no end ".repeat(700_000)] {
            let (documents, _) = read_as("a.txt", text.as_bytes(), None);
            let read: Vec<String> = documents.iter().map(SourceDocument::text).collect();
            assert_eq!(read, cut(&text, LONGEST));
            let pieces: Vec<u64> = documents.iter().map(|document| document.piece).collect();
            assert_eq!(pieces, (0..pieces.len() as u64).collect::<Vec<_>>());
        }
    }

    /// Checks that a separator is found at any position relative to the read buffer, and that the line breaks around
    /// it are removed.
    #[test]
    fn a_separator_parts_documents() {
        let mark = "<|endoftext|>";
        let read = |text: &str| texts("a.txt", text.as_bytes(), Some(mark));
        assert_eq!(
            read("one\n<|endoftext|>\ntwo\n\n<|endoftext|>"),
            ["one", "two"]
        );
        assert_eq!(
            read(" one<|endoftext|><|endoftext|> \n<|endoftext|>two"),
            [" one", "two"]
        );
        assert_eq!(read("one <|endof text|>"), ["one <|endof text|>"]);
        let stories: Vec<String> = (0..9)
            .map(|number| format!("{number} ") + &"story é ".repeat(1 << (10 + 2 * (number % 5))))
            .collect();
        let text = stories.join("\r\n<|endoftext|>\n");
        let (documents, bad) = read_as("a.txt", text.as_bytes(), Some(mark));
        assert!(bad.is_empty() && documents.len() > stories.len());
        let mut whole: Vec<String> = Vec::new();
        for document in documents {
            match document.piece {
                0 => whole.push(document.text()),
                _ => whole.last_mut().unwrap().push_str(&document.text()),
            }
        }
        assert_eq!(whole, stories);
    }

    /// Checks that bytes that are not UTF-8 are reported with their line, that UTF-16 is reported by its name, and
    /// that a byte order mark is removed.
    #[test]
    fn other_encodings_are_named() {
        let (_, bad) = read_as("a.txt", b"one\ntwo \xe9t\xe9\n", None);
        assert!(
            bad[0].contains("a.txt:2`: is not UTF-8 (byte 5 of the line)"),
            "{bad:?}"
        );
        for name in ["a.md", "a.jsonl"] {
            let (_, bad) = read_as(name, b"\xff\xfeh\0i\0", None);
            assert!(bad[0].contains("utf-16"), "{bad:?}");
        }
        assert_eq!(texts("a.txt", "\u{feff}text".as_bytes(), None), ["text"]);
        let line = "\u{feff}{\"text\": \"text\"}\n";
        assert_eq!(texts("a.jsonl", line.as_bytes(), None), ["text"]);
        let gzip = |text: &str| {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            std::io::Write::write_all(&mut gzip, text.as_bytes()).unwrap();
            gzip.finish().unwrap()
        };
        // Compression is recognized by content, not by the file name.
        assert_eq!(texts("a.jsonl", &gzip(line), None), ["text"]);
        assert_eq!(texts("a.jsonl.gz", line.as_bytes(), None), ["text"]);
        assert_eq!(
            texts(
                "a.TXT.ZST",
                &zstd::encode_all(&b"text"[..], 1).unwrap(),
                None
            ),
            ["text"]
        );
    }

    /// Checks that every invalid line of a `.jsonl` file is reported by its number and that the other lines are read.
    #[test]
    fn broken_lines_are_named() {
        let lines =
            b"{\"text\": \"x\"}\n\n{\"text\": \n{\"body\": \"x\"}\nt\xe9xt\n{\"text\": \"y\"}";
        let (documents, bad) = read_as("a.jsonl", lines, None);
        assert_eq!(documents.len(), 2);
        let expected = [
            "a.jsonl:3`: is not JSON",
            "a.jsonl:4`: has neither",
            "a.jsonl:5`: is not UTF-8",
        ];
        assert_eq!(bad.len(), expected.len(), "{bad:?}");
        for (bad, expected) in bad.iter().zip(expected) {
            assert!(bad.contains(expected), "{bad}");
        }
        assert!(
            bad[1].contains("it has `body`; name the one that holds the text in `text_field`"),
            "{bad:?}"
        );
    }

    /// Checks that a wrong value is an error in a field that is read, and is ignored in any other field.
    #[test]
    fn unused_fields_refuse_nothing() {
        let line = |line: &str| read_as("a.jsonl", line.as_bytes(), None);
        let fine =
            br#"{"text": "a \ud83d\ude00", "score": NaN, "name": "\ud800", "rank": -Infinity}"#;
        assert_eq!(texts("a.jsonl", fine, None), ["a 😀"]);
        let (documents, bad) = line(r#"{"text": "a \ud800"}"#);
        assert!(
            documents.is_empty() && bad[0].contains("a lone surrogate"),
            "{bad:?}"
        );
        // A missing text counts as an empty one, as in parquet.
        for empty in [
            r#"{"text": null}"#,
            r#"{"text": NaN}"#,
            r#"{"messages": null}"#,
        ] {
            let (documents, bad) = line(empty);
            assert!(documents[0].is_blank() && bad.is_empty(), "{empty} {bad:?}");
        }
        let (documents, _) = line(r#"{"text": null, "prompt": "a", "response": "b"}"#);
        assert_eq!(documents[0].text(), "a\nb");
    }

    /// Checks that a line beyond the size limit is reported and that the lines after it are read.
    #[test]
    fn long_lines_are_named() {
        let mut lines = b"{\"text\": \"x\"}\n".to_vec();
        lines.resize(lines.len() + LONGEST_RECORD + 9, b' ');
        lines.extend(b"\n{\"text\": \"y\"}\n");
        let (documents, bad) = read_as("a.jsonl", &lines, None);
        assert_eq!(documents.len(), 2);
        assert!(
            bad.len() == 1 && bad[0].contains("a.jsonl:2`: is longer than 64 MB"),
            "{bad:?}"
        );
    }
}
