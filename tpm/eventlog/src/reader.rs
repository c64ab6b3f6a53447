//! A bounded little-endian reader over foreign bytes: every read either lies inside them or is `None`.

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

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.rest.split_at_checked(len)?;
        self.rest = tail;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn guid(&mut self) -> Option<[u8; 16]> {
        self.array()
    }

    /// As many bytes as a u32 in front of them says; nothing is consumed where they are not there.
    pub(crate) fn sized(&mut self) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let len = usize::try_from(ahead.u32()?).ok()?;
        let bytes = ahead.take(len)?;
        *self = ahead;
        Some(bytes)
    }

    /// As many bytes as a 64-bit length says.
    pub(crate) fn take_u64(&mut self, len: u64) -> Option<&'a [u8]> {
        self.take(usize::try_from(len).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_reads_past_the_end() {
        let mut r = Reader::new(&[1, 2, 3]);
        assert_eq!((r.u16(), r.offset()), (Some(0x0201), 2));
        assert_eq!((r.u16(), r.offset()), (None, 2));
        assert_eq!((r.u8(), r.u8(), r.is_empty()), (Some(3), None, true));
        assert_eq!(Reader::new(&[4, 0, 0, 0, 1]).sized(), None);
        assert_eq!(Reader::new(&[1]).take_u64(u64::MAX), None);
    }
}
