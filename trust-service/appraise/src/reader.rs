//! A bounded big-endian reader for TPM structures; what trails is refused by [`Reader::end`].

/// The bytes ended early, or went on too long.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("ends early")]
    Short,
    #[error("has {0} bytes too many")]
    Trailing(usize),
}

/// A cursor over foreign bytes; every read is checked.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], ReadError> {
        let (head, tail) = self.0.split_at_checked(len).ok_or(ReadError::Short)?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        let (head, tail) = self.0.split_first_chunk().ok_or(ReadError::Short)?;
        self.0 = tail;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, ReadError> {
        self.array().map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, ReadError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, ReadError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, ReadError> {
        self.array().map(u64::from_be_bytes)
    }

    /// A TPM2B: 16 bits of size, then that many bytes.
    pub(crate) fn sized(&mut self) -> Result<&'a [u8], ReadError> {
        let len = self.u16()?;
        self.take(len.into())
    }

    pub(crate) fn end(self) -> Result<(), ReadError> {
        if self.0.is_empty() { Ok(()) } else { Err(ReadError::Trailing(self.0.len())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_read_is_bounded() {
        let mut r = Reader::new(&[0, 1, 0xaa, 0, 2, 0xbb]);
        assert_eq!(r.sized(), Ok(&[0xaa][..]));
        assert_eq!(r.sized(), Err(ReadError::Short));
        assert_eq!(Reader::new(&[1]).u16(), Err(ReadError::Short));
        assert_eq!(Reader::new(&[1, 2]).end(), Err(ReadError::Trailing(2)));
    }
}
