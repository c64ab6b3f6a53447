//! A bounded little-endian reader over foreign bytes: every read lies inside them or is `None`.

/// A cursor that never moves beyond its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    total: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, total: bytes.len() }
    }

    /// How many bytes were read so far.
    pub(crate) fn offset(&self) -> usize {
        self.total - self.rest.len()
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.rest.split_at_checked(len)?;
        self.rest = tail;
        Some(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (head, tail) = self.rest.split_first_chunk()?;
        self.rest = tail;
        Some(head)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().copied().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().copied().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().copied().map(u64::from_le_bytes)
    }

    /// As many bytes as a u32 in front of them says.
    pub(crate) fn sized_u32(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.u32()?).ok()?;
        self.take(len)
    }

    /// As many bytes as a u16 in front of them says.
    pub(crate) fn sized_u16(&mut self) -> Option<&'a [u8]> {
        let len = usize::from(self.u16()?);
        self.take(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_reads_past_the_end() {
        let mut r = Reader::new(&[1, 2, 3]);
        assert_eq!((r.u16(), r.offset()), (Some(0x0201), 2));
        assert_eq!((r.u16(), r.u64(), r.offset()), (None, None, 2));
        assert_eq!((r.array(), r.rest().len()), (Some(&[3]), 0));
        assert_eq!(Reader::new(&[4, 0, 0, 0, 1]).sized_u32(), None);
        assert_eq!(Reader::new(&[1, 0, 9]).sized_u16(), Some(&[9][..]));
        assert_eq!(Reader::new(&[255; 7]).sized_u32(), None);
    }
}
