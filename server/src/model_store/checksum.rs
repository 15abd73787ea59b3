//! SHA-256 of files, in lower-case hexadecimal.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

/// Bytes copied at once.
const COPY_BYTES: usize = 1 << 20;

/// The hash of a file.
pub(super) fn hash_of_file(path: &Path) -> std::io::Result<String> {
    copy_and_hash(&mut File::open(path)?, &mut std::io::sink())
}

/// Copies everything, and gives its hash.
pub(super) fn copy_and_hash(input: &mut impl Read, output: &mut impl Write) -> std::io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let num_bytes = input.read(&mut buffer)?;
        if num_bytes == 0 {
            break;
        }
        hasher.update(&buffer[..num_bytes]);
        output.write_all(&buffer[..num_bytes])?;
    }
    let mut hash = String::with_capacity(64);
    for byte in hasher.finalize() {
        let _ = write!(hash, "{byte:02x}");
    }
    Ok(hash)
}
