//! A cursor over a header's bytes that cannot be led outside them.

/// What is wrong with the bytes, in words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem(pub(super) String);

/// Reads little-endian values one after the other.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// Bytes read so far.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// The next `len` bytes.
    pub(super) fn take(&mut self, len: u64) -> Result<&'a [u8], Problem> {
        let rest = &self.bytes[self.position..];
        match usize::try_from(len).ok().and_then(|len| rest.get(..len)) {
            Some(taken) => {
                self.position += taken.len();
                Ok(taken)
            }
            None => Err(Problem(format!(
                "the header asks for {len} bytes at byte {}, but {} are left",
                self.position,
                rest.len()
            ))),
        }
    }

    /// The next `SIZE` bytes.
    pub(super) fn array<const SIZE: usize>(&mut self) -> Result<[u8; SIZE], Problem> {
        let mut array = [0; SIZE];
        array.copy_from_slice(self.take(SIZE as u64)?);
        Ok(array)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Problem> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Problem> {
        self.array().map(u64::from_le_bytes)
    }

    /// A length and as many bytes of text. Bytes that are no UTF-8 become replacement characters: vocabularies made
    /// by careless tools hold some, and only the tokens concerned suffer.
    pub(super) fn string(&mut self) -> Result<String, Problem> {
        let len = self.u64()?;
        Ok(String::from_utf8_lossy(self.take(len)?).into_owned())
    }

    /// Checks that `count` entries of at least `min_bytes` each can be in what is left.
    pub(super) fn count(&self, what: &str, count: u64, min_bytes: usize) -> Result<usize, Problem> {
        let left = self.bytes.len() - self.position;
        let most = left / min_bytes.max(1);
        match usize::try_from(count) {
            Ok(count) if count <= most => Ok(count),
            _ => Err(Problem(format!(
                "the header names {count} {what}, but the {left} bytes left hold at most {most}"
            ))),
        }
    }
}
