//! Kinds of files by name, and detection of binary files by their first bytes.

use std::io::Read;
use std::path::Path;

use polymath_input::InputError;

/// Kinds of files that can be read, as text for error messages.
pub(crate) const KINDS: &str = "text (any UTF-8 file), `.jsonl`, `.json`, `.csv`, `.tsv` (each also with `.gz` or `.zst`) or `.parquet`";

/// Number of first bytes that are checked for binary data.
const SNIFFED: u64 = 8192;

/// Extensions of other programs' files, each with the way to convert them to text.
const CONVERTED: [(&[&str], &str); 7] = [
    (&[".pdf"], "`pdftotext FILE.pdf` writes its text"),
    (
        &[".docx", ".odt", ".rtf", ".epub", ".fb2"],
        "`pandoc FILE -t plain -o FILE.txt` writes its text",
    ),
    (
        &[".doc", ".ppt", ".pptx", ".odp"],
        "`soffice --headless --convert-to pdf FILE`, then `pdftotext`, writes its text",
    ),
    (&[".xls", ".xlsx", ".ods"], "save each sheet as `.csv`"),
    (
        &[".mobi", ".azw", ".azw3"],
        "`ebook-convert FILE FILE.txt` writes its text",
    ),
    (&[".djvu"], "`djvutxt FILE FILE.txt` writes its text"),
    (
        &[".ipynb"],
        "`jupyter nbconvert --to markdown FILE` writes its text",
    ),
];

/// Files of a tokenizer that look like text.
const OF_TOKENIZERS: [&str; 3] = ["merges.txt", "vocab.txt", "chat_template.jinja"];
/// Files beside which these belong to a tokenizer.
const TOKENIZERS: [&str; 3] = ["tokenizer.json", "tokenizer_config.json", "vocab.json"];

/// Kind of a file, which decides how it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// Plain text: one document, or several with a separator between them.
    Text,
    /// `.jsonl`: one record per line.
    JsonLines,
    /// `.json`: a list of records, or records one after the other.
    Json,
    /// `.csv` or `.tsv`: one record per row, below a row of column names.
    Table,
    /// `.parquet`: one record per row.
    Parquet,
}

impl FileKind {
    /// Returns the kind of a file by its name.
    pub(crate) fn of(path: &Path) -> Self {
        if is_parquet(path) {
            Self::Parquet
        } else if ends(path, &[".jsonl", ".ndjson"]) {
            Self::JsonLines
        } else if ends(path, &[".json"]) {
            Self::Json
        } else if ends(path, &[".csv", ".tsv"]) {
            Self::Table
        } else {
            Self::Text
        }
    }

    /// Returns true if the file holds records. Only records can have a field that names their group.
    pub(crate) fn has_records(self) -> bool {
        self != Self::Text
    }
}

/// Returns true for the extensions that every version reads (`.txt`, `.md`, `.jsonl`, `.parquet`): such files are
/// read without a look at their content.
pub(crate) fn is_usual(path: &Path) -> bool {
    is_parquet(path) || ends(path, &[".txt", ".md", ".jsonl"])
}

fn is_parquet(path: &Path) -> bool {
    let end = path.extension();
    end.is_some_and(|end| end.eq_ignore_ascii_case("parquet"))
}

/// Returns true if the file name, without a `.gz` or `.zst` at its end, has one of these extensions.
pub(crate) fn ends<T: AsRef<str>>(path: &Path, endings: &[T]) -> bool {
    let name = path.to_string_lossy().to_lowercase();
    let plain = name.strip_suffix(".gz").or(name.strip_suffix(".zst"));
    let names = [Some(name.as_str()), plain];
    let mut names = names.into_iter().flatten();
    names.any(|name| endings.iter().any(|end| name.ends_with(end.as_ref())))
}

/// Returns the name of a file that belongs to a tokenizer in the same folder, such as its merges; `None` for others.
pub(crate) fn of_tokenizer(path: &Path) -> Option<&'static str> {
    let name = path.file_name()?;
    let known = OF_TOKENIZERS.into_iter().find(|known| name == *known)?;
    let mut tokenizers = TOKENIZERS.iter().map(|file| path.with_file_name(file));
    tokenizers.any(|file| file.is_file()).then_some(known)
}

/// Returns the extension of a file as text for messages.
pub(crate) fn ending(path: &Path) -> String {
    match path.extension() {
        Some(end) => format!(".{}", end.to_string_lossy().to_lowercase()),
        None => "no ending".into(),
    }
}

/// Returns the way to convert a file of another program to text; `None` for other files.
pub(crate) fn conversion(path: &Path) -> Option<&'static str> {
    conversion_of(&ending(path))
}

/// Returns the way to convert files with an extension such as `.pdf` to text.
pub(crate) fn conversion_of(ending: &str) -> Option<&'static str> {
    let row = CONVERTED.iter().find(|(ends, _)| ends.contains(&ending));
    row.map(|(_, way)| *way)
}

/// Returns true if the first bytes of a file (after decompression) are not text: they contain a zero byte, or they
/// are not UTF-8 and contain control characters. UTF-16 and older encodings count as text; reading them gives an
/// error that names the encoding.
///
/// # Errors
/// Fails if the file can't be read.
pub(crate) fn is_binary(path: &Path) -> Result<bool, InputError> {
    let mut first = Vec::new();
    let mut bytes = polymath_input::open(path, &|_| ())?.take(SNIFFED);
    bytes
        .read_to_end(&mut first)
        .map_err(|source| InputError::File {
            action: "read",
            path: path.to_path_buf(),
            source,
        })?;
    Ok(looks_binary(&first))
}

fn looks_binary(first: &[u8]) -> bool {
    if first.starts_with(&[0xff, 0xfe]) || first.starts_with(&[0xfe, 0xff]) {
        return false;
    }
    if first.starts_with(b"%PDF-") || first.contains(&0) {
        return true;
    }
    // The last character may be cut in two.
    let is_text = match std::str::from_utf8(first) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none(),
    };
    let is_control = |byte: &u8| *byte < 0x20 && !b"\t\n\r\x0b\x0c\x1b\x08".contains(byte);
    !is_text && first.iter().any(is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that file names decide the kind, and that `.gz` and `.zst` are ignored.
    #[test]
    fn names_give_the_kind() {
        for (name, kind) in [
            ("a.txt", FileKind::Text),
            ("Makefile", FileKind::Text),
            ("a.py", FileKind::Text),
            ("a.JSONL.gz", FileKind::JsonLines),
            ("a.ndjson", FileKind::JsonLines),
            ("a.json.zst", FileKind::Json),
            ("a.Csv", FileKind::Table),
            ("a.tsv", FileKind::Table),
            ("a.parquet", FileKind::Parquet),
        ] {
            assert_eq!(FileKind::of(Path::new(name)), kind, "{name}");
        }
        assert!(is_usual(Path::new("a.md.gz")) && !is_usual(Path::new("a.py")));
        assert!(
            conversion(Path::new("a.PDF"))
                .unwrap()
                .contains("pdftotext")
        );
        assert!(conversion(Path::new("a.html")).is_none());
    }

    /// Checks that text in any encoding is told apart from binary data.
    #[test]
    fn bytes_tell_binary_from_text() {
        let cut = &"é".as_bytes()[..1];
        for text in [
            &b""[..],
            b"a\tb\r\n\x0c",
            "é—漢".as_bytes(),
            b"t\xe9xt",
            b"\xff\xfeh\0",
            cut,
        ] {
            assert!(!looks_binary(text), "{text:?}");
        }
        for binary in [
            &b"\x89PNG\r\n\x1a\n\0\0"[..],
            b"%PDF-1.7\n",
            b"a\0",
            b"\x80\x02\x03abc",
        ] {
            assert!(looks_binary(binary), "{binary:?}");
        }
    }
}
