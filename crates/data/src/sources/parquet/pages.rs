//! The pages of a parquet file, each of bounded size.
//!
//! A page says in its header how large it is once decompressed, and the library makes that much memory before it reads:
//! a file of a few bytes could ask for 2 GB. So the header is looked at first.

use std::fs::File;
use std::io::{BufRead, BufReader};

use bytes::Bytes;
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{ChunkReader, Length};

/// Largest page that is read, decompressed. Writers make pages of about 1 MB; with values as long as the longest that
/// are read, a page may hold several.
const LARGEST_PAGE: u64 = 512 << 20;
/// The field header of a 32-bit number whose field follows the one before, in Thrift's compact protocol.
const NEXT_I32: u8 = 0x15;
/// The highest number of a page's kind.
const LAST_KIND: u64 = 3;

/// A file that gives no page beyond the bound.
pub(crate) struct BoundedPages(pub(crate) File);

impl Length for BoundedPages {
    fn len(&self) -> u64 {
        self.0.len()
    }
}

impl ChunkReader for BoundedPages {
    type T = BufReader<File>;

    /// The library reads nothing but headers of pages this way.
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

/// The decompressed size that a page's header tells; `None` where there is no header. It begins with the page's kind
/// and its two sizes, decompressed and compressed.
fn page_size(header: &[u8]) -> Option<u64> {
    let mut header = header.iter().copied();
    let mut next = || (header.next()? == NEXT_I32).then(|| zigzag(&mut header))?;
    let kind = next()?;
    let size = next()?;
    let compressed = next()?;
    let known = (0..=LAST_KIND as i64).contains(&kind) && compressed >= 0;
    known.then(|| u64::try_from(size).ok())?
}

/// A signed number of Thrift's compact protocol: seven bits a byte, the sign in the lowest bit.
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

    /// Headers are read as the protocol has them, and what is none is not taken for one.
    #[test]
    fn sizes_are_read_off_headers() {
        // A data page of 300 bytes, 150 compressed: zigzag 600 and 300.
        let header = [0x15, 0x00, 0x15, 0xd8, 0x04, 0x15, 0xac, 0x02, 0x2c];
        assert_eq!(page_size(&header), Some(300));
        // The largest there is.
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
        // A size below nothing is the library's to refuse.
        assert_eq!(page_size(&[0x15, 0x00, 0x15, 0x01, 0x15, 0x02]), None);
    }
}
