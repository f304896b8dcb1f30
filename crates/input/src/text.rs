//! Reading of UTF-8 text, with errors that name other encodings.

use std::io::Read;
use std::path::Path;

use crate::{InputError, open};

/// First bytes of a Git LFS pointer, which stands for a file whose content was not downloaded.
pub(crate) const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";
/// Maximum size in bytes of a file that is read into memory as a whole.
const LONGEST: u64 = 1 << 30;
/// Byte order mark, which has no meaning in UTF-8.
pub const BYTE_ORDER_MARK: char = '\u{feff}';

/// Reads a file as text: decompresses it, checks that it is UTF-8, and removes a byte order mark.
///
/// # Errors
/// Fails if the file can't be read, is a Git LFS pointer, is not UTF-8 or is longer than 1 GiB.
pub fn read_text(path: &Path) -> Result<String, InputError> {
    let mut bytes = Vec::new();
    let read = open(path, &|_| ())?
        .take(LONGEST + 1)
        .read_to_end(&mut bytes);
    if read.map_err(InputError::file("read", path))? as u64 > LONGEST {
        return Err(InputError::content(path, "is longer than 1 GiB"));
    }
    decode(path, 1, &bytes, true)?;
    // The bytes were checked above.
    let text = String::from_utf8(bytes).unwrap_or_default();
    Ok(match text.strip_prefix(BYTE_ORDER_MARK) {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

/// Decodes `bytes`, which begin in line `first_line` of the file, as UTF-8. If `whole` is false, an incomplete
/// character at the end is left out.
///
/// # Errors
/// Fails if the bytes are not UTF-8; the error gives the line and the position.
pub fn decode<'a>(
    path: &Path,
    first_line: u64,
    bytes: &'a [u8],
    whole: bool,
) -> Result<&'a str, InputError> {
    let error = match std::str::from_utf8(bytes) {
        Ok(text) => return Ok(text),
        Err(error) => error,
    };
    let (sound, rest) = bytes.split_at(error.valid_up_to());
    if error.error_len().is_none() && !whole {
        return Ok(std::str::from_utf8(sound).unwrap_or_default());
    }
    let line_start = sound
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(0, |at| at + 1);
    let advice = match rest {
        _ if first_line == 1 && other_format(bytes).is_some() => {
            other_format(bytes).unwrap_or_default()
        }
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] if sound.is_empty() => {
            "it is UTF-16: convert it with `iconv -f utf-16 -t utf-8`"
        }
        _ => "convert the file, for example with `iconv -f latin1 -t utf-8`",
    };
    let column = sound.len() - line_start + 1;
    let newlines = sound.iter().filter(|&&byte| byte == b'\n').count() as u64;
    Err(InputError::Line {
        path: path.to_path_buf(),
        line: first_line + newlines,
        message: format!("is not UTF-8 (byte {column} of the line): {advice}"),
    })
}

/// Returns what a file is, and how to make text of it, by its first bytes; `None` for those of an unknown format.
fn other_format(bytes: &[u8]) -> Option<&'static str> {
    let formats: [(&[u8], &str); 7] = [
        (
            b"\xff\xfe\0\0",
            "it is UTF-32: convert it with `iconv -f utf-32 -t utf-8`",
        ),
        (
            b"\0\0\xfe\xff",
            "it is UTF-32: convert it with `iconv -f utf-32 -t utf-8`",
        ),
        (
            b"BZh",
            "it is compressed with bzip2, which is not read: decompress it with `bunzip2`",
        ),
        (
            b"\xfd7zXZ",
            "it is compressed with xz, which is not read: decompress it with `unxz`",
        ),
        (
            b"\x1f\x8b",
            "it is compressed twice with gzip: decompress it once with `gunzip`",
        ),
        (b"PK\x03\x04", "it is a ZIP archive: unpack it with `unzip`"),
        (
            b"PAR1",
            "it is a parquet file: give it a name that ends in `.parquet`",
        ),
    ];
    let found = formats.iter().find(|(first, _)| bytes.starts_with(first));
    found.map(|(_, mend)| *mend)
}

/// Checks that a file is not a Git LFS pointer; for files that are not opened through [`open`]. A file that can't be
/// opened passes, since the caller will report it.
///
/// # Errors
/// Fails if the file is a pointer; the message tells how to download the content.
pub fn refuse_pointer(path: &Path) -> Result<(), InputError> {
    let mut first = [0; POINTER.len()];
    let read = polymath_base::open(path).and_then(|mut file| file.read_exact(&mut first));
    match read {
        Ok(()) if first == *POINTER => Err(pointer(path)),
        _ => Ok(()),
    }
}

pub(crate) fn pointer(path: &Path) -> InputError {
    let message = "is a Git LFS pointer, not the file itself: fetch it with `git lfs pull`, or download the repository with \
                   `hf download`";
    InputError::content(path, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        std::fs::write(&path, bytes).unwrap();
        read_text(&path).map_err(|error| error.to_string())
    }

    /// Checks that a byte order mark is removed, and that other encodings are reported with their line.
    #[test]
    fn other_encodings_are_reported_with_their_line() {
        assert_eq!(
            read("\u{feff}one\u{feff}".as_bytes()).unwrap(),
            "one\u{feff}"
        );
        assert_eq!(read(b"").unwrap(), "");
        let error = read(b"one\ntwo \xe9t\xe9\n").unwrap_err();
        assert!(
            error.contains("a.txt:2`: is not UTF-8 (byte 5 of the line)"),
            "{error}"
        );
        for (bytes, said) in [
            (&b"\xff\xfe\0\0h\0\0\0"[..], "UTF-32"),
            (b"\0\0\xfe\xff\0\0\0h", "UTF-32"),
            (b"BZh91AY&SY\xd8\x00", "`bunzip2`"),
            (b"PK\x03\x04\x14\0\xff", "`unzip`"),
            (b"PAR1\x15\0\xff", "`.parquet`"),
        ] {
            let error = read(bytes).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
        for utf16 in [b"\xff\xfeh\0i\0", b"\xfe\xff\0h\0i"] {
            let error = read(utf16).unwrap_err();
            assert!(
                error.contains("UTF-16") && error.contains("iconv"),
                "{error}"
            );
        }
    }

    /// Checks that a pointer is distinguished from text that only mentions one.
    #[test]
    fn pointers_are_told_from_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        assert!(
            refuse_pointer(&path).is_ok(),
            "who opens it says that it is missing"
        );
        for (text, is_pointer) in [
            (
                "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
                true,
            ),
            ("A version https://git-lfs.github.com/spec/v1", false),
            ("", false),
        ] {
            std::fs::write(&path, text).unwrap();
            let refused = refuse_pointer(&path).map_err(|error| error.to_string());
            assert_eq!(refused.is_err(), is_pointer, "{text}");
            if let Err(message) = refused {
                assert!(message.contains("model.safetensors") && message.contains("git lfs"));
            }
        }
    }
}
