//! Pages of a parquet file, with a limit on their size.
//!
//! A page's header states the page's decompressed size, and the library allocates that much memory before it reads
//! the page. So a file of a few bytes could make it allocate 2 GB. For this reason the header is checked first.

use std::fs::File;
use std::io::{BufRead, BufReader};

use bytes::Bytes;
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{ChunkReader, Length};

/// Maximum decompressed bytes of a page. Writers make pages of about 1 MB, but a page with very long values can be
/// much larger.
const LARGEST_PAGE: u64 = 512 << 20;
/// Field header in Thrift's compact protocol: a 32-bit integer whose field number is one higher than the previous
/// one.
const NEXT_I32: u8 = 0x15;
/// Highest number of a page type in the parquet format.
const LAST_KIND: u64 = 3;

/// File reader that refuses pages beyond the size limit.
pub(crate) struct BoundedPages(pub(crate) File);

impl Length for BoundedPages {
    fn len(&self) -> u64 {
        self.0.len()
    }
}

impl ChunkReader for BoundedPages {
    type T = BufReader<File>;

    /// The library uses this function only for the headers of pages.
    fn get_read(&self, start: u64) -> Result<Self::T> {
        let mut reader = self.0.get_read(start)?;
        match page_size(reader.fill_buf()?) {
            Some(size) if size > LARGEST_PAGE => Err(ParquetError::General(format!(
                "a page of {} MB, where pages of up to {} MB are read: write the file again with smaller pages",
                size >> 20,
                LARGEST_PAGE >> 20
            ))),
            _ => Ok(reader),
        }
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        self.0.get_bytes(start, length)
    }
}

/// Returns the decompressed size in a page's header; `None` if the bytes are not a page header. A header begins with
/// the page type and the two sizes, decompressed and compressed.
fn page_size(header: &[u8]) -> Option<u64> {
    let mut header = header.iter().copied();
    let mut next = || (header.next()? == NEXT_I32).then(|| zigzag(&mut header))?;
    let kind = next()?;
    let size = next()?;
    let compressed = next()?;
    let known = (0..=LAST_KIND as i64).contains(&kind) && compressed >= 0;
    known.then(|| u64::try_from(size).ok())?
}

/// Reads a signed integer of Thrift's compact protocol: zigzag encoding, seven bits per byte.
fn zigzag(bytes: &mut impl Iterator<Item = u8>) -> Option<i64> {
    let mut value = 0u64;
    for shift in (0..35).step_by(7) {
        let byte = bytes.next()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that sizes are read from page headers, and that other bytes are not taken for a header.
    #[test]
    fn sizes_are_read_off_headers() {
        // A data page of 300 bytes, 150 compressed: zigzag 600 and 300.
        let header = [0x15, 0x00, 0x15, 0xd8, 0x04, 0x15, 0xac, 0x02, 0x2c];
        assert_eq!(page_size(&header), Some(300));
        // The largest possible size.
        let header = [0x15, 0x04, 0x15, 0xfe, 0xff, 0xff, 0xff, 0x0f, 0x15, 0x02];
        assert_eq!(page_size(&header), Some(i32::MAX as u64));
        for other in [
            &b"PAR1"[..],
            &[],
            &[0x15],
            &[0x15, 0x08, 0x15, 0x02, 0x15, 0x02],
        ] {
            assert_eq!(page_size(other), None, "{other:?}");
        }
        // A negative size is left to the library, which refuses it.
        assert_eq!(page_size(&[0x15, 0x00, 0x15, 0x01, 0x15, 0x02]), None);
    }
}
