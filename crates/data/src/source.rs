//! Documents out of files, one at a time.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde_json::Value;

use crate::DataError;
use crate::parquet_file::ParquetFile;
use crate::record::Records;

/// A document beyond this many bytes is cut at paragraph ends, so that no later stage has to hold a huge one.
const LONGEST: usize = 1 << 20;
/// A line of `.jsonl` must be read whole, so it can't be of any size.
const LONGEST_LINE: usize = 64 << 20;

/// The kinds of files that are read.
pub(crate) const KINDS: &str =
    "`.txt`, `.md` or `.jsonl`, each also with `.gz` or `.zst`, or `.parquet`";

/// A stretch of a document's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// The text.
    pub(crate) text: String,
    /// Whether it is learnt and scored; a prompt is not.
    pub(crate) scored: bool,
    /// Whether a chat template wrote it: special tokens in it are meant, and it is nobody's text, so that it counts for
    /// no bytes.
    pub(crate) from_template: bool,
}

impl Part {
    /// Of a document's own text.
    pub(crate) fn text(text: impl Into<String>, scored: bool) -> Self {
        Self {
            text: text.into(),
            scored,
            from_template: false,
        }
    }

    /// Of what a chat template adds, unless there is nothing.
    pub(crate) fn template(text: &str, scored: bool) -> Option<Self> {
        (!text.is_empty()).then(|| Self {
            from_template: true,
            ..Self::text(text, scored)
        })
    }
}

/// What a document says, without what a chat template adds.
pub(crate) fn own_text(parts: &[Part]) -> String {
    let own = parts.iter().filter(|part| !part.from_template);
    own.map(|part| part.text.as_str()).collect()
}

/// One document, or one piece of a huge one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SourceDocument {
    /// Its text, in order.
    pub(crate) parts: Vec<Part>,
    /// Which piece of a huge document it is, from 0: all of them stay on one side of the split.
    pub(crate) piece: u64,
}

impl SourceDocument {
    fn plain(text: String, piece: u64) -> Self {
        Self {
            parts: vec![Part::text(text, true)],
            piece,
        }
    }

    /// All of its text.
    pub(crate) fn text(&self) -> String {
        self.parts.iter().map(|part| part.text.as_str()).collect()
    }

    /// Whether there is nothing in it to learn.
    pub(crate) fn is_blank(&self) -> bool {
        let learnt = |part: &&Part| part.scored && !part.from_template;
        let scored = self.parts.iter().filter(learnt);
        scored.into_iter().all(|part| part.text.trim().is_empty())
    }
}

/// A file that tells how much of it is read.
struct Watched<'a> {
    file: File,
    watch: &'a dyn Fn(u64),
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read(buffer)?;
        (self.watch)(read as u64);
        Ok(read)
    }
}

/// Calls `each` with every document of the file, in order, and `watch` with the bytes as they leave the disk.
///
/// # Errors
/// A file that can't be read, is of no known kind or is not UTF-8; a line that is no document; what `each` says.
pub(crate) fn read(
    path: &Path,
    records: Records,
    watch: &dyn Fn(u64),
    each: &mut dyn FnMut(SourceDocument) -> Result<(), DataError>,
) -> Result<(), DataError> {
    if is_parquet(path) {
        return ParquetFile::open(path, records)?.read(records, watch, each);
    }
    let name = path.to_string_lossy().to_lowercase();
    let plain = uncompressed(&name);
    let file = File::open(path).map_err(DataError::file("open", path))?;
    let file = Watched { file, watch };
    let bytes: Box<dyn Read + '_> = if name.ends_with(".gz") {
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
        read_json_lines(path, lines, records, each)
    } else {
        Err(DataError::content(
            path,
            format!("is of no known kind: expected {KINDS}"),
        ))
    }
}

/// Finds at once what else would be found when the file's turn comes: whether its columns make documents.
///
/// # Errors
/// Those of [`read`] that are known without reading a text.
pub(crate) fn check(path: &Path, records: Records) -> Result<(), DataError> {
    match is_parquet(path) {
        true => ParquetFile::open(path, records).map(drop),
        false => Ok(()),
    }
}

fn is_parquet(path: &Path) -> bool {
    let end = path.extension();
    end.is_some_and(|end| end.eq_ignore_ascii_case("parquet"))
}

/// Whether the file's name is that of a kind that is read.
pub(crate) fn is_known(path: &Path) -> bool {
    let name = path.to_string_lossy().to_lowercase();
    let ends = [".txt", ".md", ".jsonl"];
    is_parquet(path) || ends.iter().any(|end| uncompressed(&name).ends_with(end))
}

fn uncompressed(name: &str) -> &str {
    let inner = name.strip_suffix(".gz").or(name.strip_suffix(".zst"));
    inner.unwrap_or(name)
}

/// A file is one document; a huge one is cut as it streams by.
fn read_text(
    path: &Path,
    mut bytes: impl Read,
    each: &mut dyn FnMut(SourceDocument) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let mut window = Vec::new();
    let mut line = 1;
    let mut piece = 0;
    loop {
        let room = (3 * LONGEST).saturating_sub(window.len()) as u64;
        let read = bytes.by_ref().take(room).read_to_end(&mut window);
        let ended = (read.map_err(DataError::file("read", path))? as u64) < room;
        let mut text = valid(path, line, &window, ended)?;
        if line == 1 && piece == 0 {
            // A byte order mark says nothing in UTF-8.
            text = text.trim_start_matches('\u{feff}');
        }
        let from = text.as_ptr() as usize - window.as_ptr() as usize;
        let end = if ended { text.len() } else { first_cut(text) };
        let pieces = if ended { cut(text) } else { vec![&text[..end]] };
        for text in pieces {
            each(SourceDocument::plain(text.to_owned(), piece))?;
            piece += 1;
        }
        if ended {
            return Ok(());
        }
        line += newlines(&window[..from + end]);
        window.drain(..from + end);
    }
}

fn newlines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|&&byte| byte == b'\n').count() as u64
}

/// The window as text, which begins in line `first_line`. Where the file goes on, its last letter may be cut.
fn valid<'a>(
    path: &Path,
    first_line: u64,
    window: &'a [u8],
    ended: bool,
) -> Result<&'a str, DataError> {
    let error = match std::str::from_utf8(window) {
        Ok(text) => return Ok(text),
        Err(error) => error,
    };
    let (sound, rest) = window.split_at(error.valid_up_to());
    if error.error_len().is_none() && !ended {
        return Ok(std::str::from_utf8(sound).unwrap_or_default());
    }
    let line_start = sound
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(0, |at| at + 1);
    let mend = match rest {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] if sound.is_empty() => {
            "it is UTF-16: convert it with `iconv -f utf-16 -t utf-8`"
        }
        _ => "convert the file, as with `iconv -f latin1 -t utf-8`",
    };
    let column = sound.len() - line_start + 1;
    let message = format!("is not UTF-8 (byte {column} of the line): {mend}");
    Err(DataError::line(path, first_line + newlines(sound), message))
}

fn read_json_lines(
    path: &Path,
    mut lines: impl BufRead,
    records: Records,
    each: &mut dyn FnMut(SourceDocument) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let mut line = Vec::new();
    let mut number = 0;
    loop {
        line.clear();
        let read = lines
            .by_ref()
            .take(LONGEST_LINE as u64 + 1)
            .read_until(b'\n', &mut line)
            .map_err(DataError::file("read", path))?;
        if read == 0 {
            return Ok(());
        }
        number += 1;
        if line.len() > LONGEST_LINE {
            let message =
                "is longer than 64 MB: put texts of this size into `.txt` files, one each";
            return Err(DataError::line(path, number, message));
        }
        let text = valid(path, number, &line, true)?;
        let text = match number {
            1 => text.trim_start_matches('\u{feff}'),
            _ => text,
        };
        if text.trim().is_empty() {
            continue;
        }
        let record: Value = serde_json::from_str(text)
            .map_err(|error| DataError::line(path, number, format!("is not JSON: {error}")))?;
        let parts = records
            .parts(&record)
            .map_err(|message| DataError::line(path, number, message))?;
        emit(parts, each)?;
    }
}

/// Hands a record's document on, a huge plain text in pieces.
pub(crate) fn emit(
    parts: Vec<Part>,
    each: &mut dyn FnMut(SourceDocument) -> Result<(), DataError>,
) -> Result<(), DataError> {
    if let [
        Part {
            text, scored: true, ..
        },
    ] = &parts[..]
    {
        for (piece, text) in cut(text).into_iter().enumerate() {
            each(SourceDocument::plain(text.to_owned(), piece as u64))?;
        }
        return Ok(());
    }
    each(SourceDocument { parts, piece: 0 })
}

/// A text in pieces: itself up to twice [`LONGEST`]; a longer one is cut, and nothing of it lost.
fn cut(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while rest.len() > 2 * LONGEST {
        let (piece, others) = rest.split_at(first_cut(rest));
        pieces.push(piece);
        rest = others;
    }
    pieces.push(rest);
    pieces
}

/// Where the first piece of a huge text ends: at most [`LONGEST`] bytes in and at least half that, after a paragraph,
/// else after a line, else before a space, else anywhere.
fn first_cut(text: &str) -> usize {
    let head = &text[..text.floor_char_boundary(LONGEST)];
    let after = |mark: &str| head.rfind(mark).map(|at| at + mark.len());
    let ends = [
        after("\n\n"),
        after("\r\n\r\n"),
        after("\n"),
        head.rfind(' '),
    ];
    let far = ends.into_iter().flatten().find(|&end| end >= LONGEST / 2);
    far.unwrap_or(head.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cutting loses nothing and keeps to the bound.
    #[test]
    fn huge_documents_are_cut_at_paragraphs() {
        let text = "paragraph é\n\n".repeat(400_000);
        let pieces = cut(&text);
        assert!(pieces.len() > 3);
        assert!(
            pieces
                .iter()
                .all(|piece| piece.len() <= 2 * LONGEST && piece.ends_with("\n\n"))
        );
        assert_eq!(pieces.concat(), text);
        assert_eq!(cut(&"é".repeat(3_000_000)).concat().len(), 6_000_000);
    }

    fn read_all(name: &str, bytes: &[u8]) -> Result<Vec<SourceDocument>, DataError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let mut documents = Vec::new();
        read(&path, Records::default(), &|_| (), &mut |document| {
            documents.push(document);
            Ok(())
        })?;
        Ok(documents)
    }

    /// A huge file is read in the pieces that cutting the whole of it gives, wherever its letters fall.
    #[test]
    fn huge_files_stream_as_they_are_cut() {
        let paragraphs = "Of Man\u{2019}s first disobedience,\n\n".repeat(300_000);
        for text in [paragraphs, "é".repeat(4_000_001), "no end ".repeat(700_000)] {
            let documents = read_all("a.txt", text.as_bytes()).unwrap();
            let read: Vec<String> = documents.iter().map(SourceDocument::text).collect();
            assert_eq!(read, cut(&text));
            let pieces: Vec<u64> = documents.iter().map(|document| document.piece).collect();
            assert_eq!(pieces, (0..pieces.len() as u64).collect::<Vec<_>>());
        }
    }

    /// Bytes that are not UTF-8 are named by line, and those of another encoding by its name.
    #[test]
    fn other_encodings_are_named() {
        let error = read_all("a.txt", b"one\ntwo \xe9t\xe9\n")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("a.txt:2`: is not UTF-8 (byte 5 of the line)"),
            "{error}"
        );
        let error = read_all("a.md", b"\xff\xfeh\0i\0").unwrap_err().to_string();
        assert!(error.contains("utf-16"), "{error}");
        let documents = read_all("a.txt", "\u{feff}text".as_bytes()).unwrap();
        assert_eq!(documents[0].text(), "text");
    }

    /// A broken line of `.jsonl` is named by its number.
    #[test]
    fn broken_lines_are_named() {
        let error = read_all("a.jsonl", b"{\"text\": \"x\"}\n\n{\"text\": \n").unwrap_err();
        assert!(
            error.to_string().contains("a.jsonl:3`: is not JSON"),
            "{error}"
        );
        let error = read_all("a.jsonl", b"{\"body\": \"x\"}\n").unwrap_err();
        assert!(
            error.to_string().contains("name its field in `text_field`"),
            "{error}"
        );
        let error = read_all("a.csv", b"x").unwrap_err().to_string();
        assert!(error.contains("no known kind"), "{error}");
    }
}
