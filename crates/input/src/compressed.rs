//! Gzip and Zstandard files, recognized by their first bytes.

use std::fs::File;
use std::io::{BufRead, BufReader, Error, ErrorKind, Read};
use std::path::Path;

use flate2::bufread::GzDecoder;

use crate::InputError;
use crate::text::{POINTER, pointer};

/// Number of bytes per read from the disk.
const BUFFER: usize = 1 << 18;
/// Binary logarithm of the maximum window size of a Zstandard frame: 2 GiB, the maximum of `zstd --long=31`.
const LONGEST_WINDOW: u32 = 31;
const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTANDARD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Opens a file, and decompresses it if its first bytes are those of Gzip or Zstandard. The file's name does not
/// matter. Calls `watch` with the number of bytes of each read from the disk.
///
/// # Errors
/// Fails if the file can't be opened or is a Git LFS pointer.
pub fn open<'a>(path: &Path, watch: &'a dyn Fn(u64)) -> Result<Box<dyn BufRead + 'a>, InputError> {
    if path.is_dir() {
        return Err(InputError::content(path, "is a folder: expected a file"));
    }
    let file = polymath_base::open(path).map_err(InputError::file("open", path))?;
    let mut bytes = BufReader::with_capacity(BUFFER, Watched { file, watch });
    let first = bytes.fill_buf().map_err(InputError::file("read", path))?;
    if first.starts_with(POINTER) {
        return Err(pointer(path));
    }
    Ok(if first.starts_with(&GZIP) {
        let decoder = Decompressed(Gzip::new(bytes));
        Box::new(BufReader::with_capacity(BUFFER, decoder))
    } else if is_zstandard(first) {
        let mut decoder =
            zstd::Decoder::with_buffer(bytes).map_err(InputError::file("decompress", path))?;
        decoder
            .window_log_max(LONGEST_WINDOW)
            .map_err(InputError::file("decompress", path))?;
        Box::new(BufReader::with_capacity(BUFFER, Decompressed(decoder)))
    } else {
        Box::new(bytes)
    })
}

/// Returns true if the bytes `bytes` begin a Zstandard frame, or a frame that Zstandard decoders skip.
fn is_zstandard(bytes: &[u8]) -> bool {
    let skipped = |bytes: &[u8]| matches!(bytes, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]);
    bytes.starts_with(&ZSTANDARD) || skipped(bytes)
}

/// File that reports to a callback how many bytes are read from it.
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

/// Reader of all members of a Gzip file in order. Zeros after the last member are padding (of tapes and `tar`) and
/// are ignored, as `gzip` and Python do.
struct Gzip<R: BufRead> {
    /// Current member; `None` only while changing to the next one.
    member: Option<GzDecoder<R>>,
    /// True once the last member of the Gzip file has ended.
    ended: bool,
}

impl<R: BufRead> Gzip<R> {
    fn new(bytes: R) -> Self {
        Self {
            member: Some(GzDecoder::new(bytes)),
            ended: false,
        }
    }

    /// Moves to the next member of the Gzip file; returns `false` if there is none.
    fn next_member(&mut self) -> std::io::Result<bool> {
        let Some(member) = self.member.take() else {
            return Ok(false);
        };
        let mut bytes = member.into_inner();
        loop {
            let found = bytes.fill_buf()?;
            if found.is_empty() {
                return Ok(false);
            }
            let zeros = found.iter().take_while(|byte| **byte == 0).count();
            if zeros > 0 {
                bytes.consume(zeros);
                continue;
            }
            if found[0] != GZIP[0] {
                let message = "bytes that are not Gzip follow the compressed text: the file was damaged, or something \
                               was appended to it";
                return Err(Error::new(ErrorKind::InvalidData, message));
            }
            self.member = Some(GzDecoder::new(bytes));
            return Ok(true);
        }
    }
}

impl<R: BufRead> Read for Gzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if buffer.is_empty() || self.ended {
            return Ok(0);
        }
        loop {
            let read = match &mut self.member {
                Some(member) => member.read(buffer)?,
                None => 0,
            };
            if read > 0 {
                return Ok(read);
            }
            if !self.next_member()? {
                self.ended = true;
                return Ok(0);
            }
        }
    }
}

/// Reader of decompressed text. Its errors name the likely damage to the file.
struct Decompressed<R>(R);

impl<R: Read> Read for Decompressed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer).map_err(|error| {
            let reason = match error.kind() {
                ErrorKind::UnexpectedEof => {
                    "the compressed text is incomplete: the file was cut off, fetch it again"
                }
                _ if error.to_string() == "Dictionary mismatch" => {
                    "it was compressed with a dictionary, which is not read: decompress it with `zstd -d -D DICTIONARY`"
                }
                ErrorKind::InvalidInput | ErrorKind::InvalidData | ErrorKind::Other
                    if error.raw_os_error().is_none() =>
                {
                    "the compressed text is damaged: fetch the file again"
                }
                _ => return error,
            };
            Error::new(error.kind(), format!("{reason} ({error})"))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(text: &str) -> Vec<u8> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(text.as_bytes()).unwrap();
        gzip.finish().unwrap()
    }

    fn zstandard(text: &str) -> Vec<u8> {
        zstd::encode_all(text.as_bytes(), 1).unwrap()
    }

    fn read(bytes: &[u8]) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, bytes).unwrap();
        let mut text = String::new();
        let watched = std::cell::Cell::new(0);
        let watch = |bytes| watched.set(watched.get() + bytes);
        let mut opened = open(&path, &watch).map_err(|error| error.to_string())?;
        let read = opened.read_to_string(&mut text);
        drop(opened);
        read.map_err(|error| error.to_string())?;
        assert_eq!(watched.get(), bytes.len() as u64);
        Ok(text)
    }

    /// Checks that compression is recognized by the first bytes, including several members or frames, padding,
    /// skippable frames and large windows.
    #[test]
    fn compression_is_recognized_by_the_first_bytes() {
        assert_eq!(read(b"plain").unwrap(), "plain");
        assert_eq!(read(b"").unwrap(), "");
        assert_eq!(read(&gzip("one")).unwrap(), "one");
        assert_eq!(
            read(&[gzip("one"), gzip("two")].concat()).unwrap(),
            "onetwo"
        );
        let padded = [gzip("one"), vec![0; 700], gzip("two"), vec![0; 500_000]].concat();
        assert_eq!(read(&padded).unwrap(), "onetwo");
        let frames = [zstandard("one"), zstandard("two")].concat();
        assert_eq!(read(&frames).unwrap(), "onetwo");
        let skipped = [b"\x50\x2a\x4d\x18\x04\0\0\0abcd".to_vec(), frames].concat();
        assert_eq!(read(&skipped).unwrap(), "onetwo");
        let mut long = zstd::Encoder::new(Vec::new(), 1).unwrap();
        long.set_parameter(zstd::zstd_safe::CParameter::WindowLog(30))
            .unwrap();
        long.write_all(b"far").unwrap();
        assert_eq!(read(&long.finish().unwrap()).unwrap(), "far");
    }

    /// Checks that truncated content, and content followed by something else, is refused.
    #[test]
    fn damaged_files_are_refused() {
        let text = "words ".repeat(1000);
        for whole in [gzip(&text), zstandard(&text)] {
            let cut = read(&whole[..whole.len() - 9]).unwrap_err();
            assert!(cut.contains("was cut off, fetch it again"), "{cut}");
        }
        let mut other = gzip(&text);
        let middle = other.len() / 2;
        other[middle] ^= 0xff;
        let damaged = read(&other).unwrap_err();
        assert!(damaged.contains("fetch"), "{damaged}");
        let followed = [gzip("one"), b"garbage".to_vec()].concat();
        assert!(read(&followed).unwrap_err().contains("not Gzip"));
        // A frame that names dictionary 7.
        let frame = b"\x28\xb5\x2f\xfd\x21\x07\x03\x19\0\0abc";
        let error = read(frame).unwrap_err();
        assert!(error.contains("`zstd -d -D DICTIONARY`"), "{error}");
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 7\n";
        let error = read(pointer).unwrap_err();
        assert!(error.contains("git lfs pull"), "{error}");
    }
}
