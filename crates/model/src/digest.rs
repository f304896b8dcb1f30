//! SHA-256 digests of files and bytes.

use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

/// Returns the SHA-256 of a file in hexadecimal.
///
/// # Errors
/// Fails if the file can't be read.
pub fn sha256_of_file(path: &Path) -> std::io::Result<String> {
    let mut file = polymath_files::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
    }
    Ok(hexadecimal(&hasher.finalize()))
}

/// Returns the SHA-256 of bytes in hexadecimal.
pub fn sha256_of_bytes(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
